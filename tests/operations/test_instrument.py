"""`instrument`: classes and modules in place, objects as they are or behind a proxy."""

from __future__ import annotations

import abc
import collections
import copy
import dataclasses
import enum
import functools
import pickle
import queue
import sys
import types
import weakref
from types import SimpleNamespace
from typing import Self

import pytest

from otel_studio import instrument, track

SERVICE = "instrumented"


class Cache:
    """Of ordinary make."""

    limit = 10

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}

    def get(self, key: str) -> int | None:
        return self.entries.get(key)

    def set(self, key: str, value: int) -> None:
        self.entries[key] = value

    async def fetch(self, key: str) -> int | None:
        return self.get(key)

    def keys(self):
        yield from self.entries

    @property
    def size(self) -> int:
        return len(self.entries)

    def _evict(self) -> None:
        self.entries.clear()

    def clear(self) -> None:
        self._evict()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: str) -> int:
        return self.entries[key]

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def __iter__(self):
        return iter(self.entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def __call__(self, key: str) -> int | None:
        return self.get(key)


class Derived(Cache):
    def set(self, key: str, value: int) -> None:
        super().set(key, value + 1)


class Slotted:
    __slots__ = ("__weakref__", "value")

    def __init__(self, value: int) -> None:
        self.value = value

    def double(self) -> int:
        return 2 * self.value


@dataclasses.dataclass(frozen=True)
class Point:
    x: int

    def shifted(self, by: int) -> Point:
        return Point(self.x + by)


@dataclasses.dataclass(slots=True)
class Row:
    cells: list[int]

    def total(self) -> int:
        return sum(self.cells)


def test_an_object_goes_on_as_it_is(s):
    """The same object, of the same class as far as anyone asks, with tracked methods."""
    cache = Cache()
    same = instrument(cache, service=SERVICE)
    assert same is cache
    assert isinstance(cache, Cache)
    assert cache.__class__ is Cache
    cache.set("a", 1)
    assert cache.get("a") == 1
    assert list(cache.keys()) == ["a"]
    assert (cache.size, cache.limit, len(cache), cache["a"], "a" in cache, list(cache)) == (
        1, 10, 1, 1, True, ["a"],
    )  # fmt: skip
    assert cache("a") == 1
    with cache as entered:
        assert entered is cache
    assert len(cache) == 0
    assert set(s.operations(SERVICE)) == {"Cache.set", "Cache.get", "Cache.keys", "Cache.clear"}
    s.assert_operation(SERVICE, "Cache.get", count=2)


async def test_coroutine_methods_of_an_object(s):
    """They last until they are done, and what they call is their child."""
    cache = instrument(Cache(), service=SERVICE)
    assert await cache.fetch("a") is None
    s.assert_operation(SERVICE, "Cache.get", count=1, parent="Cache.fetch")


def test_other_objects_of_the_class_are_left_alone(s):
    """Only the object that was given is tracked."""
    instrument(Cache(), service=SERVICE)
    Cache().set("a", 1)
    assert s.operations(SERVICE) == {}


def test_inherited_and_overridden_methods(s):
    """Each call is one run under the object's own class, also where it calls `super()`."""
    cache = instrument(Derived(), service=SERVICE)
    cache.set("a", 1)
    assert cache.get("a") == 2
    assert {name: m.count for name, m in s.operations(SERVICE).items()} == {
        "Derived.set": 1,
        "Derived.get": 1,
    }


def test_a_name_that_a_subclass_took_out_stays_out(s):
    """`method = None` in a class hides the inherited method, tracked or not."""

    class Without(Cache):
        get = None

    assert instrument(Without(), service=SERVICE).get is None


def test_slots(s):
    """A class with `__slots__` keeps them: no `__dict__` appears."""
    slotted = instrument(Slotted(4), service=SERVICE)
    assert slotted.double() == 8
    with pytest.raises(AttributeError):
        slotted.other = 1
    assert weakref.ref(slotted)() is slotted
    row = instrument(Row([1, 2]), service=SERVICE)
    assert row.total() == 3
    assert row == Row([1, 2])
    s.assert_operation(SERVICE, "Slotted.double", count=1)
    s.assert_operation(SERVICE, "Row.total", count=1)


def test_frozen_dataclasses(s):
    """Frozen, equal to its peers, and with the same hash."""
    point = instrument(Point(1), service=SERVICE)
    assert point.shifted(2) == Point(3)
    assert point == Point(1)
    assert Point(1) == point
    assert hash(point) == hash(Point(1))
    assert repr(point) == "Point(x=1)"
    assert dataclasses.replace(point, x=5) == Point(5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2
    s.assert_operation(SERVICE, "Point.shifted", count=1)


def test_pickles_and_copies(s):
    """It is pickled and copied as what it was: the copy is a plain object of its class."""
    cache = instrument(Cache(), service=SERVICE)
    cache.entries["a"] = 1
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        loaded = pickle.loads(pickle.dumps(cache, protocol))
        assert type(loaded) is Cache
        assert loaded.entries == {"a": 1}
    assert type(copy.deepcopy(cache)) is Cache
    slotted = instrument(Slotted(3), service=SERVICE)
    assert pickle.loads(pickle.dumps(slotted)).value == 3
    cache.get("a")
    s.assert_operation(SERVICE, "Cache.get", count=1)


def test_once_is_enough(s):
    """An object, class or module that is tracked already is not tracked twice."""
    cache = instrument(instrument(Cache(), service=SERVICE), service=SERVICE)
    cache.get("a")
    numbers = instrument(instrument([1], service=SERVICE), service=SERVICE)
    numbers.append(2)
    assert instrument(numbers) is numbers

    class Job:
        def run(self) -> None: ...

    instrument(instrument(Job, service=SERVICE), service=SERVICE)
    Job().run()
    for name in ("Cache.get", "list.append", "Job.run"):
        found = [m for n, m in s.operations(SERVICE).items() if n.endswith(name)]
        assert [m.count for m in found] == [1]


def test_objects_of_one_class_share_one_subclass(s):
    """A thousand objects make one class, and it goes when they do."""

    class Local:
        def run(self) -> None: ...

    objects = [instrument(Local(), service=SERVICE) for _ in range(1_000)]
    assert len({type(item) for item in objects}) == 1
    assert type(instrument(Local(), service="another")) is not type(objects[0])


def test_include_and_exclude(s):
    """Patterns choose by name; what is excluded stays out, and special methods can be asked for."""
    cache = instrument(Cache(), service=SERVICE, include=("g*", "set"), exclude="set")
    cache.set("a", 1)
    cache.get("a")
    cache.clear()
    assert set(s.operations(SERVICE)) == {"Cache.get"}
    called = instrument(Cache(), service="called", include="__call__", exclude=())
    assert called("a") is None
    assert set(s.operations("called")) == {"Cache.__call__"}


def test_everything_at_once(s):
    """With no exclusion at all, the object still works: Python's own machinery is left alone."""
    cache = instrument(Cache(), service=SERVICE, exclude=())
    cache.set("a", 1)
    assert len(cache) == 1
    assert pickle.loads(pickle.dumps(cache)).entries == {"a": 1}
    assert "Cache.__len__" in s.operations(SERVICE)
    assert "Cache.__reduce_ex__" not in s.operations(SERVICE)


class Colour(enum.Enum):
    RED = 1

    def shade(self) -> str:
        return self.name.lower()


class Registered(enum.Enum):
    """Of a class that nothing takes the place of."""

    ONE = 1

    def run(self) -> str:
        return "ran"


def test_objects_whose_class_cannot_be_replaced_get_a_proxy(s):
    """Built-in types and enum members."""
    numbers = instrument([3, 1], service=SERVICE)
    numbers.append(2)
    numbers.sort()
    assert isinstance(numbers, list)
    assert numbers.__class__ is list
    assert (len(numbers), numbers[0], 2 in numbers, list(numbers)) == (3, 1, True, [1, 2, 3])
    assert numbers == [1, 2, 3]
    assert repr(numbers) == "[1, 2, 3]"
    before = numbers
    numbers += [4]
    assert numbers is before
    assert numbers + [5] == [1, 2, 3, 4, 5]  # noqa: RUF005  # its own `+`
    with pytest.raises(TypeError, match="unhashable"):
        hash(numbers)
    assert pickle.loads(pickle.dumps(numbers)) == [1, 2, 3, 4]

    red = instrument(Colour.RED, service=SERVICE)
    assert (red.shade(), red.name, red == Colour.RED) == ("red", "RED", True)
    assert isinstance(red, Colour)

    assert instrument(Registered.ONE, service=SERVICE).run() == "ran"

    counts = instrument(collections.Counter("aab"), service=SERVICE)
    assert counts.most_common(1) == [("a", 2)]
    assert set(s.operations(SERVICE)) >= {
        "list.append",
        "list.sort",
        "Colour.shade",
        "Registered.run",
        "Counter.most_common",
    }


def test_a_proxy_passes_keywords_attributes_and_context_managers(s):
    """Calls with keywords, setting and deleting attributes, `with`."""

    class Final(enum.Enum):
        ONE = 1

        def __call__(self, *, by: int) -> int:
            return by

        def __enter__(self) -> str:
            return "in"

        def __exit__(self, *error: object) -> None: ...

    original = Final.ONE
    proxy = instrument(original, service=SERVICE)
    assert proxy is not original
    assert proxy(by=3) == 3
    with proxy as entered:
        assert entered == "in"
    proxy.label = "x"
    assert original.label == "x"
    del proxy.label
    assert not hasattr(original, "label")
    assert weakref.ref(proxy)() is proxy


def test_objects_of_the_standard_library(s):
    """A queue is tracked as it is; so is an abstract class's implementation."""
    jobs = instrument(queue.Queue(), service="jobs", include=("put", "get"))
    jobs.put(1)
    assert jobs.get() == 1
    s.assert_operation("jobs", "Queue.put", count=1)

    class Store(abc.ABC):
        @abc.abstractmethod
        def load(self) -> int: ...

    class Disk(Store):
        def load(self) -> int:
            return 1

    assert instrument(Disk(), service="disk").load() == 1
    s.assert_operation("disk", "Disk.load", count=1)


def test_a_class_in_place(s):
    """The class itself is changed, for every object of it, and stays abstract where it was."""

    class Store(abc.ABC):
        @abc.abstractmethod
        def load(self) -> int: ...

        @staticmethod
        def path() -> str:
            return "/"

        @classmethod
        def open(cls) -> type:
            return cls

    assert instrument(Store, service=SERVICE) is Store
    assert Store.__abstractmethods__ == {"load"}
    assert (Store.path(), Store.open()) == ("/", Store)
    assert set(s.operations(SERVICE)) == {"Store.path", "Store.open"}


def test_a_class_gives_the_public_methods_that_it_defines(s):
    """Not those with an underscore, not inherited ones, not what only looks like a method."""

    class Base:
        def inherited(self) -> int:
            return 1

    @instrument
    class Job(Base):
        def __init__(self) -> None:
            self.kept = True

        def run(self, path: str) -> int:
            return self._step() + self.inherited()

        def _step(self) -> int:
            return 1

        @classmethod
        def make(cls) -> Job:
            return cls()

        @staticmethod
        def twice(value: int) -> int:
            return 2 * value

        @property
        def ready(self) -> bool:
            return True

        @functools.cached_property
        def cost(self) -> int:
            return 5

        half = functools.partialmethod(run, "half")

    job = Job.make()
    assert isinstance(job, Job)
    assert (job.run("a"), job.twice(2), job.ready, job.cost, job.cost) == (2, 4, True, 5, 5)
    assert job.half() == 2
    assert set(s.operations(__name__)) == {"Job.run", "Job.make", "Job.twice"}


def test_a_built_in_class_is_refused_in_one_sentence(s):
    """Its methods cannot be replaced; an object's can be proxied."""
    with pytest.raises(TypeError, match=r"methods of dict cannot be replaced.*object of it"):
        instrument(dict, service=SERVICE)


def test_a_module(s):
    """Its own public functions and classes; what it imported, and its exceptions, stay."""
    module = types.ModuleType("shop_module")
    sys.modules["shop_module"] = module
    source = """
from os.path import join
class Refused(Exception):
    def why(self): return 1
class Basket:
    def price(self): return 2
def pay(): return Basket().price()
def _secret(): return 3
total = 5
"""
    exec(compile(source, "shop_module.py", "exec"), vars(module))
    try:
        join = module.join
        assert instrument(module, service=SERVICE) is module
        assert (module.pay(), module._secret(), module.total) == (2, 3, 5)
        assert module.join is join
        module.Refused().why()
        assert set(s.operations(SERVICE)) == {"pay", "Basket.price"}
    finally:
        del sys.modules["shop_module"]


def test_the_service_is_the_module_where_none_is_given(s):
    """As for `track`."""
    instrument(Cache()).clear()
    s.assert_operation(__name__, "Cache.clear", count=1)


def test_failures_pass_through(s):
    """An exception of a method is an error of its run, the same object."""
    problem = ValueError("no")

    class Broken:
        def run(self) -> None:
            raise problem

    with pytest.raises(ValueError, match="no") as raised:
        instrument(Broken(), service=SERVICE).run()
    assert raised.value is problem
    s.assert_operation(SERVICE, "Broken.run", count=1, errors=1)


def test_a_tracked_method_keeps_its_own_operation(s):
    """`@track("x")` on a method of an instrumented object is the only operation of it."""

    class Job:
        @track("special", service=SERVICE)
        def run(self) -> None: ...

    instrument(Job(), service=SERVICE).run()
    assert set(s.operations(SERVICE)) == {"special"}


# Several services at once


class Previews:
    def render(self) -> str:
        return "rendered"


@dataclasses.dataclass
class Settings:
    """Without a method: no service."""

    width: int = 640


class Container:
    """Holds services, and has no method to track."""

    shared = Derived()
    default_width = 640

    def __init__(self) -> None:
        self.cache = Cache()
        self.previews = Previews()
        self.settings = Settings()
        self.jobs = queue.Queue()
        self.kind = Cache
        self._spare = Cache()

    @property
    def expensive(self) -> Cache:
        raise AssertionError("a property was read")

    def _wire(self) -> None: ...


def test_a_mapping_names_its_services(s):
    """Objects, classes and modules, each under its key; a proxy takes the place of its object."""

    class Job:
        def run(self) -> None: ...

    cache, numbers = Cache(), [1]
    services = {"cache-service": cache, "jobs": Job, "numbers": numbers}
    assert instrument(services, exclude=("_*", "set")) is services
    assert services["cache-service"] is cache
    assert services["numbers"] == numbers
    cache.set("a", 1)
    cache.get("a")
    Job().run()
    services["numbers"].append(2)
    assert numbers == [1, 2]
    assert set(s.operations("cache-service")) == {"Cache.get"}
    assert [name.rpartition(".")[2] for name in s.operations("jobs")] == ["run"]
    assert set(s.operations("numbers")) == {"list.append"}


def test_a_mapping_that_cannot_be_changed(s):
    """Does for whatever is tracked as it is; a proxy finds no place in it, which is said."""
    cache = Cache()
    instrument(types.MappingProxyType({"cache-service": cache}))
    cache.get("a")
    s.assert_operation("cache-service", "Cache.get", count=1)
    with pytest.raises(TypeError, match=r"'numbers'.*a mappingproxy does not let one.*in a dict"):
        instrument(types.MappingProxyType({"numbers": [1]}))


def test_a_mapping_that_is_a_service_is_tracked_as_one(s):
    """With `service`, or where the program's own class is a mapping."""

    class Shelf(dict):
        def tidy(self) -> None: ...

    shelf = instrument(Shelf(a=Cache()))
    shelf.tidy()
    assert {name.rpartition(".")[2] for name in s.operations(__name__)} == {"tidy"}
    named = instrument({"a": 1}, service=SERVICE)
    assert named.copy() == {"a": 1}
    s.assert_operation(SERVICE, "dict.copy", count=1)


def test_an_object_that_holds_services_gives_each_its_own_name(s):
    """Public attributes of its own package with methods; nothing else is touched, or read."""
    container = Container()
    kept = dict(vars(container))
    assert instrument(container) is container
    assert type(container) is Container
    assert vars(container) == kept
    assert instrument(container) is container  # once is enough
    container.cache.get("a")
    container.previews.render()
    container.shared.get("a")
    container._spare.get("a")
    container.jobs.put(1)
    assert {service: set(s.operations(service)) for service in ("cache", "previews", "shared")} == {
        "cache": {"Cache.get"},
        "previews": {"Previews.render"},
        "shared": {"Derived.get"},
    }
    for service in ("jobs", "settings", "kind", "_spare", __name__):
        assert s.operations(service) == {}
    assert type(container.settings) is Settings


def test_slots_and_dataclasses_hold_services_too(s):
    """And what they hold is tracked as `include` says."""

    @dataclasses.dataclass(slots=True)
    class Slots:
        cache: Cache
        missing: Cache = dataclasses.field(init=False)

    container = instrument(Slots(Cache()), include="get")
    container.cache.set("a", 1)
    container.cache.get("a")
    assert set(s.operations("cache")) == {"Cache.get"}


def test_a_held_service_behind_a_proxy_takes_its_place(s):
    """Where it can: a frozen holder says in one sentence what to do instead."""

    class Holder:
        def __init__(self) -> None:
            self.registered = Registered.ONE

    holder = instrument(Holder())
    assert holder.registered.run() == "ran"
    s.assert_operation("registered", "Registered.run", count=1)

    @dataclasses.dataclass(frozen=True)
    class Frozen:
        other: Registered

    with pytest.raises(TypeError, match=r"'other' can be tracked behind a proxy alone.*Frozen"):
        instrument(Frozen(Registered.ONE))


def test_an_object_with_methods_of_its_own_is_tracked_itself(s):
    """What it holds is its own business, unless `service` or a mapping says otherwise."""

    class Shop(Container):
        def open(self) -> str:
            return self.previews.render()

    shop = instrument(Shop())
    assert shop.open() == "rendered"
    assert [name.rpartition(".")[2] for name in s.operations(__name__)] == ["open"]
    assert s.operations("previews") == {}
    container = instrument(Container(), service=SERVICE)
    container.previews.render()
    assert s.operations("previews") == {}


def test_nothing_to_track_is_said(s):
    """An object without methods whose services cannot be told from anything else."""
    with pytest.raises(TypeError, match=r"nothing to track in a SimpleNamespace.*by name"):
        instrument(SimpleNamespace(cache=Cache()))
    with pytest.raises(TypeError, match="nothing to track in a Settings"):
        instrument(Settings())
    with pytest.raises(TypeError, match="nothing to track in a function"):
        instrument(test_nothing_to_track_is_said)
    services = SimpleNamespace(cache=Cache())
    instrument(vars(services))
    services.cache.get("a")
    s.assert_operation("cache", "Cache.get", count=1)
