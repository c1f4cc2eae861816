"""The buffer of ended runs: a lock-free append on the hot path, folded elsewhere."""

from __future__ import annotations

import operator
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain, repeat, starmap
from typing import Any, Final, NamedTuple, Protocol

from otel_studio.base import guard, stack
from otel_studio.base.locks import new_lock
from otel_studio.base.worker import Worker
from otel_studio.spans.ended_run import EndedRun, OpenRun, keep_start_times
from otel_studio.spans.timebase import Timebase
from otel_studio.spans.weight import weight_of_runs

#: A caller waits for a fold in progress only when the backlog is this many times its limit; where
#: runs hold so much that the limit is lower than it could be, sooner.
_OVERFLOW_FACTOR: Final = 8
_HEAVY_OVERFLOW_FACTOR: Final = 2
#: Bytes that the runs that wait may hold, as far as those before them tell.
_MAX_WAITING_BYTES: Final = 8 << 20
#: Runs that may wait before it is known what they hold; and how much faster it may be after a fold.
_FIRST_LIMIT: Final = 128
_GROWTH: Final = 4
#: Runs of a batch that are weighed.
_WEIGHED: Final = 64

#: Runs through an iterator, in C.
exhaust: Final = deque[Any](maxlen=0).extend
#: A function in C and what to call it with: one step of taking a batch over.
Change = tuple[Callable[[Any], object], Any]


class Line(Protocol):
    """What ended runs pass through; see `spans.pipeline`."""

    def prepare(self, runs: list[OpenRun]) -> tuple[Iterable[Change], list[OpenRun]]:
        """Return what takes a batch over everywhere, and its first runs that are taken.

        A batch of very many operations is taken in several steps, none of which is long.
        """
        ...

    @property
    def has_deliveries(self) -> bool:
        """Whether `deliver` has something to do."""
        ...

    def redact(self, runs: Iterable[OpenRun]) -> None:
        """Take secrets out of runs that a reader looks at before they are folded."""
        ...

    def after(self) -> None:
        """Wake whoever has something to do with what was taken over; runs no foreign code."""

    def deliver(self) -> None:
        """Do what may run foreign code, on the thread that calls."""

    def keep_times(self) -> None:
        """Have the runs that are kept keep their times, before the wall clock is followed."""


class Tally(Protocol):
    """Counts every run that ends, whatever becomes of it; see `spans.tally`."""

    def prepare(self, runs: Iterable[OpenRun]) -> Change:
        """Return what counts a batch."""
        ...


class Cut(NamedTuple):
    """What a reader needs to tell one moment: a run is in `running`, or it has ended by then.

    Attributes:
        running: the runs that went on at that moment.
        unfolded: runs that had ended and are in no fold yet; only where the caller has
            interrupted a fold on its own thread.
    """

    running: set[OpenRun]
    unfolded: list[OpenRun]


