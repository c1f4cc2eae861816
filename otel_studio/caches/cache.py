"""One cache: records what happens to it at the cost of an append, and answers for it."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from itertools import repeat, starmap
from typing import TYPE_CHECKING, TypeVar

from otel_studio.base.locks import StudioLock, new_lock
from otel_studio.caches.backend import Answer, Backend, Growth, Read, summed
from otel_studio.caches.events import (
    CLEAR,
    EVICT,
    HIT,
    MISS,
    SET,
    UNKNOWN_KEY,
    Event,
    Preparation,
)
from otel_studio.caches.keys import KeyLabels
from otel_studio.caches.mapping import RecordingMapping, size_in_memory
from otel_studio.caches.reading import CachePart, CacheSizes, OneCacheReading
from otel_studio.caches.records import CacheReading
from otel_studio.caches.report import performance_of
from otel_studio.caches.statistics import CacheStatistics
from otel_studio.clock import Clock
from otel_studio.guard import report_internal_error

if TYPE_CHECKING:
    from otel_studio.caches.records import CachePerformance

K = TypeVar("K")
V = TypeVar("V")

#: Events that wait before a caller folds them into the statistics.
_FOLD_AT = 1_024
#: Events that wait while another thread folds, before a caller folds as well.
_WAIT_AT = 16 * _FOLD_AT
#: Folds within a fold of the same cache on one thread: a signal handler's query needs one.
_FOLDS_WITHIN = 2
#: How often a backend is asked where other threads ask it at the same time.
_ASKED_AT_MOST = 3
#: Frames that a fold may need, with a key's own methods.
_ROOM_ON_STACK = 200


class Cache:
    """The statistics of one cache; made by `CacheRegistry.cache`.

    Recording appends one tuple; batches are folded into counts, time windows and sketches by
    the caller that fills one up, and before every query. All methods are safe for threads.

    Args:
        name: what the cache holds, such as `previews`.
        service: the component it belongs to, such as `preview-service`.
        clock: where times come from.
        labels: what is kept of keys.
        salt: makes the fingerprints of keys differ from those of another process.
        wake: has the registry ask a new backend soon.

    Example:
        >>> previews = CacheRegistry(SystemClock()).cache("previews")  # doctest: +SKIP
        >>> previews.hit("a.png", duration=0.001)  # doctest: +SKIP
    """

    __slots__ = (
        "__weakref__",
        "_append",
        "_clock",
        "_events",
        "_lock",
        "_now",
        "_preparation",
        "_relieving",
        "_state",
        "_wake",
        "name",
        "service",
    )

    def __init__(
        self,
        name: str,
        service: str,
        clock: Clock,
        labels: KeyLabels,
        salt: int,
        wake: Callable[[], None],
    ) -> None:
        self.name = name
        self.service = service
        self._clock = clock
        self._now = clock.monotonic_ns
        self._events: deque[Event] = deque()
        self._append = self._events.append
        self._preparation = Preparation(name, labels, salt)
        self._state = _State(CacheStatistics())
        self._wake = wake
        #: Held for single steps on our own data, never while code of the program's own runs.
        self._lock = new_lock()
        self._relieving = False

    def hit(self, key: object, duration: float | None = None) -> None:
        """Record a read that found its entry.

        Args:
            key: what was looked up.
            duration: how long it took, in seconds.
        """
        self._append((HIT, key, duration, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._relieve()

    def miss(self, key: object, duration: float | None = None) -> None:
        """Record a read that did not find its entry.

        Args:
            key: what was looked up.
            duration: how long it took, in seconds.
        """
        self._append((MISS, key, duration, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._relieve()

    def set(self, key: object, size: int | None = None) -> None:
        """Record that an entry was stored or replaced.

        Args:
            key: its key.
            size: its size in bytes, if known.
        """
        self._append((SET, key, size, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._relieve()

    def evict(self, key: object = UNKNOWN_KEY, reason: str = "size") -> None:
        """Record that an entry went.

        Args:
            key: its key; left out where that is not known.
            reason: `size` where it made room for others; anything short for the rest, such
                as `expired` or `deleted`.
        """
        self._append((EVICT, key, reason, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._relieve()

    def clear(self, entries: int) -> None:
        """Record that all entries went at once.

        Args:
            entries: how many there were.
        """
        self._append((CLEAR, None, entries, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._relieve()

    def wrap(
        self,
        mapping: MutableMapping[K, V],
        sizer: Callable[[V], int] | None = size_in_memory,
    ) -> RecordingMapping[K, V]:
        """Return a mapping that does what the given one does and records it here.

        Args:
            mapping: the cache itself; what is done to it directly is not recorded.
            sizer: returns the bytes of a value as it is stored; by default those of the object
                and what it holds, projected from the first 200 elements. With `None` memory
                is not known.

        Example:
            >>> thumbnails = previews.wrap({}, sizer=len)  # doctest: +SKIP
        """
        return RecordingMapping(self, mapping, sizer, self._clock)

    def attach(self, read: Read, *, remote: bool = False, from_now: bool = False) -> None:
        """Take counts, sizes or fragmentation from the cache's own backend.

        Several backends add up. What a backend reports goes before what was recorded.

        Args:
            read: returns a `CacheReading`, or `None` once the backend is gone for good.
            remote: whether asking takes I/O. Then it is asked at intervals on a thread of the
                registry, and entries are not kept count of here; otherwise it is asked before
                every query.
            from_now: whether what the backend had counted before is left out.
        """
        backend = Backend(read, remote=remote)
        beginning = Answer(None if from_now else {})
        with self._lock:
            state = self._state
            statistics = state.statistics
            if remote:
                statistics = statistics.without_entries(keeps_ledger=False)
            self._state = dataclasses.replace(
                state, statistics=statistics, answers={**state.answers, backend: beginning}
            )
        if remote:
            self._wake()

    def poll(self, *, remote: bool = False) -> None:
        """Fold what waits, and ask the backends.

        Args:
            remote: whether to ask those as well that take I/O.
        """
        self._settled(remote=remote)

    def reading(self) -> OneCacheReading:
        """Return what is known of the cache now, as plain data that adds and subtracts."""
        state = self._settled()
        statistics, ledger = state.statistics, state.statistics.ledger
        part = CachePart(
            hits=statistics.hits,
            misses=statistics.misses,
            sets=statistics.sets,
            evictions=statistics.evictions,
            windows=statistics.windows,
            durations=statistics.durations,
            slow=statistics.slow,
            hot_keys=statistics.hot_keys,
            reuse=statistics.curve.distances(),
            sizes=CacheSizes(
                at_ns=self._now(),
                entries=ledger.entries if ledger.used else None,
                memory_bytes=ledger.size_bytes,
                peak_bytes=ledger.peak_bytes,
                is_estimate=ledger.is_estimate,
                reported=state.reported,
                reported_peak_bytes=state.reported_peak_bytes,
                is_shared=bool(state.answers) and all(b.remote for b in state.answers),
            ),
        )
        return OneCacheReading(self.name, self.service, {statistics.epoch: part})

    def performance(self) -> CachePerformance:
        """Return what is known of the cache now."""
        return performance_of(self.reading(), self._now())

    def fold(self) -> None:
        """Take everything recorded so far into the statistics."""
        self._folded()

    def forget_keys(self) -> None:
        """Drop what is kept of keys so far; the counts stay."""
        with self._lock:
            state = self._state
            self._state = dataclasses.replace(state, statistics=state.statistics.without_keys())

    def after_fork_in_child(self) -> None:
        """Begin at zero in a forked child; the entries are still there, the counts are not."""
        self._relieving = False
        self._events.clear()
        with self._lock:
            state = self._state
            self._state = dataclasses.replace(
                state, statistics=state.statistics.begun_anew(), taken=[]
            )

    def _relieve(self) -> None:
        """Fold on the recording thread, unless somebody is at it and there is still room."""
        room = len(self._events) < _WAIT_AT
        if room and (self._relieving or self in _folding.caches or _stack_is_deep()):
            return
        self._relieving = True
        try:
            self._folded()
        except RecursionError:  # what waits goes on waiting for one with more room on its stack
            pass
        finally:
            self._relieving = False

    def _settled(self, *, remote: bool = False) -> _State:
        """Return the state after folding what waits and asking the backends."""
        state = self._folded()
        if state.answers and not _is_held_here(self._lock):
            self._ask(remote=remote)
            return self._state
        return state

    def _folded(self) -> _State:
        """Return the state with everything in it that was recorded before the call."""
        if _is_held_here(self._lock):
            # A finalizer or a signal handler between two steps below: it may only look.
            state = self._state
            waiting = [*state.taken, *self._events]
            return dataclasses.replace(state, statistics=self._with(state.statistics, waiting))
        if not self._events and not self._state.taken:
            return self._state
        within = _folding.caches
        if within.count(self) >= _FOLDS_WITHIN:  # a key's own __hash__ folds
            return self._state
        _folding.caches = (*within, self)
        try:
            return self._fold_waiting()
        finally:
            _folding.caches = within

    def _fold_waiting(self) -> _State:
        state, waiting = self._take()
        wanted = state.folded + waiting
        while state.folded < wanted:
            batch = state.taken[: min(_FOLD_AT, wanted - state.folded)]
            self._commit(state, len(batch), self._with(state.statistics, batch))
            state = self._state
        return state

    def _take(self) -> tuple[_State, int]:
        """Move what was recorded to where it is folded from; return how much waits there."""
        with self._lock:
            state = self._state
            # In C throughout: no signal handler can break it off and lose an event.
            state.taken.extend(starmap(self._events.popleft, repeat((), len(self._events))))
            return state, len(state.taken)

    def _with(self, statistics: CacheStatistics, events: list[Event]) -> CacheStatistics:
        """Return statistics with events; changes nothing, and runs the methods of keys."""
        if not events:
            return statistics
        try:
            offset = self._clock.time_ns() - self._now()
            return statistics.folded(self._preparation.batch(events, offset, statistics.slow))
        except RecursionError:
            raise
        except Exception as error:
            report_internal_error(f"folding the events of cache {self.name}", error)
            return statistics

    def _commit(self, seen: _State, count: int, statistics: CacheStatistics) -> None:
        """Make folded events part of the state, in one store, unless another thread did."""
        with self._lock:
            state = self._state
            if state.statistics is seen.statistics and state.folded == seen.folded:
                self._state = dataclasses.replace(
                    state,
                    statistics=statistics,
                    taken=state.taken[count:],
                    folded=state.folded + count,
                )

    def _ask(self, *, remote: bool) -> None:
        """Ask the backends, and take in what they counted; what overlaps is asked anew."""
        waiting = [b for b in self._state.answers if remote or not b.remote]
        for _ in range(_ASKED_AT_MOST):
            before = self._state.answers
            asked = [backend for backend in waiting if backend in before]
            if not asked:
                return
            # Without the lock: a backend may be slow, or record into this very cache.
            answers = {b: self._answer(b, before[b]) for b in asked}
            waiting = self._take_answers(before, answers)

    def _answer(self, backend: Backend, last: Answer) -> Answer:
        within = _folding.asked
        if backend in within:  # it asks for this cache's figures itself
            return last
        _folding.asked = (*within, backend)
        try:
            return backend.ask(self.name, last)
        finally:
            _folding.asked = within

    def _take_answers(
        self, before: Mapping[Backend, Answer], answers: Mapping[Backend, Answer]
    ) -> list[Backend]:
        """Take in answers; return the backends that another thread had an answer of meanwhile."""
        now = self._now()
        with self._lock:
            state = self._state
            fresh = {b: a for b, a in answers.items() if state.answers.get(b) is before[b]}
            self._state = state.answered(fresh, now)
            return [backend for backend in answers if backend not in fresh]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _State:
    """All of a cache that changes: replaced as a whole, so that no step is ever done by half.

    Attributes:
        statistics: of what was folded.
        taken: events that wait to be folded; grows at its end.
        folded: how many events were.
        answers: what each backend said last.
        reported: the sizes in those, summed.
        reported_peak_bytes: the most memory in them, ever.
    """

    statistics: CacheStatistics
    taken: list[Event] = dataclasses.field(default_factory=list)
    folded: int = 0
    answers: dict[Backend, Answer] = dataclasses.field(default_factory=dict)
    reported: CacheReading = dataclasses.field(default_factory=CacheReading)
    reported_peak_bytes: int | None = None

    def answered(self, fresh: Mapping[Backend, Answer], now_ns: int) -> _State:
        """Return the state after some answers."""
        growth = Growth()
        for backend, answer in fresh.items():
            if answer is not self.answers[backend]:
                self.answers[backend].add_growth(answer, growth)
        answers = {b: a for b, a in {**self.answers, **fresh}.items() if not a.gone}
        statistics = self.statistics
        if growth:
            statistics = statistics.counted_elsewhere(
                now_ns, growth.hits, growth.misses, growth.sets, growth.evictions
            )
        if not answers and self.answers:  # the entries went with what held them
            statistics = statistics.without_entries(keeps_ledger=statistics.keeps_ledger)
        reported = summed(answer.said for answer in answers.values() if answer.said is not None)
        used, peak = reported.memory_bytes, self.reported_peak_bytes
        return dataclasses.replace(
            self,
            statistics=statistics,
            answers=answers,
            reported=reported,
            reported_peak_bytes=peak if used is None else max(peak or 0, used),
        )


class _Folding(threading.local):
    """What this thread is at, for methods of keys and backends that come back to us."""

    caches: tuple[Cache, ...] = ()
    asked: tuple[Backend, ...] = ()


_folding = _Folding()


def _is_held_here(lock: StudioLock) -> bool:
    """Tell whether the calling thread is inside a step that a lock guards."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # as threading.Condition asks it


def _stack_is_deep() -> bool:
    """Tell whether the caller's stack may be too deep to fold on."""
    try:
        sys._getframe(max(0, sys.getrecursionlimit() - _ROOM_ON_STACK))
    except ValueError:
        return False
    return True
