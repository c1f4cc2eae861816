"""One cache: records what happens to it at the cost of an append, and answers for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, TypeVar

from otel_studio.caches.backend import Backend, Growth, Read, summed
from otel_studio.caches.entries import EntryLedger
from otel_studio.caches.keys import KeyLabels
from otel_studio.caches.mapping import RecordingMapping, size_in_memory
from otel_studio.caches.report import performance_of
from otel_studio.caches.statistics import (
    CLEAR,
    EVICT,
    HIT,
    MISS,
    SET,
    UNKNOWN_KEY,
    CacheStatistics,
    Event,
)
from otel_studio.clock import Clock
from otel_studio.guard import report_internal_error

if TYPE_CHECKING:
    from otel_studio.caches.records import CachePerformance, CacheReading

K = TypeVar("K")
V = TypeVar("V")

#: Events that wait before a caller folds them into the statistics.
_FOLD_AT = 1_024
#: Events that wait while another thread folds, before a caller waits for it.
_WAIT_AT = 16 * _FOLD_AT


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
        "_backends",
        "_clock",
        "_events",
        "_folding",
        "_lock",
        "_now",
        "_peak_bytes",
        "_statistics",
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
        self._statistics = CacheStatistics(name, labels, salt)
        self._backends: list[Backend] = []
        self._peak_bytes: int | None = None
        self._wake = wake
        self._lock = threading.RLock()
        self._folding = False

    def hit(self, key: object, duration: float | None = None) -> None:
        """Record a read that found its entry.

        Args:
            key: what was looked up.
            duration: how long it took, in seconds.
        """
        self._append((HIT, key, duration, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._fold_full()

    def miss(self, key: object, duration: float | None = None) -> None:
        """Record a read that did not find its entry.

        Args:
            key: what was looked up.
            duration: how long it took, in seconds.
        """
        self._append((MISS, key, duration, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._fold_full()

    def set(self, key: object, size: int | None = None) -> None:
        """Record that an entry was stored or replaced.

        Args:
            key: its key.
            size: its size in bytes, if known.
        """
        self._append((SET, key, size, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._fold_full()

    def evict(self, key: object = UNKNOWN_KEY, reason: str = "size") -> None:
        """Record that an entry went.

        Args:
            key: its key; left out where that is not known.
            reason: `size` where it made room for others; anything short for the rest, such
                as `expired` or `deleted`.
        """
        self._append((EVICT, key, reason, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._fold_full()

    def clear(self, entries: int) -> None:
        """Record that all entries went at once.

        Args:
            entries: how many there were.
        """
        self._append((CLEAR, None, entries, self._now()))
        if len(self._events) >= _FOLD_AT:
            self._fold_full()

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
        with self._lock:
            self._backends.append(Backend(read, remote=remote, from_now=from_now))
            if remote:
                self._statistics.keeps_ledger = False
                self._statistics.ledger = EntryLedger()
        if remote:
            self._wake()

    def poll(self, *, remote: bool = False) -> None:
        """Fold what waits, and ask the backends.

        Args:
            remote: whether to ask those as well that take I/O.
        """
        self.fold()
        with self._lock:
            backends = list(self._backends)
        growth = Growth()
        # Outside the lock: a backend may be slow, or record into this very cache.
        for backend in backends:
            if remote or not backend.remote:
                backend.ask(self.name, growth)
        with self._lock:
            self._statistics.count_elsewhere(
                self._now(), growth.hits, growth.misses, growth.sets, growth.evictions
            )
            if any(backend.gone for backend in backends):
                self._backends = [backend for backend in self._backends if not backend.gone]
                if not self._backends:  # the entries went with what held them
                    self._statistics.ledger = EntryLedger()
            used = self._reading().memory_bytes
            if used is not None:
                self._peak_bytes = max(self._peak_bytes or 0, used)

    def performance(self) -> CachePerformance:
        """Return what is known of the cache now."""
        self.poll()
        now = self._now()
        with self._lock:
            return performance_of(
                self.name,
                self.service,
                self._statistics,
                self._reading(),
                self._peak_bytes,
                now,
            )

    def fold(self) -> None:
        """Take everything recorded so far into the statistics."""
        with self._lock:
            self._fold()

    def forget_keys(self) -> None:
        """Drop what is kept of keys so far; the counts stay."""
        with self._lock:
            self._statistics.forget_keys()

    def restart_after_fork(self) -> None:
        """Begin at zero in a forked child; the entries are still there, the counts are not."""
        self._lock = threading.RLock()
        self._folding = False
        self._events.clear()
        self._statistics.start()
        for backend in self._backends:
            backend.restart_after_fork()

    def _reading(self) -> CacheReading:
        return summed(backend.last for backend in self._backends if backend.last is not None)

    def _fold_full(self) -> None:
        """Fold on the recording thread, unless another is at it and there is still room."""
        if self._lock.acquire(blocking=len(self._events) >= _WAIT_AT):
            try:
                self._fold()
            finally:
                self._lock.release()

    def _fold(self) -> None:
        if self._folding:  # a key's own __hash__ or __eq__ recorded something
            return
        self._folding = True
        try:
            events = self._events
            take = events.popleft
            offset = self._clock.time_ns() - self._now()
            while events:
                batch = [take() for _ in range(min(len(events), _FOLD_AT))]
                self._statistics.fold(batch, offset)
        except Exception as error:
            report_internal_error(f"folding the events of cache {self.name}", error)
        finally:
            self._folding = False
