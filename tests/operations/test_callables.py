"""A tracked callable answers every question as the plain one does."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import sys
import types
import warnings
import weakref

import cloudpickle
import pytest

from otel_studio import instrument, track

SERVICE = "callables"
tracked = track("call", service=SERVICE)


class Counting:
    """Counts its calls."""

    def __init__(self, step: int = 1) -> None:
        self.calls = 0
        self.step = step

    def __call__(self, by: int = 1) -> int:
        self.calls += self.step * by
        return self.calls

    def __len__(self) -> int:
        return self.calls

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counting) and other.calls == self.calls

    __hash__ = None

    def describe(self) -> str:
        return f"{self.calls} calls"


class Method:
    """Becomes a method, by itself."""

    def __init__(self, function) -> None:
        self.function = function
        self.__name__ = "method"

    def __call__(self, *args):
        return self.function(*args)

    def __get__(self, instance, owner=None):
        return self if instance is None else types.MethodType(self, instance)


class Partial(Method):
    """Binds by a partial of itself."""

    def __get__(self, instance, owner=None):
        return self if instance is None else functools.partial(self, instance)


class Call(Method):
    """Binds by a partial of its call."""

    def __get__(self, instance, owner=None):
        return self if instance is None else functools.partial(self.__call__, instance)


class Inner(Method):
    """Binds what is inside it."""

    def __get__(self, instance, owner=None):
        return self if instance is None else self.function.__get__(instance, owner)


class Bound(Method):
    """Binds to an object of its own making."""

    def __get__(self, instance, owner=None):
        return self if instance is None else Method(functools.partial(self.function, instance))


class Asynchronous:
    async def __call__(self, value: int) -> tuple:
        return given(value)


def given(*args, key: int = 0):
    """Say what was given."""
    return (*(type(arg).__name__ for arg in args), key)


async def later(*args) -> tuple:
    return given(*args)


@functools.lru_cache
def cached(*args) -> tuple:
    """Remember."""
    return given(*args)


class Holder:
    def method(self, *args):
        return given(self, *args)


MAKERS = {
    "function": lambda: given,
    "coroutine function": lambda: later,
    "builtin": lambda: len,
    "bound builtin": lambda: "text".join,
    "bound method": lambda: Holder().method,
    "partial": lambda: functools.partial(given, 1, key=2),
    "partial of a coroutine": lambda: functools.partial(later, 1),
    "partial of a partial": lambda: functools.partial(functools.partial(given, 1), 2),
    "callable object": Counting,
    "asynchronous object": Asynchronous,
    "method object": lambda: Method(given),
    "object that binds a partial": lambda: Partial(given),
    "object that binds its call": lambda: Call(given),
    "object that binds another": lambda: Inner(given),
    "object that binds what it makes": lambda: Bound(given),
    "lru_cache": lambda: cached,
    "singledispatch": lambda: functools.singledispatch(given),
}


@pytest.fixture(params=MAKERS)
def pair(request):
    """A callable and the same one tracked."""
    plain = MAKERS[request.param]()
    return plain, tracked(plain)


def answer(ask):
    """Return what a question gives, or how it fails."""
    with warnings.catch_warnings():
        # From 3.13 on, a partial as a class attribute warns that it will become a method.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            found = ask()
        except Exception as error:
            return type(error)
    if inspect.iscoroutine(found):
        try:
            return asyncio.run(found)
        except Exception as error:
            return type(error)
    return found


def held_by(callee, **more):
    return type("Held", (), {"call": callee, **more})


@pytest.mark.parametrize("args", [(), ("ab",), (["a", "b"],), (1, 2)], ids=repr)
def test_as_a_class_attribute_it_binds_as_the_plain_one(s, pair, args):
    """Through an instance, the class, a subclass, `super` and as an instance's own attribute."""
    for get in (
        lambda callee: held_by(callee)().call(*args),
        lambda callee: held_by(callee).call(*args),
        lambda callee: held_by(callee).call("self", *args),
        lambda callee: type("Sub", (held_by(callee),), {})().call(*args),
        lambda callee: held_by(staticmethod(callee))().call(*args),
        lambda callee: held_by(classmethod(callee))().call(*args),
        lambda callee: held_by(functools.partialmethod(callee, 1))().call(*args),
        lambda callee: held_by(property(callee))().call,
        lambda callee: types.SimpleNamespace(call=callee).call(*args),
    ):
        plain, ours = (copy.deepcopy(each) for each in pair)  # calls may change it
        assert answer(lambda: get(ours)) == answer(lambda: get(plain))  # noqa: B023


