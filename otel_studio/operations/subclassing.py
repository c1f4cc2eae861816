"""Makes a subclass that nobody notices: no hook of the class or of its metaclass runs."""

from __future__ import annotations

import abc
import enum
from _abc import _abc_init  # type: ignore[import-not-found]  # what `abc.ABCMeta.__new__` calls
from typing import Any, Final

_SHIELDED: Final = "__otel_studio_shielded__"
#: The slot for an object's class, past any `__setattr__` of the program's.
class_slot: Final[Any] = object.__dict__["__class__"]
_bases_slot: Final[Any] = type.__dict__["__bases__"]
_dict_slot: Final[Any] = type.__dict__["__dict__"]


class _Shield:
    """Stands before a class while a subclass of it is made: its `__init_subclass__` is not met."""

    __slots__ = ()

    def __init_subclass__(cls, **_: Any) -> None:
        """Do nothing."""


def quiet_subclass(cls: type, namespace: dict[str, Any]) -> type:
    """Return a subclass of a class, made without its `__init_subclass__` and metaclass.

    Those of the program register what they meet, count it or refuse it; what is made here is
    no class of the program's. Its own metaclass is the class's, or one like it.

    Args:
        cls: any class.
        namespace: what the subclass has.

    Raises:
        TypeError: if the class cannot have one.
    """
    meta = type(cls)
    if issubclass(meta, enum.EnumMeta):
        raise TypeError("an enumeration with members has no subclasses")

    def mro(made: Any) -> list[type]:
        order: list[type] = list(meta.mro(made))
        if _SHIELDED in _dict_slot.__get__(made):
            order.insert(1, _Shield)
        return order

    # A metaclass is the only one whom Python asks for the order of a class's bases.
    silent = {"__slots__": (), "__setattr__": type.__setattr__, "mro": mro}
    quiet: Any = type(meta.__name__, (meta,), silent)
    made: type = type.__new__(quiet, cls.__name__, (cls,), {**namespace, _SHIELDED: True})
    if issubclass(meta, abc.ABCMeta):
        _abc_init(made)  # else it shares with the class what that remembers of `issubclass`
    type.__delattr__(made, _SHIELDED)
    _bases_slot.__set__(made, (cls,))  # has the order made anew
    if meta is not type:  # which no class can be given
        class_slot.__set__(made, meta)
    return made
