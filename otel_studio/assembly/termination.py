"""Ends a Studio before a signal ends the process, where `atexit` would not run.

The default action of SIGTERM and SIGHUP ends a process at once. Where that action stands, a handler
of ours sends what is left and then lets it happen: the exit status is that of the signal. A handler
of the program's own, set before or after, stays. uvicorn's puts back what stood there before it and
raises the signal again: what stands there is ours, or, where it began first, its end is followed.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from otel_studio.base import locks
from otel_studio.base.guard import report_internal_error

#: Those whose default action ends a process without Python's own end.
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
#: Seconds that are left to a thread after what it was given.
_GRACE: Final = 0.5
#: Seconds until a signal is sent again that came at a bad moment, and how often that is done.
_STEP: Final = 0.001
_MOST_TRIES: Final = 500


class Termination:
    """Follows the end of the process.

    Args:
        send: sends what has ended until now; the program may go on.
        end: sends what is left, for good.
        patience: gives the seconds that either may take.
        has_something: tells whether there is anything to be sent by.
    """

    def __init__(
        self,
        send: Callable[[], object],
        end: Callable[[], object],
        patience: Callable[[], float],
        has_something: Callable[[], bool],
    ) -> None:
        self._send = send
        self._end = end
        self._patience = patience
        self._has_something = has_something
        #: A signal that came while the end was under way already.
        self._postponed: int | None = None
        self._is_ending = False
        #: How often a signal came while the main thread was inside a lock of ours.
        self._tries = 0

    def follow(self) -> None:
        """Stand where the default action stands, if this thread may; follow uvicorn's end."""
        if self._has_something():
            if threading.current_thread() is threading.main_thread():
                for number in _SIGNALS:
                    if signal.getsignal(number) is signal.SIG_DFL:
                        signal.signal(number, self.handle)
            self.follow_uvicorn()

    def leave(self) -> None:
        """Let the default action stand where we stood."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) == self.handle:
                    signal.signal(number, signal.SIG_DFL)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Send what is left, then let the signal do what it does by default."""
        if signal.getsignal(number) != self.handle:
            # Another handler has called us: what comes then is its affair.
            self._run(self._send)
            return
        if self._is_ending:  # it interrupts the end of ours
            self._postponed = number
            return
        if self._tries < _MOST_TRIES and locks.is_any_held_here():
            # The thread that sends would wait for this one: let it leave the lock first.
            self._tries += 1
            self._again_soon(number)
            return
        with self.ending():
            self._run(self._end)
        _by_default(number)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Let a signal that comes inside the block wait for its end."""
        self._is_ending = True
        try:
            yield
        finally:
            self._is_ending = False
            number, self._postponed = self._postponed, None
            if number is not None:
                _by_default(number)

    def _again_soon(self, number: int) -> None:
        def send_again() -> None:
            time.sleep(_STEP)
            os.kill(os.getpid(), number)

        try:
            threading.Thread(target=send_again, name="otel-studio-signal", daemon=True).start()
        except Exception as error:
            report_internal_error("waiting for a moment to end in", error)
            _by_default(number)

    def _run(self, what: Callable[[], object]) -> None:
        """Run one of ours on a thread: the one that was interrupted may hold any lock."""
        if not self._has_something():
            return
        thread = threading.Thread(target=what, name="otel-studio-termination", daemon=True)
        patience = self._patience()
        try:
            thread.start()
            thread.join(patience + _GRACE)
        except Exception as error:
            report_internal_error("sending what is left before a signal ends the process", error)

    def follow_uvicorn(self) -> None:
        """Send what is left at the end of each of uvicorn's servers, where it is loaded."""
        server = getattr(sys.modules.get("uvicorn.server"), "Server", None)
        shutdown: Callable[..., Awaitable[None]] | None = getattr(server, "shutdown", None)
        if shutdown is None or hasattr(shutdown, "_followed_by_otel_studio"):
            return

        @functools.wraps(shutdown)
        async def followed(*args: Any, **options: Any) -> None:
            try:
                await shutdown(*args, **options)
            finally:
                self._run(self._send)

        followed._followed_by_otel_studio = True  # type: ignore[attr-defined]
        server.shutdown = followed  # type: ignore[union-attr]


def _by_default(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
