"""Every shape of callable is tracked, and keeps its face."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
import types

import pytest

from otel_studio import service, track
from otel_studio.base import guard

from both_providers import studio_on

SERVICE = "shapes"
tracked = track(service=SERVICE)


@tracked
def add(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


@tracked
async def fetch(key: str) -> str:
    return key


@tracked
def count(upto: int):
    yield from range(upto)


@tracked
async def stream(upto: int):
    for number in range(upto):
        yield number


async def collected(agen):
    return [item async for item in agen]


def test_a_function(s):
    """A function answers as before and each call is one run."""
    assert add(1) == 3
    assert add(1, b=5) == 6
    s.assert_operation(SERVICE, "add", count=2, errors=0, active=0, outcome="ok")


async def test_a_coroutine_function(s):
    """The run of a coroutine function lasts until it is done, not until it is called."""
    pending = fetch("x")
    assert "fetch" not in s.operations(SERVICE)
    assert await pending == "x"
    s.assert_operation(SERVICE, "fetch", count=1, active=0, outcome="ok")


def test_a_generator_function(s):
    """A generator is one run."""
    assert list(count(3)) == [0, 1, 2]
    s.assert_operation(SERVICE, "count", count=1, active=0, outcome="ok")


async def test_an_async_generator_function(s):
    """An async generator is one run."""
    assert await collected(stream(3)) == [0, 1, 2]
    s.assert_operation(SERVICE, "stream", count=1, active=0, outcome="ok")


def test_used_bare_the_service_is_the_module_and_the_name_is_qualified(s):
    """`@track` takes both from the function; one made inside another loses the maker's name."""

    @track
    def inner() -> None: ...

    class Worker:
        @track
        def work(self) -> None: ...

    inner()
    Worker().work()
    s.assert_operation(__name__, "inner", count=1)
    s.assert_operation(__name__, "Worker.work", count=1)


def test_a_name_and_attributes(s):
    """`@track("name", ...)` names the operation and gives every run its attributes."""

    @track("generate_preview", service="preview-service", attributes={"codec": "av1", "pass": 2})
    def generate() -> None: ...

    generate()
    s.assert_operation(
        "preview-service", "generate_preview", count=1, attributes={"codec": "av1", "pass": 2}
    )


def test_the_decorator_of_a_service(s):
    """`service(name).track(...)` is `track(..., service=name)`, bare or with the same options."""

    @service("cache-service").track("clear", attributes={"size": 3})
    def clear() -> None: ...

    @service("cache-service").track
    def bare() -> None: ...

    @service("cache-service").track("read", capture_args="path", expected=KeyError)
    def read(path: str) -> None:
        raise KeyError(path)

    clear()
    bare()
    with pytest.raises(KeyError):
        read("a.png")
    s.assert_operation("cache-service", "clear", count=1, attributes={"size": 3})
    s.assert_operation("cache-service", bare.__qualname__.rpartition("<locals>.")[2], count=1)
    s.assert_operation(
        "cache-service", "read", outcome="ok", attributes={"studio.argument.path": "a.png"}
    )


class Shop:
    """Methods of every kind, the decorator above and below."""

    def __init__(self, name: str) -> None:
        self.name = name

    @tracked
    def method(self, item: str) -> tuple[str, str]:
        return self.name, item

    @tracked
    async def slow(self) -> str:
        return self.name

    @tracked
    def items(self):
        yield self.name

    @classmethod
    @tracked
    def class_below(cls) -> type:
        return cls

    @tracked
    @classmethod
    def class_above(cls) -> type:
        return cls

    @staticmethod
    @tracked
    def static_below(value: int) -> int:
        return value

    @tracked
    @staticmethod
    def static_above(value: int) -> int:
        return value

    @property
    @tracked
    def label(self) -> str:
        return self.name.upper()

    def plain(self) -> str:
        return self.name


class Branch(Shop):
    """Inherits the tracked methods."""


def test_bound_and_unbound_methods(s):
    """A method works on the instance and through the class."""
    shop = Shop("corner")
    assert shop.method("tea") == ("corner", "tea")
    assert Shop.method(shop, "tea") == ("corner", "tea")
    assert asyncio.run(shop.slow()) == "corner"
    assert list(shop.items()) == ["corner"]
    assert shop.label == "CORNER"
    s.assert_operation(SERVICE, "Shop.method", count=2)
    for name in ("slow", "items", "label"):
        s.assert_operation(SERVICE, f"Shop.{name}", count=1)


@pytest.mark.parametrize("name", ["class_below", "class_above"])
def test_classmethods_on_either_side_of_the_decorator(s, name):
    """A classmethod stays one: it gets the class it is called on."""
    assert getattr(Shop, name)() is Shop
    assert getattr(Branch("b"), name)() is Branch
    assert isinstance(vars(Shop)[name], classmethod)
    s.assert_operation(SERVICE, f"Shop.{name}", count=2)


@pytest.mark.parametrize("name", ["static_below", "static_above"])
def test_staticmethods_on_either_side_of_the_decorator(s, name):
    """A staticmethod stays one: it gets no instance."""
    assert getattr(Shop, name)(4) == 4
    assert getattr(Shop("x"), name)(5) == 5
    assert isinstance(vars(Shop)[name], staticmethod)
    s.assert_operation(SERVICE, f"Shop.{name}", count=2)


