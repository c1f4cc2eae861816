"""The buffer of ended runs: a lock-free append on the hot path, folded elsewhere."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain, repeat, starmap
from typing import Any, Final, NamedTuple, Protocol

from otel_studio import guard
from otel_studio.base import stack
from otel_studio.base.locks import new_lock
from otel_studio.base.worker import Worker
from otel_studio.tracing.ended_run import EndedRun, keep_start_times
from otel_studio.tracing.timebase import Timebase

#: A caller waits for a fold in progress only when the backlog is this many times its limit.
_OVERFLOW_FACTOR: Final = 8

#: A function in C and what to call it with: one step of taking a batch over.
Change = tuple[Callable[[Any], object], Any]


class Line(Protocol):
    """What ended runs pass through; see `tracing.pipeline`."""

    def prepare(self, runs: list[EndedRun]) -> Iterable[Change]:
        """Return what takes a batch over everywhere; changes nothing that anybody reads."""

    @property
    def has_deliveries(self) -> bool:
        """Whether `deliver` has something to do."""

    def after(self) -> None:
        """Wake whoever has something to do with what was taken over; runs no foreign code."""

    def deliver(self) -> None:
        """Do what may run foreign code, on the thread that calls."""

    def keep_times(self) -> None:
        """Have the runs that are kept keep their times, before the wall clock is followed."""


class Cut(NamedTuple):
    """What a reader needs to tell one moment: a run is in `running`, or it has ended by then.

    Attributes:
        running: the runs that went on at that moment.
        unfolded: runs that had ended and are in no fold yet; only where the caller has
            interrupted a fold on its own thread.
    """

    running: set[EndedRun]
    unfolded: list[EndedRun]


class EndedSpans:
    """Ended runs that wait to be folded into the registry and queued for export.

    A fold takes what waits through the line in a pure step, and hands it over everywhere in one
    call into C: all of a batch or nothing of it, whatever a signal handler raises meanwhile.

    Args:
        limit: runs that may wait before the thread that ends one folds them itself.
            Nothing is ever dropped here.
        timebase: refreshed at every fold.
        running: returns the runs that go on; a run is among them until the one step that
            appends it here.
        sweep: ends the runs that nobody can end any more.
    """

    def __init__(
        self,
        limit: int,
        timebase: Timebase,
        running: Callable[[], set[EndedRun]] = set,
        sweep: Callable[[], None] | None = None,
    ) -> None:
        self.limit = limit
        self.timebase = timebase
        self.spans: deque[Any] = deque()
        self.append: Callable[[Any], None] = self.spans.append
        self.line: Line | None = None
        self.running = running
        self.sweep = sweep
        #: Held during a fold; nothing of the program's runs while it is.
        self.lock = new_lock()
        #: Folds in quiet times, and does what may run foreign code.
        self.worker = Worker("otel-studio-fold", self._work, interval=None)
        #: Whether a forked child has not yet needed the worker that its parent had.
        self.is_asleep = False
        self._busy = False
        #: Its one element: what was taken off `spans` and is handed over to nobody yet.
        self._waiting: deque[list[EndedRun]] = deque([[]], maxlen=1)

    @property
    def is_folding(self) -> bool:
        """Whether a fold is in progress: with `lock` held, one on the caller's own thread."""
        return self._busy

    # Folding

    def relieve(self) -> None:
        """Fold on the caller's thread because the backlog is at its limit.

        Another thread that is folding already does the work: the caller goes on at once,
        unless the backlog has grown far past the limit. A deep stack leaves it to the worker.
        """
        if self._busy and len(self.spans) <= self.limit * _OVERFLOW_FACTOR:
            return
        if not stack.has_room():
            self.worker.wake()
            return
        with self.lock:
            self._fold()
        self._after(self.worker.wake)

    def fold(self) -> None:
        """Hand over every run that has ended so far; returns when that is done.

        Inside a fold on the same thread (a finalizer ends a span) the outer call does it.
        """
        if not stack.has_room() and not self._busy:
            stack.run_elsewhere(self.fold)
            return
        with self.lock:
            if self._busy:
                return
            self._fold()
        self._after(self._deliver_here)

    def cut(self) -> Cut:
        """Fold what has ended up to one moment, and return what went on at it.

        To be called with `lock` held: what the caller reads until it lets go belongs together.
        """
        if not self._busy and self.sweep is not None:
            self.sweep()
        running = self.running()
        if self._busy:
            unfolded = [r for r in (*self._waiting[0], *self.spans) if r not in running]
            return Cut(running, unfolded)
        self._fold(running)
        return Cut(running, [])

    def settle(self) -> None:
        """Have done what a `cut` has put off; to be called once `lock` is free."""
        if not self._busy:
            self._after(self._deliver_here)

    def _fold(self, running: set[EndedRun] | None = None) -> None:
        if self._busy:
            return
        try:
            self._busy = True
            waiting = self._waiting[0]
            # In C: no signal handler interrupts it, which would lose what it has taken.
            waiting.extend(starmap(self.spans.popleft, repeat((), len(self.spans))))
            if self.timebase.stepped():
                self._follow_wall_clock(waiting)
            batch, late = waiting, []
            # What ended after the moment that a reader looks at is not in its picture.
            after = running.intersection(waiting) if running else None
            if after:
                batch = [run for run in waiting if run not in after]
                late = [run for run in waiting if run in after]
            if batch:
                changes = () if self.line is None else self.line.prepare(batch)
                taken = ((self._waiting.append, late),)
                deque(starmap(operator.call, chain(changes, taken)), maxlen=0)
        finally:
            self._busy = False

    def _after(self, put_off: Callable[[], object]) -> None:
        line = self.line
        if line is not None:
            line.after()
        if guard.has_notes() or (line is not None and line.has_deliveries):
            put_off()

    def deliver(self) -> None:
        """Do what may run foreign code: hand runs to the program's own consumers, and warn."""
        if self.line is not None:
            self.line.deliver()
        guard.write_notes()

    def _deliver_here(self) -> None:
        if guard.is_ordinary_code():
            self.deliver()
        else:
            self.worker.wake()

    def _work(self) -> None:
        if self.sweep is not None:
            self.sweep()
        self.fold()
        self.deliver()

    def _follow_wall_clock(self, waiting: Iterable[EndedRun]) -> None:
        """Follow a clock that was set; what began before it was keeps the times it had."""
        try:
            if self.line is not None:
                self.line.keep_times()
            keep_start_times(self.running())
            keep_start_times(waiting)
        except Exception as error:
            guard.note_internal_error("following the wall clock", error)
        self.timebase.refresh()

    # Forks

    def after_fork_in_child(self) -> None:
        """Start from empty; the worker starts with the first run that ends."""
        self._busy = False
        self.spans.clear()
        self._waiting.append([])
        self.is_asleep = self.worker.is_wanted
        self.worker.after_fork_in_child()

    def wake_up(self) -> None:
        """Start the worker in a forked child, now that something has happened there."""
        if self.is_asleep:
            self.is_asleep = False
            self.worker.wake()
