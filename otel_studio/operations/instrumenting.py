"""Tracks the methods of classes and objects, and the functions of modules, in place."""

from __future__ import annotations

import dataclasses
import fnmatch
import inspect
import types
from collections.abc import Iterable
from typing import Any

from otel_studio.operations.binding import Binding
from otel_studio.operations.standing_in import TRACKED_MARK
from otel_studio.operations.subclassing import class_slot, quiet_subclass
from otel_studio.operations.wrapping import Options, wrap

_ORIGINAL = "__otel_studio_original__"
_PLAN = "__otel_studio_plan__"
#: Special methods that Python's own machinery calls: never tracked, and a proxy has its own.
_PLUMBING = frozenset(
    f"__{name}__"
    for name in (
        "class", "new", "init_subclass", "subclasshook", "class_getitem", "getattribute",
        "getattr", "setattr", "delattr", "reduce", "reduce_ex", "getstate", "del",
    )
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which members are tracked, and in which service.

    Attributes:
        service: the component; by default the module of what is instrumented.
        include: patterns of the names to track; empty for all.
        exclude: patterns of the names to leave alone.
    """

    service: str | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    def wants(self, name: str) -> bool:
        """Tell whether a member of this name is to be tracked."""
        if name in _PLUMBING or any(fnmatch.fnmatchcase(name, p) for p in self.exclude):
            return False
        return not self.include or any(
            fnmatch.fnmatchcase(name, pattern) for pattern in self.include
        )

    def finds_methods(self, classes: Iterable[type]) -> bool:
        """Tell whether any of these classes itself defines a method to be tracked."""
        return any(
            self.wants(name) and _is_method(_function_of(member))
            for cls in classes
            for name, member in list(vars(cls).items())
        )


def instrument(target: Any, plan: Plan) -> Any:
    """Track a class, a module or an object, and return what is to be used from now on."""
    if inspect.isclass(target):
        return _instrument_class(target, plan)
    if isinstance(target, types.ModuleType):
        return _instrument_module(target, plan)
    return _instrument_object(target, plan)


def is_tracked(target: Any) -> bool:
    """Tell whether an object is tracked already, as it is or behind a proxy."""
    return hasattr(type(target), _ORIGINAL)


def _instrument_class(cls: type, plan: Plan) -> type:
    """Replace the methods that a class itself defines by tracked ones; returns the class.

    Raises:
        TypeError: if the class is built in: its methods cannot be replaced.
    """
    members = _tracked_members(cls, plan, cls, set())
    for name, tracked in members.items():
        try:
            setattr(cls, name, tracked)
        except TypeError:
            raise TypeError(
                f"the methods of {cls.__qualname__} cannot be replaced, as it is no class of "
                "Python code: give instrument() an object of it instead"
            ) from None
    return cls


def _instrument_module(module: types.ModuleType, plan: Plan) -> types.ModuleType:
    home = plan.service or module.__name__
    of_classes = dataclasses.replace(plan, service=home, include=())
    for name, member in list(vars(module).items()):
        if getattr(member, "__module__", None) != module.__name__ or not plan.wants(name):
            continue  # what a module imports is another module's
        if inspect.isclass(member):
            if not issubclass(member, BaseException):
                _instrument_class(member, of_classes)
        elif inspect.isfunction(member) and not hasattr(member, TRACKED_MARK):
            setattr(module, name, _wrapped(member, home, name))
    return module


def _instrument_object(target: Any, plan: Plan) -> Any:
    cls = type(target)
    if is_tracked(target):
        return target
    try:
        subclass = _known_subclass(cls, plan) or _make_subclass(cls, plan)
        class_slot.__set__(target, subclass)
    except Exception:
        # A final class, a layout of C's, an enumeration.
        return _make_proxy(target, _methods_of(cls, plan))
    return target


def _known_subclass(cls: type, plan: Plan) -> type | None:
    subclass: type
    for subclass in type.__subclasses__(cls):
        if subclass.__dict__.get(_PLAN) == plan:
            return subclass
    return None


def _methods_of(cls: type, plan: Plan) -> dict[str, Any]:
    """Return tracked versions of every method an object of the class has, inherited ones too."""
    members: dict[str, Any] = {}
    seen: set[str] = set()
    for owner in cls.__mro__[:-1]:
        members.update(_tracked_members(owner, plan, cls, seen))
    return members


def _make_subclass(cls: type, plan: Plan) -> type:
    def reduce(self: Any, protocol: Any) -> Any:
        # Pickled as what it was: the subclass cannot be imported where it is loaded.
        class_slot.__set__(self, cls)
        try:
            return cls.__reduce_ex__(self, protocol)  # type: ignore[call-arg]  # unbound
        finally:
            class_slot.__set__(self, made)

    namespace = {
        **_methods_of(cls, plan),
        # Code that compares classes (a dataclass's `__eq__`) is to find them equal.
        "__class__": property(lambda _self: cls),
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__reduce_ex__": reduce,
        _ORIGINAL: cls,
        _PLAN: plan,
    }
    made = quiet_subclass(cls, namespace)
    return made


def _make_proxy(target: Any, members: dict[str, Any]) -> Any:
    """Return an object that acts as the target, for one whose class cannot be replaced."""
    cls = type(target)

    class Proxy:
        __slots__ = ("__weakref__",)

        @property  # type: ignore[misc]
        def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
            return cls

        def __getattribute__(self, name: str) -> Any:
            if name == "__class__":
                return cls
            tracked = members.get(name)
            if tracked is None:
                return getattr(target, name)
            return tracked.__get__(target, cls)

        def __setattr__(self, name: str, value: Any) -> None:
            setattr(target, name, value)

        def __delattr__(self, name: str) -> None:
            delattr(target, name)

        def __reduce_ex__(self, protocol: Any) -> Any:
            return target.__reduce_ex__(protocol)

    for name in {name for owner in cls.__mro__ for name in vars(owner)}:
        special_name = name.startswith("__") and name.endswith("__")
        if special_name and name not in _PLUMBING and name != "__init__":
            special = inspect.getattr_static(cls, name)
            if special is None:  # `__hash__` of what cannot be hashed
                setattr(Proxy, name, None)
            elif callable(special):
                setattr(Proxy, name, _forward(target, name, members.get(name, special)))
    setattr(Proxy, _ORIGINAL, cls)
    Proxy.__name__, Proxy.__qualname__, Proxy.__doc__ = cls.__name__, cls.__qualname__, cls.__doc__
    return Proxy()


def _forward(target: Any, name: str, special: Any) -> Any:
    in_place = name.startswith("__i") and hasattr(target, f"__{name[3:]}")

    def forwarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        bind = getattr(special, "__get__", None)
        bound = special if bind is None else bind(target, type(target))
        result = bound(*args, **kwargs)
        # `proxy += x` is to leave the name bound to the proxy.
        return self if in_place and result is target else result

    return forwarded


def _tracked_members(cls: type, plan: Plan, of: type, seen: set[str]) -> dict[str, Any]:
    """Return tracked versions of the methods that a class itself defines.

    Args:
        cls: the class that defines them.
        plan: which, and how.
        of: the class whose module and name the operations carry.
        seen: names that a class nearer to the object defines; the class's own are added.
    """
    members: dict[str, Any] = {}
    home = plan.service or of.__module__
    prefix = of.__qualname__.rpartition("<locals>.")[2]
    for name, member in list(vars(cls).items()):
        if name in seen:
            continue
        seen.add(name)
        function = _function_of(member)
        if not plan.wants(name) or hasattr(function, TRACKED_MARK) or not _is_method(function):
            continue
        tracked = _wrapped(function, home, f"{prefix}.{name}")
        if isinstance(member, (classmethod, staticmethod)):
            tracked = type(member)(tracked)
        members[name] = tracked
    return members


def _wrapped(function: Any, service: str, name: str) -> Any:
    return wrap(function, Binding(service, name), Options())


def _function_of(member: Any) -> Any:
    return member.__func__ if isinstance(member, (classmethod, staticmethod)) else member


def _is_method(member: Any) -> bool:
    """Tell whether a class member is a function, of Python's or of C's, that instances call."""
    return inspect.isfunction(member) or (
        # Not properties, cached properties and the like: what they return is no call of theirs.
        inspect.ismethoddescriptor(member) and callable(member) and hasattr(member, "__name__")
    )
