"""Tells whether the garbage collector runs, where what it runs must not touch the context.

On CPython 3.11 a collection may begin inside `ContextVar.set`, which a finalizer that sets a
variable itself then pulls its memory from under: the process dies. From 3.12 on, collections
begin between two instructions only.
"""

from __future__ import annotations

import gc
import sys
from collections import OrderedDict
from typing import Final

#: The phase that came last is its last key: `move_to_end(phase, info)` is called by the collector.
#: In C, for a Python function would swallow what a signal handler raises meanwhile.
_phases: Final[OrderedDict[str, None]] = OrderedDict(start=None, stop=None)

if sys.version_info < (3, 12):
    gc.callbacks.append(_phases.move_to_end)  # type: ignore[arg-type]  # `info` is true


def is_collecting() -> bool:
    """Tell whether a collection is going on that may have begun inside `ContextVar.set`."""
    return next(reversed(_phases)) == "start"
