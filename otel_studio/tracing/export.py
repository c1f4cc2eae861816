"""The export queue: sampled spans wait here, bounded, for the thread that sends them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from itertools import repeat, starmap
from operator import attrgetter
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_studio.guard import report_internal_error
from otel_studio.otel_private import SUPPRESS_KEY
from otel_studio.tracing.buffer import keep_start_times

#: What a span with events, links or a status takes of a batch: a stack trace is kilobytes, and
#: receivers refuse a request of more than 4 MiB.
_WEIGHT = 8
_is_simple = attrgetter("_simple")


class ExportQueue:
    """Hands sampled spans to an exporter in batches, on a thread of its own.

    It is a consumer of ended spans: they arrive in batches, so the thread that ends a span
    neither takes a lock nor wakes anybody.

    Args:
        exporter: any OpenTelemetry span exporter; one that raises is counted and goes on.
        limit: spans that may wait; further ones are dropped and counted.
        batch_size: the most spans handed over in one call.
        interval: the most seconds that a span waits.
    """

    def __init__(
        self, exporter: SpanExporter, *, limit: int, batch_size: int, interval: float
    ) -> None:
        self.exporter = exporter
        #: Spans that were never sent, by reason: `queue_full`, `export_failed`, `shutdown`.
        self.dropped: Counter[str] = Counter()
        #: Spans that the exporter took.
        self.exported = 0
        self._limit = limit
        self._batch_size = batch_size
        self._interval = interval
        self._start_empty()

    def _start_empty(self) -> None:
        self._queue: deque[Any] = deque()
        #: Spans queued, and spans done with (sent or failed), since the beginning.
        self._queued = 0
        self._handled = 0
        self._wake = threading.Event()
        #: How many of the spans queued so far a flush waits for.
        self._flush_goal = 0
        #: Held while a batch is with the exporter.
        self._exporting = threading.Lock()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def consume(self, spans: Sequence[Any]) -> None:
        """Queue the sampled ones among ended spans; called inside a fold."""
        sampled = [span for span in spans if span._flags & 1]
        if not sampled:
            return
        if self._stopped:
            self.dropped["shutdown"] += len(sampled)
            return
        room = self._limit - len(self._queue)
        if room < len(sampled):
            self.dropped["queue_full"] += len(sampled) - max(room, 0)
            sampled = sampled[: max(room, 0)]
        self._queue.extend(sampled)
        self._queued += len(sampled)
        if self._thread is None:
            self._start_thread()
        if len(self._queue) >= self._batch_size:
            self._wake.set()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="otel-studio-export", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # the interpreter is going down: force_flush() sends what waits
        self._thread = thread

    def _export_here(self) -> None:
        token = context_api.attach(context_api.set_value(SUPPRESS_KEY, True))
        try:
            self._export_batch()
        finally:
            context_api.detach(token)

    def _work(self) -> None:
        # What the exporter's own client does (requests, grpc) must not become spans again.
        context_api.attach(context_api.set_value(SUPPRESS_KEY, True))
        while not self._stopped:
            woken = self._wake.wait(self._interval)
            self._wake.clear()
            # Woken for full batches: what is less than one waits for more, or for the interval.
            while not self._stopped and (
                len(self._queue) >= self._batch_size
                or (self._queue and (not woken or self._handled < self._flush_goal))
            ):
                self._export_batch()

    def _export_batch(self) -> None:
        with self._exporting:
            batch = self._take_batch()
            if not batch:
                return
            try:
                result = self.exporter.export(batch)
            except Exception as error:
                report_internal_error(f"exporter {type(self.exporter).__name__}", error)
                result = SpanExportResult.FAILURE
            if result is SpanExportResult.SUCCESS:
                self.exported += len(batch)
            else:
                self.dropped["export_failed"] += len(batch)
            self._handled += len(batch)

    def _take_batch(self) -> list[Any]:
        """Take the next spans from the queue; only whoever exports takes any."""
        queue = self._queue
        size = min(len(queue), self._batch_size)
        batch = list(starmap(queue.popleft, repeat((), size)))
        heavy = size - sum(map(_is_simple, batch))
        if heavy and size + heavy * (_WEIGHT - 1) > self._batch_size:
            room, fits = self._batch_size, 0
            for span in batch:
                room -= 1 if span._simple else _WEIGHT
                fits += 1
                if room <= 0:
                    break
            queue.extendleft(reversed(batch[fits:]))
            batch = batch[:fits]
        return batch

    def keep_times(self) -> None:
        """Have the spans that wait keep their times, before the wall clock is followed."""
        keep_start_times(self._queue.copy())

    @property
    def waiting(self) -> int:
        """Spans in the queue."""
        return len(self._queue)

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Have everything sent that is queued now.

        Args:
            timeout_millis: milliseconds until this returns, at most.

        Returns:
            whether the exporter was done with all of them in time.
        """
        deadline = time.monotonic() + timeout_millis / 1000
        goal = self._queued
        self._flush_goal = max(self._flush_goal, goal)
        while self._handled < goal:
            if time.monotonic() >= deadline:
                return False
            if self._thread is None:  # none could be started: this one does its work
                self._export_here()
                continue
            if not self._thread.is_alive():
                return False
            self._wake.set()
            # Woken early when the batch in hand is done.
            if self._exporting.acquire(timeout=max(deadline - time.monotonic(), 0)):
                self._exporting.release()
                time.sleep(0.001)
        return True

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Send what is queued, then stop; gives up when the time is over.

        Args:
            timeout: seconds until this returns, at most; the exporter is told to give up
                after four fifths of it.

        Returns:
            whether everything that waited was sent: nothing failed or was dropped meanwhile.
        """
        if self._stopped:
            return True
        began = time.monotonic()
        dropped_before = self.dropped.total()
        sent = self.force_flush(timeout * 800)
        self._stopped = True
        self._wake.set()
        closing = threading.Thread(target=self._close, name="otel-studio-close", daemon=True)
        try:
            closing.start()
            closing.join(max(timeout - (time.monotonic() - began), 0.05))
        except RuntimeError:
            self._close()
        lost = len(self._queue)
        if lost:
            self.dropped["shutdown"] += lost
            self._handled += lost
            self._queue.clear()
        return sent and self.dropped.total() == dropped_before

    def _close(self) -> None:
        try:
            self.exporter.shutdown()
        except Exception as error:
            report_internal_error(f"shutting down {type(self.exporter).__name__}", error)

    def forget_after_fork(self) -> None:
        """Start with an empty queue and no thread in a forked child; the next span starts one."""
        self._start_empty()
        self.dropped.clear()
        self.exported = 0