def test_what_is_bound_is_tracked(s, pair):
    """Whichever way it becomes a method, a call of it is one run."""
    _, ours = pair
    for runs, get in enumerate((lambda holder: holder().call, lambda holder: holder.call), 1):
        answer(lambda: get(held_by(ours))("ab"))  # noqa: B023
        s.assert_operation(SERVICE, "call", count=runs)


QUESTIONS = {
    "callable": callable,
    "class": lambda f: f.__class__,
    "signature": inspect.signature,
    "iscoroutinefunction": inspect.iscoroutinefunction,
    "its call": lambda f: isinstance(f, Asynchronous) and inspect.iscoroutinefunction(f.__call__),
    "isgeneratorfunction": inspect.isgeneratorfunction,
    "isasyncgenfunction": inspect.isasyncgenfunction,
    "isfunction": inspect.isfunction,
    "ismethod": inspect.ismethod,
    "isbuiltin": inspect.isbuiltin,
    "isroutine": inspect.isroutine,
    "source": inspect.getsource,
    "doc": inspect.getdoc,
    "module": inspect.getmodule,
    "annotations": inspect.get_annotations,
    "name": lambda f: f.__name__,
    "qualname": lambda f: f.__qualname__,
    "module name": lambda f: f.__module__,
    "documentation": lambda f: f.__doc__,
    "self": lambda f: f.__self__,
    "func": lambda f: f.func,
    "args": lambda f: f.args,
    "keywords": lambda f: f.keywords,
    "cache_info": lambda f: f.cache_info(),
    "registry": lambda f: f.registry,
    "length": len,
    "truth": bool,
    "instance": lambda f: isinstance(f, (Counting, Method, functools.partial)),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_it_says_of_itself_is_what_the_plain_one_says(pair, question):
    """What `inspect` and the callable's own attributes tell."""
    plain, ours = pair
    assert answer(lambda: QUESTIONS[question](ours)) == answer(lambda: QUESTIONS[question](plain))


def test_it_is_unwrapped_to_what_the_plain_one_is_unwrapped_to(pair):
    """`inspect.unwrap` ends where it ended."""
    plain, ours = pair
    assert inspect.unwrap(ours) == inspect.unwrap(plain)


def test_it_is_compared_and_hashed_as_the_plain_one(pair):
    """Two that stand for one thing are equal, as twice that thing is."""
    plain, ours = pair
    same = ours
    assert ours == same
    if not inspect.isfunction(ours):
        assert ours == plain
        assert ours == tracked(plain)
        assert answer(lambda: hash(ours)) == answer(lambda: hash(plain))
        assert repr(ours) == repr(plain)
        assert set(dir(ours)) >= set(dir(plain))
    assert weakref.ref(ours)() is ours


def test_attributes_are_the_plain_ones(s):
    """Whoever sets them, whenever."""
    counting = Counting()
    ours = tracked(counting)
    assert (ours(), ours(by=2)) == (1, 3)
    assert (ours.calls, len(ours), ours.describe()) == (3, 3, "3 calls")
    ours.step = 10
    assert counting.step == 10
    counting.label = "x"
    assert (ours.label, vars(ours)) == ("x", vars(counting))
    del ours.label
    assert not hasattr(counting, "label")
    with pytest.raises(TypeError, match="unhashable"):
        hash(ours)
    s.assert_operation(SERVICE, "call", count=2)


def test_a_cached_function_keeps_its_cache(s):
    """Its counts, its clearing and what it wraps; as a function and as a method."""

    class Shop:
        @tracked
        @functools.lru_cache  # noqa: B019
        def price(self, name: str) -> int:
            return len(name)

    shop = Shop()
    assert (shop.price("ab"), shop.price("ab"), Shop.price(shop, "ab")) == (2, 2, 2)
    assert Shop.price.cache_info().hits == 2
    assert shop.price.cache_info().misses == 1
    assert Shop.price.cache_parameters()["maxsize"] == 128
    Shop.price.cache_clear()
    assert Shop.price.cache_info().hits == 0
    assert Shop.price.__wrapped__(shop, "abc") == 3
    s.assert_operation(SERVICE, "call", count=3)


def test_descriptors_of_pythons_own(s):
    """On either side of the decorator, with setters, names, and what is kept."""

    class Shop:
        reads = 0

        @tracked
        @property
        def above(self) -> int:
            """Read."""
            return 1

        @above.setter
        def above(self, value: int) -> None:
            self.set = value

        @property
        @tracked
        def below(self) -> int:
            return 2

        @tracked
        @functools.cached_property
        def kept(self) -> int:
            self.reads += 1
            return self.reads

        def _given(self, *args):
            return args

        method = tracked(functools.partialmethod(_given, 1))
        under = functools.partialmethod(tracked(_given), 1)

    shop = Shop()
    assert (shop.above, shop.below) == (1, 2)
    shop.above = 5
    assert shop.set == 5
    assert Shop.above.__doc__ == "Read."
    assert isinstance(Shop.above, property)
    assert (shop.kept, shop.kept, shop.reads) == (1, 1, 1)
    assert isinstance(Shop.kept, functools.cached_property)
    assert (shop.method(2), shop.under(2)) == ((1, 2), (1, 2))
    s.assert_operation(SERVICE, "call", count=5)


def test_instrument_leaves_how_members_bind(s):
    """Partials, builtins, objects and cached methods of an instrumented class."""

    class Shop:
        parse = functools.partial(int, base=2)
        size = len
        counting = Counting()
        method = Method(given)
        static = staticmethod(len)

        @functools.lru_cache  # noqa: B019
        def price(self, name: str) -> int:
            return len(name)

        @functools.cached_property
        def kept(self) -> int:
            return 1

    def ask(shop):
        return [
            answer(lambda: shop.parse("11")),
            *(shop.size("ab"), shop.method(1), shop.static("a"), shop.price("a"), shop.kept),
            *(shop.price("a"), shop.price.cache_info().maxsize),
        ]

    plain = ask(Shop())
    assert ask(instrument(Shop(), service=SERVICE)) == plain
    assert ask(instrument(Shop, service=SERVICE)()) == plain
    s.assert_operation(SERVICE, f"{Shop.__qualname__.rpartition('<locals>.')[2]}.price", count=4)


@tracked
@functools.lru_cache
def remembered(value: int) -> int:
    return value


COUNTED = tracked(Counting())
PARTIAL = tracked(functools.partial(int, base=2))


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_pickled_as_the_plain_one(s, dumps, protocol):
    """By name where that is how, else as what it is; and it is tracked where it arrives."""
    assert pickle.loads(dumps(remembered, protocol)) is remembered
    loaded = pickle.loads(dumps(PARTIAL, protocol))
    assert (loaded("11"), loaded.keywords) == (3, {"base": 2})
    counting = pickle.loads(dumps(COUNTED, protocol))
    assert isinstance(counting, Counting)
    assert counting() == COUNTED.calls + 1
    length = pickle.loads(dumps(tracked(len), protocol))
    assert length("ab") == 2
    s.assert_operation(SERVICE, "call", count=3)


def test_it_is_copied_as_the_plain_one(s):
    """A copy has a state of its own; what is copied as itself stays itself."""
    counting = tracked(Counting())
    for how in (copy.copy, copy.deepcopy):
        copied = how(counting)
        assert copied() == 1
        assert counting.calls == 0
        assert how(remembered) is remembered
        assert how(PARTIAL)("11") == 3
    s.assert_operation(SERVICE, "call", count=4)


async def test_asynchronous_objects(s):
    """Their run lasts until they are done."""
    pending = tracked(Asynchronous())(3)
    assert s.operations(SERVICE) == {}
    assert await pending == ("int", 0)
    s.assert_operation(SERVICE, "call", count=1, outcome="ok")


def test_tracked_twice_it_is_two_operations(s):
    """As a function is."""
    twice = track("outer", service=SERVICE)(tracked(functools.partial(int, base=2)))
    assert (twice("11"), twice.keywords) == (3, {"base": 2})
    both = track("outer", service=SERVICE)(tracked(Counting()))
    assert (both(), both.calls) == (1, 1)
    s.assert_operation(SERVICE, "outer", count=2)
    s.assert_operation(SERVICE, "call", count=2)


def test_a_type_keeps_no_trace_of_having_been_stood_for():
    """The classes made for it go with it."""

    class Local:
        def __call__(self) -> None: ...

    tracked(Local())()
    gone = weakref.ref(Local)
    del Local
    for _ in range(3):
        __import__("gc").collect()
    assert gone() is None


@pytest.mark.only_where(sys.version_info >= (3, 14), "Python 3.14, where a partial is a method")
def test_a_partial_becomes_a_method_where_it_does(s):
    """It is handed `self` there, and tracked."""
    assert held_by(tracked(functools.partial(given, 1)))().call(2) == ("int", "Held", "int", 0)
    s.assert_operation(SERVICE, "call", count=1)
