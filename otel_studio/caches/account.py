"""What is recorded of one cache, and the state it is folded into: exact, whoever interrupts.

No lock is held while code of the program's own runs, such as a key's `__hash__` or a backend: that
code may wait for a thread which waits for us. So a fold takes what waits, computes the next state
on the side, and puts it in place of the one that it began with; if another thread was faster, it
begins anew. A finalizer or a signal handler that asks in the middle of it does the same.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from itertools import repeat, starmap

from otel_studio.base.clock import Clock
from otel_studio.base.guard import report_internal_error
from otel_studio.base.locks import new_lock
from otel_studio.caches.backend import Answer, Backend
from otel_studio.caches.events import Event, Preparation
from otel_studio.caches.keys import weight_of_key
from otel_studio.caches.state import CacheState
from otel_studio.caches.statistics import CacheStatistics

#: Events that wait at most before a caller folds them into the statistics.
FOLD_AT = 1_024
#: As many before it is known how large keys are; and how much more it may be after a fold.
_FOLD_FIRST_AT = 16
_GROWTH = 4
#: Bytes that the keys of events that wait may hold, as far as those before them tell.
_MAX_WAITING_BYTES = 4 << 20
#: Keys of a batch that are weighed.
_WEIGHED = 16
#: Events that wait while another thread folds, before a caller folds as well; where keys are
#: large, so many times as many as without one.
_WAIT_AT = 16 * FOLD_AT
_WAIT_FACTOR = 16
#: Folds of one cache on one thread at most, each in the middle of another: a signal handler's
#: query needs one more, and a finalizer's in there another.
_FOLDS_WITHIN = 3
#: How often a backend is asked where other threads ask it at the same time.
_ASKED_AT_MOST = 3
#: Frames that a fold may need, with a key's own methods.
_ROOM_ON_STACK = 200


class CacheAccount:
    """The events of one cache and what came of them.

    Args:
        cache: its name, for the log.
        clock: where times come from.
        preparation: makes plain data of its events.
    """

    __slots__ = (
        "_at_work",
        "_cache",
        "_clock",
        "_lock",
        "_preparation",
        "events",
        "fold_at",
        "state",
    )

    def __init__(self, cache: str, clock: Clock, preparation: Preparation) -> None:
        self._cache = cache
        self._clock = clock
        self._preparation = preparation
        self.events: deque[Event] = deque()
        #: Events that wait before a caller folds them: fewer where keys are large.
        self.fold_at = _FOLD_FIRST_AT
        self.state = CacheState(CacheStatistics())
        #: Held for single steps on our own data.
        self._lock = new_lock()
        #: Whether a thread folds: a hint, for those that would rather go on recording.
        self._at_work = False

    def relieve(self) -> None:
        """Fold on the recording thread, unless somebody is at it and there is still room."""
        wait_at = _WAIT_AT if self.fold_at >= _FOLD_FIRST_AT else _WAIT_FACTOR * self.fold_at
        room = len(self.events) < wait_at
        if room and (self._at_work or self in _busy.folding or _stack_is_deep()):
            return
        try:
            self.folded()
        except RecursionError:  # what waits goes on waiting for one with more room on its stack
            pass

    def settled(self, *, remote: bool = False) -> CacheState:
        """Return the state after folding what waits and asking the backends.

        Args:
            remote: whether to ask those as well that take I/O.
        """
        state = self.folded()
        if not state.answers or self._is_in_a_step():
            return state
        self._ask(remote=remote)
        return self.state

    def folded(self) -> CacheState:
        """Return the state with everything in it that was recorded before the call."""
        if self._is_in_a_step():  # a finalizer or a signal handler: it may only look
            state = self.state
            waiting = [*state.taken, *self.events]
            return dataclasses.replace(state, statistics=self._with(state.statistics, waiting))
        if not self.events and not self.state.taken:
            return self.state
        within = _busy.folding
        if within.count(self) >= _FOLDS_WITHIN:  # a key's own __hash__ folds
            return self.state
        _busy.folding = (*within, self)
        try:
            self._at_work = True
            return self._fold_waiting()
        finally:
            _busy.folding = within
            self._at_work = False

    def change(self, change: Callable[[CacheState], CacheState]) -> None:
        """Put another state in place of the present one, in one step.

        Args:
            change: returns the other one; runs no code of the program's own.
        """
        with self._lock:
            while True:
                state = self.state
                changed = change(state)
                # No handler runs between these two lines: neither has a call in it.
                if self.state is state:
                    self.state = changed
                    return

    def begin_anew(self) -> None:
        """Begin at zero in a forked child."""
        self._at_work = False
        self.events.clear()
        self.change(
            lambda state: dataclasses.replace(
                state, statistics=state.statistics.begun_anew(), taken=[]
            )
        )

    def _fold_waiting(self) -> CacheState:
        state, waiting = self._take()
        wanted = state.folded + waiting
        while state.folded < wanted:
            batch = state.taken[: min(FOLD_AT, wanted - state.folded)]
            if not batch:  # all of it was forgotten meanwhile: this is a forked child
                break
            self._commit(state, len(batch), self._with(state.statistics, batch))
            state = self.state
        return state

    def _take(self) -> tuple[CacheState, int]:
        """Move what was recorded to where it is folded from; return how much waits there."""
        with self._lock:
            state = self.state
            # In C throughout: no signal handler can break it off and lose an event.
            state.taken.extend(starmap(self.events.popleft, repeat((), len(self.events))))
            return state, len(state.taken)

    def _with(self, statistics: CacheStatistics, events: list[Event]) -> CacheStatistics:
        """Return statistics with events; changes nothing, and runs the methods of keys."""
        if not events:
            return statistics
        try:
            self._follow_weight(events)
            offset = self._clock.time_ns() - self._clock.monotonic_ns()
            return statistics.folded(self._preparation.batch(events, offset, statistics.slow))
        except RecursionError:
            raise
        except Exception as error:
            report_internal_error(f"folding the events of cache {self._cache}", error)
            return statistics

    def _follow_weight(self, events: list[Event]) -> None:
        """Let as many events wait as hold no more than the bound, by a sample of some."""
        sample = events[:: len(events) // _WEIGHED + 1]
        weight = sum(weight_of_key(event[1]) for event in sample)
        room = _MAX_WAITING_BYTES * len(sample) // (weight + 1)
        self.fold_at = max(1, min(room, self.fold_at * _GROWTH, FOLD_AT))

    def _commit(self, seen: CacheState, count: int, statistics: CacheStatistics) -> None:
        """Make folded events part of the state, unless another thread did."""

        def change(state: CacheState) -> CacheState:
            if state.statistics is not seen.statistics or state.folded != seen.folded:
                return state
            return dataclasses.replace(
                state,
                statistics=statistics,
                taken=state.taken[count:],
                folded=state.folded + count,
            )

        self.change(change)

    def _ask(self, *, remote: bool) -> None:
        """Ask the backends, and take in what they counted; what overlaps is asked anew."""
        waiting = [b for b in self.state.answers if remote or not b.remote]
        for _ in range(_ASKED_AT_MOST):
            before = self.state.answers
            asked = [backend for backend in waiting if backend in before]
            if not asked:
                return
            # Without the lock: a backend may be slow, or record into this very cache.
            answers = {b: self._answer(b, before[b]) for b in asked}
            waiting = self._take_answers(before, answers)

    def _answer(self, backend: Backend, last: Answer) -> Answer:
        within = _busy.asking
        if backend in within:  # it asks for this cache's figures itself
            return last
        _busy.asking = (*within, backend)
        try:
            return backend.ask(self._cache, last)
        finally:
            _busy.asking = within

    def _take_answers(
        self, before: Mapping[Backend, Answer], answers: Mapping[Backend, Answer]
    ) -> list[Backend]:
        """Take in answers; return the backends that another thread had an answer of meanwhile."""
        now = self._clock.monotonic_ns()
        fresh: dict[Backend, Answer] = {}

        def change(state: CacheState) -> CacheState:
            nonlocal fresh
            fresh = {b: a for b, a in answers.items() if state.answers.get(b) is before[b]}
            return state.answered(fresh, now)

        self.change(change)
        return [backend for backend in answers if backend not in fresh]

    def _is_in_a_step(self) -> bool:
        """Tell whether this thread is inside a step that the lock guards, somewhere below."""
        return self._lock.is_held_here()


class _Busy(threading.local):
    """What this thread is at, for methods of keys and backends that come back to us."""

    folding: tuple[CacheAccount, ...] = ()
    asking: tuple[Backend, ...] = ()


_busy = _Busy()


def _stack_is_deep() -> bool:
    """Tell whether the caller's stack may be too deep to fold on."""
    try:
        sys._getframe(max(0, sys.getrecursionlimit() - _ROOM_ON_STACK))
    except ValueError:
        return False
    return True
