"""Measures how late an asyncio event loop runs what is due: its lag."""

from __future__ import annotations

import asyncio
import dataclasses
import weakref

from otel_studio.base.guard import warn_once
from otel_studio.base.locks import new_lock

#: Loops watched at a time; a program has one or a few.
MAX_LOOPS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class LoopReading:
    """One loop over the last window: how late its timers ran, in seconds."""

    name: str
    worst_lag: float
    mean_lag: float | None
    samples: int


class _Watch:
    """A timer in one loop that notes how late it is called and sets itself anew."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, interval: float) -> None:
        self.loop = weakref.ref(loop)
        self.name = name
        self._interval = interval
        self._due: float | None = None
        #: Held weakly, for it holds its loop.
        self._timer: weakref.ref[asyncio.TimerHandle] | None = None
        self._stopped = False
        self._worst = self._total = 0.0
        self._samples = 0

    def begin(self) -> None:
        """Set the first timer; the loop is the program's, so no lock is held here."""
        loop = self.loop()
        if loop is not None:
            loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        loop = self.loop()
        if loop is None or self._stopped:
            return
        self._due = loop.time() + self._interval
        self._timer = weakref.ref(loop.call_at(self._due, self._called))

    def _called(self) -> None:
        loop = self.loop()
        if loop is not None and self._due is not None:
            lag = max(loop.time() - self._due, 0.0)
            self._total += lag
            self._samples += 1
            self._worst = max(self._worst, lag)
        self._set()

    def close_window(self) -> LoopReading | None:
        """Return the window that ends now and begin the next; `None` where nothing was measured."""
        worst, total, samples = self._worst, self._total, self._samples
        self._worst = self._total = 0.0
        self._samples = 0
        loop = self.loop()
        if loop is not None and self._due is not None and loop.is_running():
            # a loop that is stuck right now calls no timer: what is overdue counts already
            worst = max(worst, loop.time() - self._due)
        if not samples and worst == 0.0:
            return None
        return LoopReading(self.name, worst, total / samples if samples else None, samples)

    def stop(self) -> None:
        self._stopped = True
        loop, timer = self.loop(), None if self._timer is None else self._timer()
        if loop is None or timer is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(timer.cancel)
        except RuntimeError:  # closed since
            pass


class EventLoopWatch:
    """Watches event loops that were asked for, each with one timer.

    The lag shows what blocked the loop: a timer due at one moment ran later by that much.
    A closed loop leaves by itself.

    Args:
        interval: seconds between two measurements in a loop.

    Example:
        >>> async def main(watch):
        ...     watch.watch(asyncio.get_running_loop(), name="web")
    """

    def __init__(self, interval: float = 0.25) -> None:
        self._interval = interval
        self._watches: list[_Watch] = []
        self._lock = new_lock()
        self._readings: tuple[LoopReading, ...] = ()

    def watch(self, loop: asyncio.AbstractEventLoop | None = None, name: str = "main") -> None:
        """Begin to measure a loop; a loop that is watched already stays as it is.

        Args:
            loop: the loop; the running one where nothing is said. Any thread may call.
            name: what tells this loop from others in the figures; a second of one name is numbered.

        Raises:
            ValueError: without a loop where none is running, or with a closed one.
        """
        if loop is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise ValueError(
                    "there is no running event loop: give the loop, or call this from a coroutine"
                ) from None
        if loop.is_closed():
            raise ValueError("the event loop is closed: give one that runs or will run")
        with self._lock:
            self._leave_closed()
            if any(watch.loop() is loop for watch in self._watches):
                return
            watch: _Watch | None = None
            if len(self._watches) < MAX_LOOPS:
                taken = {watch.name for watch in self._watches}
                number = next(n for n in range(1, MAX_LOOPS + 1) if _numbered(name, n) not in taken)
                watch = _Watch(loop, _numbered(name, number), self._interval)
                self._watches.append(watch)
        if watch is None:
            warn_once("event loop", "limit", "only %d event loops are watched at a time", MAX_LOOPS)
        else:
            watch.begin()

    def close_window(self) -> None:
        """End the present window in every loop; `readings` then tells of it."""
        with self._lock:
            self._leave_closed()
            windows = [watch.close_window() for watch in self._watches]
            self._readings = tuple(window for window in windows if window is not None)

    def readings(self) -> tuple[LoopReading, ...]:
        """Return each loop over the last window; a loop that did not run then is left out."""
        return self._readings

    def _leave_closed(self) -> None:
        loops = ((watch, watch.loop()) for watch in self._watches)
        self._watches = [w for w, loop in loops if loop is not None and not loop.is_closed()]

    def stop(self) -> None:
        """Take the timers out of the loops."""
        with self._lock:
            watches, self._watches, self._readings = self._watches, [], ()
        for watch in watches:
            watch.stop()

    def after_fork_in_child(self) -> None:
        """Forget the parent's loops: no thread of the child runs them."""
        self._watches = []
        self._readings = ()


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
