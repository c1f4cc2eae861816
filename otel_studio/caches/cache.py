"""One cache: records what happens to it at the cost of an append, and answers for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, MutableMapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, TypeVar

from otel_studio.base.clock import Clock
from otel_studio.base.text import safe_line
from otel_studio.caches.account import CacheAccount
from otel_studio.caches.backend import Answer, Backend, Read
from otel_studio.caches.events import (
    CLEAR,
    EVICT,
    HIT,
    MISS,
    SET,
    UNKNOWN_KEY,
    Preparation,
)
from otel_studio.caches.keys import KeyLabels
from otel_studio.caches.mapping import RecordingMapping, size_in_memory
from otel_studio.caches.reading import CachePart, CacheSizes, OneCacheReading
from otel_studio.caches.report import performance_of

if TYPE_CHECKING:
    from otel_studio.caches.cache_records import CachePerformance

K = TypeVar("K")
V = TypeVar("V")


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
        "_account",
        "_append",
        "_clock",
        "_events",
        "_now",
        "_relieve",
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
        self._account = CacheAccount(name, clock, Preparation(name, labels, salt))
        self._events = self._account.events
        self._append = self._events.append
        self._relieve = self._account.relieve
        self._wake = wake

    def __repr__(self) -> str:
        return f"Cache({self.name!r}, service={self.service!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Statistics stay with their process. Handles, made of these, are told by name alone here.
        return resolve_name("otel_studio.caches.handle:cache"), (self.name, self.service)

    def hit(self, key: object, duration: float | None = None) -> None:
        """Record a read that found its entry.

        Args:
            key: what was looked up.
            duration: how long it took, in seconds.
        """
        self._append((HIT, key, duration, self._now()))
        if len(self._events) >= self._account.fold_at:
            self._relieve()

    def miss(self, key: object, duration: float | None = None) -> None:
        """Record a read that did not find its entry.

        Args:
            key: what was looked up.
            duration: how long it took, in seconds.
        """
        self._append((MISS, key, duration, self._now()))
        if len(self._events) >= self._account.fold_at:
            self._relieve()

    def set(self, key: object, size: int | None = None) -> None:
        """Record that an entry was stored or replaced.

        Args:
            key: its key.
            size: its size in bytes, if known.
        """
        self._append((SET, key, size, self._now()))
        if len(self._events) >= self._account.fold_at:
            self._relieve()

    def evict(self, key: object = UNKNOWN_KEY, reason: str = "size") -> None:
        """Record that an entry went.

        Args:
            key: its key; left out where that is not known.
            reason: `size` where it made room for others; anything short for the rest, such
                as `expired` or `deleted`.
        """
        if not reason.isprintable():
            reason = safe_line(reason)
        self._append((EVICT, key, reason, self._now()))
        if len(self._events) >= self._account.fold_at:
            self._relieve()

    def clear(self, entries: int) -> None:
        """Record that all entries went at once.

        Args:
            entries: how many there were.
        """
        self._append((CLEAR, None, entries, self._now()))
        if len(self._events) >= self._account.fold_at:
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

    def rewrap(
        self,
        recording: RecordingMapping[K, V],
        mapping: MutableMapping[K, V],
        sizer: Callable[[V], int] | None,
    ) -> None:
        """Let a mapping that was copied or unpickled record here.

        Args:
            recording: made by `wrap`, in this process or another.
            mapping: what it does everything to.
            sizer: as for `wrap`.
        """
        RecordingMapping.__init__(recording, self, mapping, sizer, self._clock)

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
        self._account.change(lambda state: state.attached(backend, beginning))
        if remote:
            self._wake()

    def poll(self, *, remote: bool = False) -> None:
        """Fold what waits, and ask the backends.

        Args:
            remote: whether to ask those as well that take I/O.
        """
        self._account.settled(remote=remote)

    def reading(self) -> OneCacheReading:
        """Return what is known of the cache now, as plain data that adds and subtracts."""
        state = self._account.settled()
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
                peak_entries=ledger.peak_entries if ledger.used else None,
                reported_peak_bytes=state.reported_peak_bytes,
                reported_peak_entries=state.reported_peak_entries,
                is_shared=bool(state.answers) and all(b.remote for b in state.answers),
            ),
        )
        return OneCacheReading(self.name, self.service, {statistics.epoch: part})

    def performance(self) -> CachePerformance:
        """Return what is known of the cache now."""
        return performance_of(self.reading(), self._now())

    def fold(self) -> None:
        """Take everything recorded so far into the statistics."""
        self._account.folded()

    def forget_keys(self) -> None:
        """Drop what is kept of keys so far; the counts stay."""
        self._account.change(
            lambda state: dataclasses.replace(state, statistics=state.statistics.without_keys())
        )

    def after_fork_in_child(self) -> None:
        """Begin at zero in a forked child; the entries are still there, the counts are not."""
        self._account.begin_anew()
