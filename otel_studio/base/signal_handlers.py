"""Tells the program's own functions in a decorated signal handler, and their frames."""

from __future__ import annotations

import contextlib
import functools
import os
from types import FrameType
from typing import Any, Final

#: Decorators around one handler that are looked through.
_MOST: Final = 100


def own_functions(handler: Any) -> list[Any]:
    """Return the functions of the program that a handler is made of, the innermost last.

    A decorator's wrapper is one, as it may raise by itself; what `track` puts around is none.

    Args:
        handler: what was set for a signal.
    """
    found = []
    for _ in range(_MOST):
        if isinstance(handler, functools.partial):
            handler = handler.func
            continue
        code = code_of(handler)
        if code is not None and not code.co_filename.startswith(_OURS):
            found.append(handler)
        inside = getattr(handler, "__wrapped__", None)
        if inside is None:
            break
        handler = inside
    return found


#: Where wrappers of ours are written, by which a program may have decorated its handler.
_OURS: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def code_of(handler: Any) -> Any:
    """Return the code that a callable runs, `None` for what is written in C."""
    function = getattr(handler, "__func__", handler)
    called = getattr(type(function), "__call__", None)  # noqa: B004  (its code is wanted)
    return getattr(function, "__code__", None) or getattr(called, "__code__", None)


def is_frame_of(frame: FrameType, function: Any) -> bool:
    """Tell whether a frame is a run of a function, not of another one with the same code.

    All that a decorator has made run its wrapper's code, and all objects of a class that of their
    methods: they are told by what is enclosed in them, and by `self`.
    """
    code = code_of(function)
    if frame.f_code is not code:
        return False
    local = frame.f_locals
    bound = getattr(function, "__self__", None)
    if bound is None and not hasattr(function, "__code__"):
        bound = function  # a callable object
    known = [] if bound is None or not code.co_argcount else [(code.co_varnames[0], bound)]
    plain = getattr(function, "__func__", function)
    cells = getattr(plain, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars, cells, strict=False):
        with contextlib.suppress(ValueError):  # an empty one
            known.append((name, cell.cell_contents))
    return all(local.get(name, value) is value for name, value in known)
