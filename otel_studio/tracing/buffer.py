"""The buffer of ended spans: a lock-free append on the hot path, folded elsewhere."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat, starmap
from typing import Any, Protocol

from otel_studio.clock import Clock
from otel_studio.guard import raised_by_signal_handler, report_internal_error

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

    def stepped(self) -> bool:
        """Tell whether the wall clock was set, or has drifted by more than 1 ms."""
        offset = self._clock.time_ns() - self._clock.monotonic_ns()
        return abs(offset - self.offset) > _STEP_NS

    def refresh(self) -> None:
        """Follow the wall clock where it has stepped."""
        if self.stepped():
            self.offset = self._clock.time_ns() - self._clock.monotonic_ns()


def keep_start_times(spans: Iterable[Any]) -> None:
    """Have spans keep the times they tell now, whatever the wall clock does later."""
    for span in spans:
        getattr(span, "start_time", None)  # computed when it is first read, then kept


class BatchConsumer(Protocol):
    """Receives ended spans in batches, in the order of their ends, one call at a time.

    One that holds on to spans offers `keep_times()`, which calls `keep_start_times` on them.
    """

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
        # Re-entrant: a signal handler or a finalizer may fold wherever the thread stands.
        self._lock = threading.RLock()
        #: Whether the thread that holds the lock is handing over, or reading what was folded.
        self._busy = False

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
            try:
                self._fold_locked()
            finally:
                self._lock.release()
        elif len(self.spans) > self.limit * _OVERFLOW_FACTOR:
            self.fold()

    def fold(self) -> None:
        """Hand every span that has ended so far to the consumers; returns when they have it.

        Inside a fold on the same thread (a finalizer ends a span) the outer call takes it.
        """
        with self._lock:
            self._fold_locked()

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Fold, and keep every other fold out while the block reads what was folded.

        A span that ends inside the block on the same thread (a finalizer) only waits its turn.
        """
        with self._lock:
            if self._busy:
                yield
                return
            self._busy = True
            try:
                self._hand_over()
                yield
            finally:
                self._busy = False

    def _fold_locked(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            self._hand_over()
        finally:
            self._busy = False

    def _hand_over(self) -> None:
        # In C throughout: no signal handler interrupts it, which would lose what it has taken.
        batch = list(starmap(self.spans.popleft, repeat((), len(self.spans))))
        if self.timebase.stepped():
            self._follow_wall_clock(batch)
        if not batch:
            return
        interruption: BaseException | None = None
        for consumer in self.consumers:
            try:
                consumer.consume(batch)
            except BaseException as error:
                if not isinstance(error, Exception) or raised_by_signal_handler(error):
                    interruption = error  # the others have the batch all the same
                else:
                    report_internal_error(f"folding spans into {type(consumer).__name__}", error)
        if interruption is not None:
            raise interruption

    def _follow_wall_clock(self, batch: Sequence[Any]) -> None:
        """Follow a clock that was set; what began before it was keeps the times it had."""
        try:
            for consumer in self.consumers:
                keep_times = getattr(consumer, "keep_times", None)
                if keep_times is not None:
                    keep_times()
            keep_start_times(batch)
        except Exception as error:
            report_internal_error("following the wall clock", error)
        self.timebase.refresh()

    def forget_after_fork(self) -> None:
        """Start from empty in a forked child; a lock held by a lost thread is replaced."""
        self._lock = threading.RLock()
        self._busy = False
        self.spans.clear()
