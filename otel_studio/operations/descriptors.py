"""Tracks what is inside a descriptor of Python's own: class methods, properties and the like."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any


def remade(target: Any, decorate: Callable[[Any], Any]) -> Any:
    """Return a descriptor like the given one around a decorated function.

    Args:
        target: anything.
        decorate: decorates the function, or what else is inside.

    Returns:
        `None` where the target is no descriptor with a function inside.
    """
    kind = type(target)  # not `isinstance`, which evaluates what stands for something later
    if issubclass(kind, (classmethod, staticmethod)):
        return kind(decorate(target.__func__))
    if issubclass(kind, property) and target.fget is not None:
        return target.getter(decorate(target.fget))
    if issubclass(kind, functools.cached_property):
        made: Any = copy.copy(target)
        made.func = decorate(target.func)
        return made
    if issubclass(kind, functools.partialmethod):
        return kind(decorate(target.func), *target.args, **target.keywords)
    return None
