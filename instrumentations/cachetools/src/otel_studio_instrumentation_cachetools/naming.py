"""Finds a name for a cache: the variable that holds it, the function it serves, or its place."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from types import FrameType, FunctionType
from typing import Any

import cachetools

_LIBRARY = "cachetools"


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a cache was made; `line` is 0 where that is not known."""

    module: str
    place: str
    line: int


def origin_of(cache: object, frame: FrameType | None) -> Origin | None:
    """Return where a cache is being made: the first frame that is not part of making it.

    Args:
        cache: the object whose `__init__` runs.
        frame: the innermost frame to look at.
    """
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] != _LIBRARY and not _is_initializing(cache, frame):
            return Origin(module, frame.f_code.co_qualname, frame.f_lineno)
        frame = frame.f_back
    return None


def _is_initializing(cache: object, frame: FrameType) -> bool:
    """Return whether the frame is an `__init__` of a subclass of the program's own."""
    code = frame.f_code
    return (
        code.co_name == "__init__"
        and code.co_argcount > 0
        and frame.f_locals.get(code.co_varnames[0]) is cache
    )


def name_of(cache: object, origin: Origin | None) -> tuple[str, str]:
    """Return a service and a name for a cache: the same for every cache made at one place.

    Args:
        cache: the cache.
        origin: where it was made.
    """
    kind = type(cache).__name__
    if origin is None:
        return _LIBRARY, kind
    module = sys.modules.get(origin.module)
    for variable, value in list(vars(module).items()) if module is not None else ():
        if value is cache:
            return origin.module, variable
    place = kind if origin.place == "<module>" else origin.place
    return origin.module, f"{place}:{origin.line}"


def caches_of_modules() -> Iterator[tuple[cachetools.Cache[Any, Any], str, str]]:
    """Yield each cache that a module holds by now, with the module and the name it has there.

    A memoized function's cache has the function's name.
    """
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == _LIBRARY:
            continue
        for variable, value in list(getattr(module, "__dict__", {}).items()):
            if issubclass(type(value), cachetools.Cache):
                yield value, module_name, variable
            elif type(value) is FunctionType:
                held = value.__dict__.get("cache")
                if held is not None and issubclass(type(held), cachetools.Cache):
                    yield held, value.__module__, value.__qualname__
