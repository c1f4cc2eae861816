"""Hands ended runs to a consumer of the program's own, in batches that wait within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from otel_studio.base.guard import report_internal_error
from otel_studio.base.limited import count_limited
from otel_studio.base.locks import new_lock
from otel_studio.spans.buffer import Change
from otel_studio.spans.ended_run import EndedRun, keep_start_times
from otel_studio.spans.weight import weight_of_runs

#: Runs that wait for a consumer of the program's, and what they may hold.
_MAX_HANDED: Final = 65_536
_MAX_HANDED_BYTES: Final = 64 << 20


class BatchConsumer(Protocol):
    """A span processor of the program's that takes ended spans in batches."""

    def consume(self, spans: Sequence[Any]) -> None:
        """Take the next batch, in the order of their ends, one call at a time."""


class Handover:
    """Runs that wait for a consumer of the program's own, which is called under no lock of ours.

    While the consumer is at one batch, others wait; past a bound, further ones are dropped.

    Args:
        consumer: gets every batch.
    """

    def __init__(self, consumer: BatchConsumer) -> None:
        self.consumer = consumer
        #: Runs, and bytes of theirs, queued so far: its one element; and those handed over.
        self._queued: deque[tuple[int, int]] = deque([(0, 0)], maxlen=1)
        self._handed = (0, 0)
        #: Runs that found no room and are not counted yet: a fold may only call into C.
        self._lost: deque[int] = deque()
        self._waiting: deque[tuple[Sequence[EndedRun], int]] = deque()
        self._delivering = new_lock()
        self._is_inside = False

    @property
    def has_waiting(self) -> bool:
        """Whether a batch waits."""
        return bool(self._waiting)

    def prepare(self, runs: Sequence[EndedRun]) -> Iterable[Change]:
        """Return what queues a batch."""
        count, held = self._queued[0]
        weight = weight_of_runs(runs)
        waiting, waiting_bytes = count - self._handed[0], held - self._handed[1]
        if self._waiting and (
            waiting + len(runs) > _MAX_HANDED or waiting_bytes + weight > _MAX_HANDED_BYTES
        ):
            return ((self._lost.append, len(runs)),)
        return (
            (self._waiting.append, (runs, weight)),
            (self._queued.append, (count + len(runs), held + weight)),
        )

    def after(self) -> None:
        """Count what found no room; `deliver` is called where foreign code may run."""
        while self._lost:
            try:
                count_limited("handover", self._lost.popleft())
            except IndexError:  # another thread counts it
                return

    def keep_times(self) -> None:
        """Have the runs that wait keep their times, before the wall clock is followed."""
        for runs, _ in self._waiting.copy():
            keep_start_times(runs)

    def deliver(self) -> None:
        """Hand over what waits; not again from inside the consumer."""
        with self._delivering:
            if self._is_inside:
                return
            try:
                self._is_inside = True
                while self._waiting:
                    runs, weight = self._waiting.popleft()
                    self._handed = self._handed[0] + len(runs), self._handed[1] + weight
                    keep_start_times(runs)  # the consumer may look at them at any later time
                    try:
                        self.consumer.consume(runs)
                    except Exception as error:
                        place = f"folding spans into {type(self.consumer).__name__}"
                        report_internal_error(place, error)
            finally:
                self._is_inside = False
