"""Tracks the methods of classes and objects, and the functions of modules, in place."""

from __future__ import annotations

import fnmatch
import inspect
import types
from collections.abc import Iterable
from typing import Any

from otel_studio.ports import Binding
from otel_studio.wrapping import Options, wrap

_MARK = "__otel_studio_tracked__"
_subclasses: dict[tuple[Any, ...], type] = {}


def instrument(
    target: Any, service: str | None, include: tuple[str, ...], exclude: tuple[str, ...]
) -> Any:
    """Track a class, a module or an object; see `operations.instrument`."""
    options = Options()
    if inspect.isclass(target):
        return instrument_class(target, service, include, exclude, options)
    if isinstance(target, types.ModuleType):
        return _instrument_module(target, service, include, exclude, options)
    return _instrument_object(target, service, include, exclude, options)


def instrument_class(
    cls: type,
    service: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    options: Options,
) -> type:
    """Replace the methods that a class itself defines by tracked ones; returns the class."""
    home = service or cls.__module__
    for name, member in list(vars(cls).items()):
        tracked = _tracked_member(member, name, home, cls.__qualname__, include, exclude, options)
        if tracked is not None:
            setattr(cls, name, tracked)
    return cls


def _instrument_module(
    module: types.ModuleType,
    service: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    options: Options,
) -> types.ModuleType:
    home = service or module.__name__
    for name, member in list(vars(module).items()):
        if getattr(member, "__module__", None) != module.__name__ or not _wanted(
            name, include, exclude
        ):
            continue  # what a module imports is another module's
        if inspect.isclass(member):
            instrument_class(member, home, (), exclude, options)
        elif inspect.isfunction(member) and not hasattr(member, _MARK):
            setattr(module, name, _tracked_function(member, home, name, options))
    return module


def _instrument_object(
    target: Any,
    service: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    options: Options,
) -> Any:
    cls = type(target)
    if hasattr(cls, "__otel_studio_original__"):
        return target  # tracked already
    key = (cls, service, include, exclude)
    subclass = _subclasses.get(key)
    if subclass is None:
        members = _tracked_methods(cls, service or cls.__module__, include, exclude, options)
        subclass = _make_subclass(cls, members)
        if subclass is not None:
            _subclasses[key] = subclass
    if subclass is not None:
        try:
            target.__class__ = subclass
            return target
        except (TypeError, AttributeError):
            pass  # its layout or its __setattr__ forbids it
    return _make_proxy(
        target, _tracked_methods(cls, service or cls.__module__, include, exclude, options)
    )


def _tracked_methods(
    cls: type,
    home: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    options: Options,
) -> dict[str, Any]:
    """Return tracked versions of every method an object of the class has, inherited ones too."""
    members: dict[str, Any] = {}
    for owner in cls.__mro__[:-1]:
        for name, member in vars(owner).items():
            if name in members:
                continue
            tracked = _tracked_member(
                member, name, home, cls.__qualname__, include, exclude, options
            )
            if tracked is not None:
                members[name] = tracked
    return members


def _make_subclass(cls: type, members: dict[str, Any]) -> type | None:
    def reduce(self: Any, protocol: Any) -> Any:
        # Pickled as what it was: the subclass cannot be imported where it is loaded.
        self.__class__ = cls
        try:
            return cls.__reduce_ex__(self, protocol)
        finally:
            self.__class__ = made

    namespace = {
        **members,
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__reduce_ex__": reduce,
        "__otel_studio_original__": cls,
    }
    try:
        made = type(cls)(cls.__name__, (cls,), namespace)
    except TypeError:
        return None  # a final class (bool, a C type without subclasses)
    return made


_SPECIAL = tuple(
    f"__{name}__"
    for name in ["call", "len", "iter", "next", "getitem", "setitem", "delitem", "contains", "enter", "exit", "aenter", "aexit", "aiter", "anext", "await", "bool", "int", "float", "index", "str", "repr", "hash", "eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "or", "and", "reversed"]
)


def _make_proxy(target: Any, members: dict[str, Any]) -> Any:
    """Return an object that acts as the target, for one whose class cannot be replaced."""
    cls = type(target)

    class Proxy:
        __slots__ = ()

        @property  # type: ignore[misc]
        def __class__(self) -> type:
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

    for name in _SPECIAL:
        if hasattr(cls, name):
            setattr(Proxy, name, _forward(target, name))
    Proxy.__name__, Proxy.__qualname__, Proxy.__doc__ = cls.__name__, cls.__qualname__, cls.__doc__
    return Proxy()


def _forward(target: Any, name: str) -> Any:
    def special(_self: Any, *args: Any) -> Any:
        return getattr(target, name)(*args)

    return special


def _tracked_member(
    member: Any,
    name: str,
    home: str,
    owner: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    options: Options,
) -> Any:
    """Return the tracked version of a class member, or `None` for one that is left alone."""
    if not _wanted(name, include, exclude):
        return None
    function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
    if hasattr(function, _MARK) or not (
        inspect.isfunction(function)
        or (inspect.ismethoddescriptor(function)
        and not isinstance(function, (classmethod, staticmethod)))
    ):
        return None
    operation = f"{owner}.{name}".rpartition("<locals>.")[2]
    tracked = _tracked_function(function, home, operation, options)
    if isinstance(member, (classmethod, staticmethod)):
        return type(member)(tracked)
    return tracked


def _tracked_function(function: Any, home: str, name: str, options: Options) -> Any:
    tracked = wrap(function, Binding(home, name), options)
    setattr(tracked, _MARK, True)
    return tracked


def _wanted(name: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude):
        return False
    patterns = tuple(include)
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
