"""Finds the run that a log record is made in, and keeps the last records of runs with them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import Span

from otel_studio.base.limited import count_limited
from otel_studio.base.locks import new_lock
from otel_studio.base.otel_private import SPAN_KEY, context_functions
from otel_studio.logs.safe_records import safe_log
from otel_studio.spans.ended_run import KeptLog, OpenRun
from otel_studio.spans.span import StudioSpan

#: A record of so many characters needs no look at the others.
_SHORT = 512
#: Runs above the innermost one that a record is kept with too.
_MAX_DEPTH = 16

_get_context, _, _ = context_functions()


class RunFinder:
    """Finds the run that goes on where the caller is.

    Args:
        provider: the tracer provider whose spans are runs.
        find_foreign: returns the run of another provider's span, where that one is used.
    """

    def __init__(
        self, provider: Any, find_foreign: Callable[[Span], OpenRun | None] | None = None
    ) -> None:
        self._provider = provider
        self._find_foreign = find_foreign

    def follow(self, find_foreign: Callable[[Span], OpenRun | None]) -> None:
        """Find the runs of another provider's spans, too.

        Args:
            find_foreign: returns the run of such a span.
        """
        self._find_foreign = find_foreign

    def current(self) -> tuple[Span | None, OpenRun | None]:
        """Return the current span, and the run it is, `None` for none."""
        span = _get_context().get(SPAN_KEY)
        if not isinstance(span, Span):
            return None, None
        if type(span) is StudioSpan:
            return span, span if span._tracer.provider is self._provider else None
        if self._find_foreign is not None:
            return span, self._find_foreign(span)
        return span, None


class RunRecords:
    """Keeps the last records with the runs they were made in, inner and outer.

    Args:
        limit: records kept with one run.
        max_bytes: what these may hold, about; the oldest go.
    """

    def __init__(self, limit: int, max_bytes: int) -> None:
        self.limit = limit
        self._max_bytes = max_bytes
        self._lock = new_lock()

    def add(self, run: OpenRun | None, record: KeptLog) -> None:
        """Keep a record with a run that goes on, and with those that it runs in."""
        record = safe_log(record)
        is_long = _size_of(record) > _SHORT
        for _ in range(_MAX_DEPTH):
            if run is None:
                return
            if not run._end:
                records = run._records
                if records is None:
                    records = self._begin(run)
                records.append(record)
                if is_long:
                    self._make_room(records)
            run = run._parent_span

    def _make_room(self, records: Any) -> None:
        """Let the oldest records of a run go while all of them hold too much."""
        too_much = sum(map(_size_of, records.copy())) - self._max_bytes
        while too_much > 0 and len(records) > 1:
            try:
                too_much -= _size_of(records.popleft())
            except IndexError:  # another thread logs in the same run
                return
            count_limited("log_records")

    def _begin(self, run: OpenRun) -> Any:
        with self._lock:  # two threads may log in one run for the first time at once, and a
            # finalizer that runs meanwhile may log as well
            if run._records is None:
                run._records = deque(maxlen=self.limit)
            return run._records

    @staticmethod
    def settle(run: OpenRun, worth_keeping: bool) -> None:
        """Turn what a run collected into what stays with it, once it has ended."""
        records = run._records
        if type(records) is deque:
            run._records = tuple(records) if worth_keeping and records else None
            light = getattr(run, "_light", None)
            if light is not None:
                light._records = run._records


def _size_of(record: KeptLog) -> int:
    return len(record.message) + len(record.exception or "")