class EndedSpans:
    """Ended runs that wait to be folded into the registry and queued for export.

    A run ends at one point: where it is appended to `spans`. A fold takes what waits through the
    line in a pure step; then one call into C counts it, takes it from the `active` ones and hands
    it over: all of a batch or nothing of it, whatever a signal handler raises meanwhile. What is
    not among the active ones (it began before a fork, or was appended before) is passed over, so
    that an end that was interrupted may simply be done again.

    Args:
        limit: runs that may wait before the thread that ends one folds them itself; fewer where
            they hold much. Nothing is ever dropped here.
        timebase: refreshed at every fold.
        sweep: ends the runs that nobody can end any more; returns whether there were any.
    """

    def __init__(
        self,
        limit: int,
        timebase: Timebase,
        sweep: Callable[[], bool] = bool,
    ) -> None:
        self._most = limit
        #: Follows what the last batch held.
        self.limit = min(limit, _FIRST_LIMIT)
        self.timebase = timebase
        self.spans: deque[OpenRun] = deque()
        self.append: Callable[[OpenRun], None] = self.spans.append
        #: The runs that go on, and those that wait here.
        self.active: set[OpenRun] = set()
        #: Weak references to further ones, which nobody is obliged to end; each is its run's
        #: `_token`.
        self.references: set[Callable[[], OpenRun | None]] = set()
        self.line: Line | None = None
        self.tally: Tally | None = None
        self.sweep = sweep
        #: Held during a fold; nothing of the program's runs while it is.
        self.lock = new_lock()
        #: Folds in quiet times, and does what may run foreign code.
        self.worker = Worker("otel-studio-fold", self._work, interval=None)
        #: Whether a forked child has not yet needed the worker that its parent had.
        self.is_asleep = False
        self._busy = False
        #: Its one element: what was taken off `spans` and is handed over to nobody yet.
        self._waiting: deque[list[OpenRun]] = deque([[]], maxlen=1)

    @property
    def is_folding(self) -> bool:
        """Whether a fold is in progress: with `lock` held, one on the caller's own thread."""
        return self._busy

    # Folding

    def relieve(self) -> None:
        """Fold on the caller's thread because the backlog is at its limit.

        Another thread that is folding already does the work: the caller goes on at once,
        unless the backlog has grown far past the limit. A deep stack, a finalizer and a signal
        handler leave it to the worker.
        """
        is_heavy = self.limit < self._most
        factor = _HEAVY_OVERFLOW_FACTOR if is_heavy else _OVERFLOW_FACTOR
        if self._busy and len(self.spans) <= self.limit * factor:
            return
        if not self._may_fold_here():
            self.worker.wake()
            return
        self.fold_ahead()
        self._after(self.worker.wake)

    def fold(self) -> None:
        """Hand over every run that has ended so far; returns when that is done.

        Inside a fold on the same thread (a finalizer ends a span) the outer call does it.
        """
        if self._may_fold_here():
            if self.fold_ahead():
                self._after(self._deliver_here)
        elif not self.lock.is_held_here():
            stack.run_elsewhere(self.fold_ahead)
            self._after(self.worker.wake)

    def _may_fold_here(self) -> bool:
        return stack.has_room() and guard.is_ordinary_code()

    def fold_ahead(self) -> bool:
        """Fold what waits, in steps between which others get the lock.

        Returns:
            whether it was done; `False` inside a fold on the same thread.
        """
        only_waiting = False
        while True:
            with self.lock:
                if self._busy:
                    return False
                self._fold(only_waiting=only_waiting)
                if not self._waiting[0]:
                    return True
            only_waiting = True

    def cut(self) -> Cut:
        """Fold what has ended up to one moment, and return what went on at it.

        To be called with `lock` held: what the caller reads until it lets go belongs together.
        """
        if self._busy or not guard.is_ordinary_code():
            # A fold is in progress on this thread, or it is none that may begin one.
            unfolded = self._known([*self._waiting[0], *self.spans.copy()])
            if self.line is not None:
                self.line.redact(unfolded)
            return Cut(self.running().difference(unfolded), unfolded)
        self._fold()
        self.sweep()  # with nothing held of ours but the active ones
        running = self._fold(is_reading=True)
        while self._waiting[0]:
            self._fold(only_waiting=True)
        return Cut(running, [])

    def running(self) -> set[OpenRun]:
        """Return the runs that go on, and those that wait."""
        return self.active.union(self._referenced())

    def _referenced(self) -> list[OpenRun]:
        runs = [reference() for reference in self.references.copy()]
        return [run for run in runs if run is not None]

    def _known(self, waiting: list[OpenRun]) -> list[OpenRun]:
        """Return the runs that are active, each once."""
        known: set[OpenRun] = self.active.intersection(waiting)
        if len(known) < len(waiting):
            known.update(self._with_reference(waiting))
        if len(known) == len(waiting):
            return waiting
        return [run for run in dict.fromkeys(waiting) if run in known]

    def _with_reference(self, waiting: Iterable[Any]) -> list[Any]:
        return [run for run in waiting if self.refers_to(run)]

    def refers_to(self, run: Any) -> bool:
        """Tell whether one of `references` is the run's.

        One whose end was interrupted still has the token of the context, which has no hash.
        """
        token = getattr(run, "_token", None)
        return isinstance(token, weakref.ref) and token in self.references

    def settle(self) -> None:
        """Have done what a `cut` has put off; to be called once `lock` is free."""
        if not self._busy:
            self._after(self._deliver_here)

    def _fold(self, *, is_reading: bool = False, only_waiting: bool = False) -> set[OpenRun]:
        """Fold what has ended; for a reading, return what went on at the moment it looks at.

        That moment is when what waits is taken off: what ends later, during the fold, went on.
        """
        running: set[OpenRun] = set()
        if self._busy:
            return running
        try:
            self._busy = True
            waiting = self._waiting[0]
            ended, active = self._moment() if is_reading else (len(self.spans), running)
            if only_waiting:
                ended = 0
            # In C: no signal handler interrupts it, which would lose what it has taken.
            waiting.extend(starmap(self.spans.popleft, repeat((), ended)))
            if is_reading:
                running = active.difference(waiting)
            if self.timebase.stepped():
                self._follow_wall_clock(waiting)
            if not waiting:
                return running
            batch = self._known(waiting)
            self._follow_weight(batch)
            changes, taken, rest = self._prepared(batch)
            done: list[Change] = [
                (self.active.difference_update, taken),
                (self._waiting.append, rest),
            ]
            if self.references and (referred := self._with_reference(taken)):
                done.append((self.references.difference_update, [r._token for r in referred]))
                done.append((exhaust, map(setattr, referred, repeat("_token"), repeat(None))))
            exhaust(starmap(operator.call, chain(changes, done)))
        finally:
            self._busy = False
        return running

    def _moment(self) -> tuple[int, set[OpenRun]]:
        """Return how many runs have ended, and the others, at one moment."""
        referenced = self._referenced()
        # In C: no other thread runs between the two.
        both: Any = starmap(operator.call, ((len, self.spans), (self.active.copy,)))
        ended, active = both
        return ended, active.union(referenced)

    def _follow_weight(self, batch: list[OpenRun]) -> None:
        """Let as many runs wait as hold no more than the bound, by a sample of a batch."""
        sample = batch[:: len(batch) // _WEIGHED + 1]
        if not sample:
            return
        try:
            weight = weight_of_runs(sample)
        except Exception as error:
            guard.note_internal_error("weighing ended runs", error)
            return
        room = _MAX_WAITING_BYTES * len(sample) // (weight + 1)
        self.limit = max(1, min(room, self.limit * _GROWTH, self._most))

    def _prepared(
        self, batch: list[OpenRun]
    ) -> tuple[Iterable[Change], list[OpenRun], list[OpenRun]]:
        """Return what takes a batch over, what of it that takes, and what is left."""
        changes: Iterable[Change] = ()
        taken = batch
        if self.line is not None and batch:
            changes, taken = self.line.prepare(batch)
        if self.tally is not None:
            try:
                changes = chain(changes, (self.tally.prepare(taken),))
            except Exception as error:
                guard.note_internal_error("counting starts of spans", error)
        return changes, taken, batch[len(taken) :]

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
        self.fold()
        if self.sweep():
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
        self.active.clear()
        self.references.clear()
        self._waiting.append([])
        self.is_asleep = self.worker.is_wanted
        self.worker.after_fork_in_child()

    def wake_up(self) -> None:
        """Start the worker in a forked child, now that something has happened there."""
        if self.is_asleep:
            self.is_asleep = False
            self.worker.wake()
