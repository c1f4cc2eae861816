"""The buffer of ended spans: a lock-free append on the hot path, folded elsewhere."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from otel_studio.clock import Clock
from otel_studio.guard import report_internal_error

#: A caller waits for a fold in progress only when the backlog is this many times its limit.
_OVERFLOW_FACTOR = 8
#: The wall-clock offset moves only for steps larger than this, so that spans of one trace agree.
_STEP_NS = 1_000_000


class Timebase:
    """Turns monotonic readings into wall-clock times.

    Spans read the monotonic clock alone; their Unix times are that reading plus `offset`.
    """

    __slots__ = ("_clock", "offset")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.offset = clock.time_ns() - clock.monotonic_ns()

    def refresh(self) -> None:
        """Follow the wall clock when it was set, or has drifted by more than 1 ms."""
        offset = self._clock.time_ns() - self._clock.monotonic_ns()
        if abs(offset - self.offset) > _STEP_NS:
            self.offset = offset


class BatchConsumer(Protocol):
    """Receives ended spans in batches, in the order of their ends, one call at a time."""

    def consume(self, spans: Sequence[Any]) -> None:
        """Take the next batch; must not keep the list."""


class EndedSpans:
    """Ended spans that wait to be folded into the registry and queued for export.

    Args:
        limit: spans that may wait before the thread that ends one folds them itself.
            Nothing is ever dropped here.
        timebase: refreshed at every fold.
    """

    def __init__(self, limit: int, timebase: Timebase) -> None:
        self.limit = limit
        self.timebase = timebase
        self.spans: deque[Any] = deque()
        self.append: Callable[[Any], None] = self.spans.append
        self.consumers: tuple[BatchConsumer, ...] = ()
        self._lock = threading.Lock()
        self._folding_thread: int | None = None

    def add_consumer(self, consumer: BatchConsumer) -> None:
        """Hand every later batch to `consumer` too."""
        self.consumers = (*self.consumers, consumer)

    def remove_consumer(self, consumer: BatchConsumer) -> None:
        """Hand no further batch to `consumer`."""
        self.consumers = tuple(other for other in self.consumers if other is not consumer)

    def relieve(self) -> None:
        """Fold on the caller's thread because the backlog is at its limit.

        Another thread that is folding already does the work: the caller goes on at once,
        unless the backlog has grown far past the limit.
        """
        if self._lock.acquire(blocking=False):
            self._fold_locked()
        elif len(self.spans) > self.limit * _OVERFLOW_FACTOR:
            self.fold()

    def fold(self) -> None:
        """Hand every span that has ended so far to the consumers; returns when they have it."""
        if self._folding_thread == threading.get_ident():
            return  # a span ended inside the fold (a finalizer): the outer call takes it
        self._lock.acquire()
        self._fold_locked()

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Fold, and keep every other fold out while the block reads what was folded.

        A span that ends inside the block on the same thread (a finalizer) only waits its turn.
        """
        if self._folding_thread == threading.get_ident():
            yield
            return
        with self._lock:
            self._folding_thread = threading.get_ident()
            try:
                self._hand_over()
                yield
            finally:
                self._folding_thread = None

    def _fold_locked(self) -> None:
        self._folding_thread = threading.get_ident()
        try:
            self._hand_over()
        finally:
            self._folding_thread = None
            self._lock.release()

    def _hand_over(self) -> None:
        self.timebase.refresh()
        take = self.spans.popleft
        batch = [take() for _ in range(len(self.spans))]
        if not batch:
            return
        for consumer in self.consumers:
            try:
                consumer.consume(batch)
            except Exception as error:
                report_internal_error(f"folding spans into {type(consumer).__name__}", error)

    def forget_after_fork(self) -> None:
        """Start from empty in a forked child; a lock held by a lost thread is replaced."""
        self._lock = threading.Lock()
        self._folding_thread = None
        self.spans.clear()