def test_a_method_that_is_bound_already(s):
    """`track(obj.method)` is a function of that object's."""
    plain = tracked(Shop("corner").plain)
    assert plain() == "corner"
    assert str(inspect.signature(plain)) == "() -> 'str'"
    s.assert_operation(SERVICE, "Shop.plain", count=1)


class Scaler:
    """An object that is called."""

    def __init__(self) -> None:
        self.factor = 2

    def __call__(self, value: int) -> int:
        return value * self.factor

    def describe(self) -> str:
        return f"times {self.factor}"


class Fetcher:
    async def __call__(self, key: str) -> str:
        return key


def test_callable_objects(s):
    """An object with `__call__` is of its class for anyone who asks, and keeps what it offers."""
    scaler = Scaler()
    scale = tracked(scaler)
    scaler.factor = 3
    assert scale(2) == 6
    assert str(inspect.signature(scale)) == "(value: 'int') -> 'int'"
    assert scale.describe() == "times 3"
    assert scale.__wrapped__ is scaler
    fetcher = tracked(Fetcher())
    assert isinstance(fetcher, Fetcher)
    assert inspect.iscoroutinefunction(fetcher.__call__)
    assert asyncio.run(fetcher("k")) == "k"
    s.assert_operation(SERVICE, "Scaler", count=1)
    s.assert_operation(SERVICE, "Fetcher", count=1)


def base(a: int, b: int, *, c: int = 0) -> int:
    return a + b + c


async def async_base(a: int, b: int) -> int:
    return a + b


def test_partials(s):
    """`functools.partial` is tracked under the function's name, with the partial's signature."""
    one = tracked(functools.partial(base, 1, c=5))
    assert one(2) == 8
    assert str(inspect.signature(one)) == "(b: 'int', *, c: 'int' = 5) -> 'int'"
    later = tracked(functools.partial(async_base, 1))
    assert inspect.iscoroutinefunction(later)
    assert asyncio.run(later(2)) == 3
    s.assert_operation(SERVICE, "base", count=1)
    s.assert_operation(SERVICE, "async_base", count=1)


def test_builtins_and_cached_functions(s):
    """What is written in C is tracked too, and `functools.lru_cache` keeps its methods."""
    length = tracked(len)
    assert length([1, 2]) == 2

    @tracked
    @functools.lru_cache
    def square(number: int) -> int:
        return number * number

    assert [square(3), square(3)] == [9, 9]
    assert square.cache_info().hits == 1
    square.cache_clear()
    assert square.cache_info().hits == 0
    s.assert_operation(SERVICE, "len", count=1)
    s.assert_operation(SERVICE, "square", count=2)


def test_generators_that_are_awaited(s):
    """A generator marked by `types.coroutine` can still be awaited."""

    @tracked
    @types.coroutine
    def turn():
        yield
        return 7

    async def main() -> int:
        return await turn()

    assert asyncio.run(main()) == 7
    s.assert_operation(SERVICE, "turn", count=1, outcome="ok")


# Faces


FACES = [add, fetch, count, stream, Shop.method, Shop.slow, Shop.class_above, Shop.static_above]


@pytest.mark.parametrize("function", FACES, ids=lambda f: f.__qualname__)
def test_the_face_is_the_wrapped_functions(function):
    """Name, module, documentation, signature and kind are those of what is wrapped."""
    original = inspect.unwrap(getattr(function, "__func__", function))
    assert original is not function
    assert function.__module__ == __name__
    assert function.__qualname__ == original.__qualname__
    assert function.__doc__ == original.__doc__
    plain = getattr(function, "__func__", function)
    assert inspect.signature(plain) == inspect.signature(original)
    assert plain.__wrapped__ is original
    assert inspect.get_annotations(plain) == inspect.get_annotations(original)
    for kind in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        asyncio.iscoroutinefunction
        if not hasattr(inspect, "markcoroutinefunction")
        else inspect.iscoroutinefunction,
    ):
        assert kind(function) == kind(original)


def test_tracked_functions_are_pickled_by_name():
    """So that they can be handed to a process pool."""
    for function in (add, fetch, count, stream, Shop.method, Shop.static_above):
        assert pickle.loads(pickle.dumps(function)) is function
    assert pickle.loads(pickle.dumps(Shop.class_above)) == Shop.class_above
    assert pickle.loads(pickle.dumps(Shop("x").method))("y") == ("x", "y")


def test_attributes_of_a_function_are_kept():
    """What a framework hung on the function is found on the wrapper."""

    def view() -> None: ...

    view.route = "/clips"
    assert tracked(view).route == "/clips"


def test_recursion(s):
    """Each level is a run of its own, a child of the level above; none stays active."""

    @track("factorial", service=SERVICE)
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert factorial(20) == 2432902008176640000
    s.assert_operation(SERVICE, "factorial", count=20, active=0)
    spans = {span.context.span_id: span for span in s.spans}
    roots = [span for span in spans.values() if span.parent is None]
    assert len(roots) == 1
    assert all(span.parent.span_id in spans for span in spans.values() if span.parent)


def test_recursion_to_the_limit_leaves_nothing_active():
    """A RecursionError, wherever it strikes, passes; every run that began ends, and as failed."""

    @track("endless", service=SERVICE)
    def endless() -> None:
        endless()

    with studio_on("own") as s:
        with pytest.raises(RecursionError):
            endless()
        metrics = s.operation(SERVICE, "endless")
        assert metrics.active == 0
        assert metrics.count == metrics.errors > 50
    guard.forget_said()
