"""The export queue: sampled spans wait here, bounded, for the thread that sends them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import repeat, starmap
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.sdk.trace.export import SpanExporter

from otel_studio.base.delivery import FAILED, Delivery, deliver, is_own_thread
from otel_studio.base.guard import report_internal_error
from otel_studio.base.locks import new_lock
from otel_studio.base.otel_private import SUPPRESS_KEY
from otel_studio.base.worker import Worker
from otel_studio.spans.buffer import Change
from otel_studio.spans.ended_run import EndedRun, keep_start_times
from otel_studio.spans.weight import first_part, first_within, is_more_than, weight_of_runs

#: What the spans of one batch may take, about: receivers refuse a request of more than 4 MiB, and
#: text of other alphabets takes up to twice as much when it is sent as it is told to hold.
_MAX_BATCH_BYTES = 2_000_000


class ExportQueue:
    """Hands sampled spans to an exporter in batches, on a thread of its own.

    It is an outlet of ended runs: they arrive in batches, so the thread that ends a span
    neither takes a lock nor wakes anybody.

    Args:
        exporter: any OpenTelemetry span exporter; one that raises is counted and goes on.
        limit: spans that may wait; further ones are dropped and counted.
        max_bytes: what these may hold of attributes and events, likewise.
        batch_size: the most spans handed over in one call.
        interval: the most seconds that a span waits.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        limit: int,
        batch_size: int,
        interval: float,
        max_bytes: int = 64 << 20,
    ) -> None:
        self.exporter = exporter
        self._dropped: Counter[str] = Counter()
        #: Drops that are not among these yet: a fold may only call into C.
        self._drops: deque[tuple[str, int]] = deque()
        #: Spans that did not arrive though the exporter had them: among the dropped ones, too.
        self.undelivered = 0
        #: Spans that arrived, as far as the exporter tells.
        self.exported = 0
        self._limit = limit
        self._max_bytes = max_bytes
        self._batch_size = batch_size
        self._interval = interval
        #: Held while a batch is with the exporter.
        self._exporting = new_lock()
        self._worker = Worker("otel-studio-export", self._work, interval=interval)
        self._start_empty()

    def __repr__(self) -> str:
        waiting, lost = len(self._queue), sum(self.dropped.values())
        return (
            f"<ExportQueue to {type(self.exporter).__name__}: "
            f"{self.exported} exported, {waiting} wait, {lost} dropped>"
        )

    def _start_empty(self) -> None:
        self._queue: deque[Any] = deque()
        #: Bytes that the spans queued so far held, its one element; and of those taken off again.
        self._bytes_queued: deque[int] = deque([0], maxlen=1)
        self._bytes_taken = 0
        #: Spans done with (sent, failed or given up), since the beginning.
        self._handled = 0
        #: How many of the spans queued so far a flush waits for.
        self._flush_goal = 0
        #: Spans taken off the queue, since the beginning; not to be read while `_is_taking`.
        self._taken = 0
        self._is_taking = False
        #: When the queue was last emptied, by `time.monotonic()`.
        self._emptied = time.monotonic()
        self._stopped = False
        #: What is with the exporter now.
        self._in_hand: list[Any] = []

    # As an outlet of ended runs

    def prepare(self, runs: Sequence[EndedRun]) -> Iterable[Change]:
        """Return what queues the sampled ones among ended spans, as far as there is room."""
        sampled = [run for run in runs if run._flags & 1]
        if not sampled:
            return ()
        room = 0 if self._stopped else max(self._limit - len(self._queue), 0)
        changes: list[Change] = []
        if room < len(sampled):
            reason = "shutdown" if self._stopped else "queue_full"
            changes.append((self._drops.append, (reason, len(sampled) - room)))
            sampled = sampled[:room]
        weight, bytes_left = weight_of_runs(sampled), self._max_bytes - self.bytes_waiting
        if weight > bytes_left:
            fitting, weight = first_within(sampled, bytes_left)
            changes.append((self._drops.append, ("queue_bytes", len(sampled) - len(fitting))))
            sampled = fitting
        changes.append((self._queue.extend, sampled))
        changes.append((self._bytes_queued.append, self._bytes_queued[0] + weight))
        return changes

    def after(self) -> None:
        """Wake the thread for a full batch, or have it started for the first span."""
        waiting = len(self._queue)
        if self._has_batch() or (waiting and not self._worker.is_wanted):
            self._worker.wake()

    def keep_times(self) -> None:
        """Have the spans that wait keep their times, before the wall clock is followed."""
        keep_start_times(self._queue.copy())
        keep_start_times(self._in_hand)

    # Sending

    def _work(self) -> float:
        """Send full batches, and the rest once it has waited for the interval."""
        # What the exporter's own client does (requests, grpc) must not become spans again.
        token = context_api.attach(context_api.set_value(SUPPRESS_KEY, True))
        try:
            while not self._stopped and self._is_due():
                self._export_batch()
        finally:
            context_api.detach(token)
        left = self._emptied + self._interval - time.monotonic()
        return max(left, 0.0) if self._queue else self._interval

    def _is_due(self) -> bool:
        if not self._queue:
            self._emptied = time.monotonic()
            return False
        return (
            self._has_batch()
            or self._handled < self._flush_goal
            or time.monotonic() - self._emptied >= self._interval
        )

    def _has_batch(self) -> bool:
        return len(self._queue) >= self._batch_size or self.bytes_waiting >= _MAX_BATCH_BYTES

    def _export_here(self) -> None:
        token = context_api.attach(context_api.set_value(SUPPRESS_KEY, True))
        try:
            self._export_batch()
        finally:
            context_api.detach(token)

    def _export_batch(self) -> None:
        with self._exporting:
            batch = self._take_batch()
            if not batch:
                return
            delivery = Delivery(lost={FAILED: len(batch)})
            try:
                delivery = deliver(self.exporter, batch, len(batch))
            finally:  # whatever was raised, the batch is not with us any more
                self._in_hand = []
                self.exported += delivery.sent
                self.undelivered += sum(delivery.lost.values())
                self._dropped.update(delivery.lost)
                self._handled += len(batch)

    def _take_batch(self) -> list[Any]:
        """Take the next spans from the queue; only whoever exports takes any."""
        queue = self._queue
        size = min(len(queue), self._batch_size)
        try:
            self._is_taking = True
            held, waiting = self.bytes_waiting, len(queue)
            batch = list(starmap(queue.popleft, repeat((), size)))
            self._taken += size
            # By what they hold on average; an exporter of ours splits what is too large besides.
            if held * size > _MAX_BATCH_BYTES * waiting or (
                not hasattr(self.exporter, "deliver") and is_more_than(_MAX_BATCH_BYTES, batch)
            ):
                batch = self._with_first(batch, len(first_part(batch, _MAX_BATCH_BYTES)))
            self._in_hand = batch
            self._bytes_taken += held * len(batch) // max(waiting, 1)
            return batch
        finally:
            self._is_taking = False

    def _with_first(self, batch: list[Any], fits: int) -> list[Any]:
        """Return the first spans of a batch, and have the others wait again."""
        self._queue.extendleft(reversed(batch[fits:]))
        self._taken -= len(batch) - fits
        return batch[:fits]

    @property
    def dropped(self) -> Counter[str]:
        """Spans that did not arrive, by reason.

        `queue_full`, `queue_bytes` and `shutdown`: never handed over. `export_failed`: the exporter
        gave them up. `rejected`, `redirected`, `too_large`: the receiver took the others, named
        another address, or takes nothing of that size. `unencodable`: OTLP has no form for them.
        """
        for _ in range(len(self._drops)):
            try:
                reason, count = self._drops.popleft()
            except IndexError:  # another thread has it
                break
            self._dropped[reason] += count
        return self._dropped

    @property
    def bytes_waiting(self) -> int:
        """What the spans in the queue hold of attributes and events, about."""
        return self._bytes_queued[0] - self._bytes_taken

    @property
    def capacity(self) -> int:
        """The most spans that may wait."""
        return self._limit

    @property
    def waiting(self) -> int:
        """Spans in the queue."""
        return len(self._queue)

    @property
    def outstanding(self) -> int:
        """Spans in the queue and with the exporter."""
        return len(self._queue) + max(self._taken - self._handled, 0)

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Have everything sent that is queued now.

        Args:
            timeout_millis: milliseconds until this returns, at most.

        Returns:
            whether all of them were sent in time, and none was refused.
        """
        failed_before = self.undelivered
        deadline = time.monotonic() + timeout_millis / 1000
        while self._is_taking and time.monotonic() < deadline:
            time.sleep(0)
        goal = self._taken + len(self._queue)
        self._flush_goal = max(self._flush_goal, goal)
        while self._handled < goal:
            if time.monotonic() >= deadline:
                return False
            self._worker.start()
            if not self._worker.is_running:  # none could be started: this one does its work
                self._export_here()
                continue
            self._worker.wake()
            # Woken early when the batch in hand is done.
            left = max(deadline - time.monotonic(), 0)
            if self._exporting.acquire(timeout=min(left, 0.05)):  # the thread may take it again
                self._exporting.release()
                time.sleep(0.001)
        return self.undelivered == failed_before

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
        self._worker.stop(0)
        closing = threading.Thread(target=self._close, name="otel-studio-close", daemon=True)
        try:
            closing.start()
            closing.join(max(timeout - (time.monotonic() - began), 0.05))
        except RuntimeError:
            self._close()
        lost = len(self._queue)
        if lost:
            self._drops.append(("shutdown", lost))
            self._taken += lost
            self._handled += lost
            self._queue.clear()
            self._bytes_taken = self._bytes_queued[0]
        return sent and self.dropped.total() == dropped_before

    def _close(self) -> None:
        try:
            self.exporter.shutdown()
        except BaseException as error:
            if not isinstance(error, Exception) and not is_own_thread():
                raise
            report_internal_error(f"shutting down {type(self.exporter).__name__}", error)

    def after_fork_in_child(self) -> None:
        """Start with an empty queue in a forked child; the next span starts a thread."""
        self._start_empty()
        self._worker.after_fork_in_child()
        self._dropped.clear()
        self._drops.clear()
        self.exported = self.undelivered = 0
