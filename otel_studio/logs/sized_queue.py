"""A queue of log records for one exporter, bounded by what they hold as well as by their number."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any, Final

from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

from otel_studio.base.limited import count_limited
from otel_studio.base.weight import weight_of_value

#: Records with less are bounded by the number of those that wait.
_SMALL: Final = 4_096


class _Held:
    """Goes with a large record that waits, and says when that is gone: sent, or dropped."""

    __slots__ = ("_gone", "_weight")

    def __init__(self, weight: int, gone: deque[int]) -> None:
        self._weight = weight
        self._gone = gone

    def __del__(self) -> None:
        self._gone.append(self._weight)


class SizedQueue(BatchLogRecordProcessor):
    """The SDK's queue of records; a large one that finds no room is dropped and counted.

    Args:
        exporter: gets the records.
        max_bytes: what large records that wait may hold together.
    """

    def __init__(self, exporter: Any, max_bytes: int) -> None:
        super().__init__(exporter)
        self._max_bytes = max_bytes
        #: Bytes that were let in, and of records that are gone since.
        self._taken = 0
        self._gone: deque[int] = deque()

    @property
    def bytes_waiting(self) -> int:
        """What the large records that wait hold."""
        for _ in range(len(self._gone)):
            try:
                self._taken -= self._gone.popleft()
            except IndexError:  # another thread has it
                break
        return self._taken

    def on_emit(self, log_record: Any) -> None:
        """Let a record wait, if there is room for what it holds."""
        record = log_record.log_record
        weight = weight_of_value(record.body) + weight_of_value(record.attributes)
        if weight <= _SMALL:
            super().on_emit(log_record)
            return
        if self.bytes_waiting + weight > self._max_bytes:
            count_limited("log_export_queue")
            return
        self._taken += weight
        # A copy, for the record is the program's own: whether the queue copies it, too, depends on
        # the release of the SDK's.
        held, waiting = copy.copy(record), copy.copy(log_record)
        held.studio_held = _Held(weight, self._gone)
        waiting.log_record = held
        super().on_emit(waiting)
