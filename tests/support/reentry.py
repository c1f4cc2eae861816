"""Interrupts a use of something by signal handlers and finalizers that use the same thing."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable
from types import FrameType

import proving

#: How often it is interrupted by each.
INTERRUPTS = proving.scaled(2_000)
#: Seconds of processor time between two signals.
_INTERVAL = 0.0003


class _Finalized:
    def __init__(self, use: Callable[[], object], done: list[int]) -> None:
        self.use, self.done = use, done
        self.itself = self  # only the garbage collector ends it

    def __del__(self) -> None:
        self.done.append(1)
        self.use()


def interrupted(
    use: Callable[[], object],
    inside: Callable[[], object],
    beside: Callable[[], object] | None = None,
    times: int = INTERRUPTS,
) -> None:
    """Use something until handlers and finalizers have used it often enough meanwhile.

    A lock that either could wait for stops the test for good, until its timeout.

    Args:
        use: what the main thread does, again and again.
        inside: what handlers and finalizers do.
        beside: what another thread does meanwhile.
        times: how often each of the two interrupts.
    """
    is_over = threading.Event()

    def go_on_beside() -> None:
        while beside is not None and not is_over.is_set():
            beside()

    other = threading.Thread(target=go_on_beside, daemon=True)
    handled: list[int] = []
    finalized: list[int] = []

    is_handling = False

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal is_handling
        if is_handling:  # a handler that takes longer than the interval would never end
            return
        is_handling = True
        handled.append(1)
        inside()
        is_handling = False

    before, thresholds = signal.signal(signal.SIGPROF, handle), gc.get_threshold()
    gc.set_threshold(20, 2, 2)
    other.start()
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)
    try:
        while min(len(handled), len(finalized)) < times:
            _Finalized(inside, finalized)
            use()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        is_over.set()
        gc.set_threshold(*thresholds)
        gc.collect()
        signal.signal(signal.SIGPROF, before)
    other.join()
