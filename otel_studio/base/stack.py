"""Runs what needs room on the stack where there is room: here, or on a thread of its own."""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable
from typing import Final

from otel_studio.base.guard import note_internal_error
from otel_studio.base.locks import Signal

#: Frames that a fold or a query takes at most, with a margin.
NEEDED: Final = 100
#: Seconds that a caller waits for what it had done on another stack.
_PATIENCE: Final = 5.0


def has_room() -> bool:
    """Tell whether the calling thread's stack has room for a fold before the recursion limit."""
    try:
        sys._getframe(max(sys.getrecursionlimit() - NEEDED, 1))
    except ValueError:  # the stack is not as deep as that
        return True
    except RecursionError:
        pass
    return False


def run_elsewhere(work: Callable[[], object], patience: float = _PATIENCE) -> bool:
    """Run something on a fresh stack, and wait for it.

    Args:
        work: what to run; a failure is reported, not raised.
        patience: seconds to wait, at most.

    Returns:
        whether it was run to its end, in that time.
    """
    done = Signal()

    def run() -> None:
        try:
            work()
        except Exception as error:
            note_internal_error("working on a stack of its own", error)
        finally:
            done.set()

    try:
        # Not `threading.Thread`: starting one takes locks, and frames that are not there.
        _thread.start_new_thread(run, ())
    except RuntimeError:  # the interpreter is going down
        return False
    return done.wait(patience)
