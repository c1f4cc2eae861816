"""Stands for a callable that is no function, answering as it does, with tracked calls."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any, Final

#: What a wrapper carries, so that nothing is tracked twice.
TRACKED_MARK: Final = "__otel_studio_tracked__"
#: Special methods that a stand-in has its own of, or that Python's machinery calls on a class.
_OWN: Final = frozenset(
    f"__{name}__"
    for name in (
        "class", "new", "init", "init_subclass", "subclasshook", "class_getitem", "getattribute",
        "getattr", "setattr", "delattr", "reduce", "reduce_ex", "getstate", "setstate", "del",
        "call", "get", "set_name", "copy", "deepcopy", "slots", "dict", "weakref", "doc", "module",
        "instancecheck", "subclasscheck", "getnewargs", "getnewargs_ex", "mro_entries", "sizeof",
    )
)  # fmt: skip
#: One class of stand-ins for a type, as the special methods of an object are looked up there.
_classes: Final[weakref.WeakKeyDictionary[type, type]] = weakref.WeakKeyDictionary()

_FUNCTIONS: Final = (
    types.FunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)
_Remake = Callable[[Any], Any]


def is_function(target: Any) -> bool:
    """Tell whether a function can take a callable's place, as it becomes a method as they do.

    Bound methods, builtins, partials and callable objects do not, or in ways of their own.
    """
    return isinstance(target, _FUNCTIONS) or "cython_function" in type(target).__name__


class _StandIn:
    """What all stand-ins have: see `stand_in`."""

    __slots__ = ("__weakref__", "_call", "_original", "_remake")

    _call: Callable[..., Any]
    _original: Any
    _remake: _Remake

    def __getattribute__(self, name: str) -> Any:
        if name == "__call__":
            return _call_of(self)
        if name == "__wrapped__":
            original = _original_of(self)
            return getattr(original, name, original)
        if name == TRACKED_MARK:
            return True
        if name in _OWN_WAYS:
            return object.__getattribute__(self, name)
        original = _original_of(self)
        if name == "__get__" and hasattr(type(original), "__get__"):
            return object.__getattribute__(self, name)
        return getattr(original, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_original_of(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_original_of(self), name)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return _call_of(self)(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        original = _original_of(self)
        name = getattr(original, "__qualname__", None)
        found: Any = sys.modules.get(getattr(original, "__module__", None) or "")
        for part in str(name).split("."):
            found = getattr(found, part, None)
        if found is self:
            return name  # as a function: by its name
        return _remade, (_remake_of(self), original)

    def __copy__(self) -> Any:
        return self._remade_of(copy.copy(_original_of(self)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._remade_of(copy.deepcopy(_original_of(self), memo))

    def _remade_of(self, copied: Any) -> Any:
        return self if copied is _original_of(self) else _remake_of(self)(copied)


#: Names that are looked up on a stand-in itself.
_OWN_WAYS: Final = frozenset({"__reduce_ex__", "__copy__", "__deepcopy__", "_remade_of"})
_call_of: Final[Callable[[Any], Callable[..., Any]]] = _StandIn.__dict__["_call"].__get__
_original_of: Final[Callable[[Any], Any]] = _StandIn.__dict__["_original"].__get__
_remake_of: Final[Callable[[Any], _Remake]] = _StandIn.__dict__["_remake"].__get__


def stand_in(original: Any, call: Callable[..., Any], remake: _Remake) -> Callable[..., Any]:
    """Return an object that is the original to anyone who asks, and whose calls are tracked.

    It has the original's class, attributes (those that are set later, too), special methods and
    ways to be bound, compared and pickled.

    Args:
        original: a callable.
        call: calls it, tracked.
        remake: does the same for a copy of it, or for what it is bound to; it can be pickled.
    """
    kind = type(original)
    try:
        made = _classes.get(kind) or _classes.setdefault(kind, _class_for(kind))
    except TypeError:  # a type that cannot be referred to weakly, or hashed
        made = _class_for(kind)
    standing: Any = object.__new__(made)
    for name, value in (("_call", call), ("_original", original), ("_remake", remake)):
        _StandIn.__dict__[name].__set__(standing, value)
    return standing  # type: ignore[no-any-return]


def _class_for(kind: type) -> type:
    namespace: dict[str, Any] = {
        "__slots__": (),
        "__class__": property(lambda self: type(_original_of(self))),
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    for name in {name for owner in kind.__mro__ for name in vars(owner)} - _OWN:
        if name.startswith("__") and name.endswith("__"):
            special = inspect.getattr_static(kind, name)
            if special is None:  # `__hash__` of what cannot be hashed
                namespace[name] = None
            elif callable(special):
                namespace[name] = _forward(name)
    if hasattr(kind, "__get__"):
        namespace["__get__"] = _bind
    return type(kind.__name__, (_StandIn,), namespace)


def _forward(name: str) -> Callable[..., Any]:
    def forwarded(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        original = _original_of(self)
        # Equal are what two of them stand for.
        plain = [_original_of(arg) if is_stand_in(arg) else arg for arg in args]
        special = inspect.getattr_static(type(original), name)
        bind = getattr(type(special), "__get__", None)
        bound = special if bind is None else bind(special, original, type(original))
        result = bound(*plain, **kwargs)
        return self if result is original else result

    return forwarded


def is_stand_in(what: Any) -> bool:
    """Tell whether something is a stand-in, whatever it says of its class."""
    return issubclass(type(what), _StandIn)


def _bind(self: Any, instance: Any, owner: type | None = None) -> Any:
    """Bind as the original does, so that what it is bound to is tracked."""
    original = _original_of(self)
    bound = type(original).__get__(original, instance, owner)
    if bound is original:
        return self
    if type(bound) is types.MethodType and bound.__func__ is original:
        return types.MethodType(self, bound.__self__)
    if type(bound) is functools.partial and _calls(bound.func, original):
        return functools.partial(self, *bound.args, **bound.keywords)
    if type(bound) is types.MethodType and _calls(bound, original):
        return self
    return _remake_of(self)(bound) if callable(bound) else bound


def _calls(what: Any, original: Any) -> bool:
    """Tell whether something is a callable object, or its `__call__`."""
    if what is original:
        return True
    is_call = type(what) is types.MethodType and what.__self__ is original
    return is_call and what.__func__ is getattr(type(original), "__call__", None)  # noqa: B004


def _remade(remake: _Remake, original: Any) -> Any:
    return remake(original)
