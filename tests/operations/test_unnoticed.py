"""`instrument(obj)`: neither the object's class nor its metaclass hears of it."""

from __future__ import annotations

import abc
import copy
import functools
import gc
import pickle
import weakref
from typing import Generic, Protocol, TypeVar

import cloudpickle
import pytest

from otel_studio import instrument

SERVICE = "unnoticed"
T = TypeVar("T")
seen: list[str] = []


class Hooked:
    """Registers its subclasses."""

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        seen.append(f"subclass {cls.__name__}")

    def run(self) -> str:
        return "ran"


class Plugin(Hooked):
    def __init__(self) -> None:
        self.value = 1


class Refusing(Hooked):
    def __init_subclass__(cls, **keywords: object) -> None:
        raise TypeError("final")


class Demanding(Hooked):
    def __init_subclass__(cls, *, key: str) -> None:
        seen.append(key)


class Meta(type):
    """Registers every class that is made, as object-relational mappers do."""

    def __new__(mcs, name, bases, namespace, **keywords):
        seen.append(f"new {name}")
        return super().__new__(mcs, name, bases, namespace, **keywords)

    def __init__(cls, name, bases, namespace, **keywords):
        seen.append(f"init {name}")
        super().__init__(name, bases, namespace, **keywords)

    def __setattr__(cls, name, value):
        seen.append(f"set {name}")
        super().__setattr__(name, value)


class Mapped(metaclass=Meta):
    def __init__(self) -> None:
        self.value = 1

    def run(self) -> str:
        return "ran"


class AbstractMeta(abc.ABCMeta, Meta):
    pass


class Base(metaclass=abc.ABCMeta):
    @abc.abstractmethod
    def run(self) -> str: ...


class Concrete(Base):
    def run(self) -> str:
        return "ran"


class BothWays(metaclass=AbstractMeta):
    def run(self) -> str:
        return "ran"


class Runner(Protocol):
    def run(self) -> str: ...


class Explicit(Runner):
    def run(self) -> str:
        return "ran"


class Typed(Generic[T]):
    def run(self) -> str:
        return "ran"


class Slotted(Hooked):
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1


class Number(int):
    def run(self) -> str:
        return "ran"


class Named:
    """Counts how often it is named."""

    named = 0

    def __set_name__(self, owner: type, name: str) -> None:
        type(self).named += 1

    def __get__(self, instance: object, owner: type) -> int:
        return 1


class WithNamed:
    attribute = Named()

    @functools.cached_property
    def kept(self) -> int:
        return 1

    def run(self) -> str:
        return "ran"


KINDS = [
    Plugin, Refusing, Demanding, Mapped, Concrete, BothWays, Explicit, Typed, Slotted, Number,
    WithNamed,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_hook_runs(s, kind):
    """Registries find no class that the program has not written."""
    thing = kind()
    before, named = list(seen), Named.named
    assert instrument(thing, service=SERVICE) is thing
    assert thing.run() == "ran"
    assert (seen, Named.named) == (before, named)
    (metrics,) = s.operations(SERVICE).values()
    assert metrics.count == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_object_is_of_its_class(s, kind):
    """For all who ask: `isinstance` both ways, its names, its bases, its metaclass."""
    thing, plain = instrument(kind(), service=SERVICE), kind()
    assert thing.__class__ is kind
    assert isinstance(thing, kind)
    made = type(thing)
    assert (made.__name__, made.__qualname__, made.__module__, made.__doc__) == (
        kind.__name__, kind.__qualname__, kind.__module__, kind.__doc__,
    )  # fmt: skip
    assert made.__mro__ == (made, *kind.__mro__)
    assert made.__bases__ == (kind,)
    assert isinstance(made, type(kind))
    assert type(made).__name__ == type(kind).__name__
    for _ in range(2):  # an abstract class remembers what it answered
        assert not isinstance(plain, made)
        assert isinstance(plain, kind)
        assert issubclass(kind, kind)
        assert issubclass(made, kind)
    assert not any(name.startswith("__otel_studio_shield") for name in dir(made))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_it_is_pickled_and_copied_as_what_it_was(s, kind, dumps):
    """By every protocol that its class can be pickled by."""
    thing = instrument(kind(), service=SERVICE)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        if protocol < 2 and kind is Slotted:
            continue
        assert type(pickle.loads(dumps(thing, protocol))) is kind
    assert type(copy.copy(thing)) is kind
    assert type(copy.deepcopy([thing])[0]) is kind


def test_hooks_run_for_subclasses_that_the_program_makes(s):
    """Also for those of an object's own class, if it must."""
    made = type(instrument(Plugin(), service=SERVICE))
    before = len(seen)

    class Further(made): ...

    class Mine(Plugin): ...

    assert seen[before:] == ["subclass Further", "subclass Mine"]
    assert Further.__mro__ == (Further, *made.__mro__)


def test_weak_references_slots_and_equality(s):
    """What the object's class has, and no more."""
    thing = Plugin()
    reference = weakref.ref(thing)
    instrument(thing, service=SERVICE)
    assert reference() is thing
    assert vars(thing) == {"value": 1}
    number = instrument(Number(3), service=SERVICE)
    assert (number, hash(number), number + 1) == (3, hash(3), 4)
    slotted = instrument(Slotted(), service=SERVICE)
    slotted.value = 2
    assert slotted.value == 2


def test_a_class_goes_with_its_objects():
    """What was made for a class does not keep it."""

    class Local(Hooked): ...

    instrument(Local(), service=SERVICE).run()
    gone = weakref.ref(Local)
    del Local
    gc.collect()
    assert gone() is None
