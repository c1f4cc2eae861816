"""The thread that writes the records about ended runs, away from the runs and from the fold."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.trace import (
    NonRecordingSpan,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from otel_studio.guard import report_internal_error
from otel_studio.logs.run_reports import Report, words_of
from otel_studio.otel_private import SUPPRESS_KEY
from otel_studio.redaction import Redactor
from otel_studio.registry.queries import error_text
from otel_studio.registry.statistics import duration_of, outcome_of
from otel_studio.tracing.span import OUTCOME_ERROR

#: Reports that may wait; past it further ones are counted, and that is said.
MAX_WAITING = 2_000
_POLL_SECONDS = 0.5

logger = logging.getLogger("otel_studio.operations")


class RunReporter:
    """Writes reports to the logger `otel_studio.operations`, one after the other.

    A handler of the program may be slow, may fail or may run operations itself: here it
    holds up no operation and no query, and what it runs is not reported again.

    Args:
        redactor: takes secrets out of error messages.
        overdue: returns the reports that are due without a run, at each look.
        each_look: called at each look, for upkeep.
    """

    def __init__(
        self,
        redactor: Redactor,
        overdue: Callable[[], Iterable[Report]] = tuple,
        each_look: Callable[[], None] | None = None,
    ) -> None:
        self._redactor = redactor
        self._overdue = overdue
        self._each_look = each_look
        #: Reports that were never written, for want of room.
        self.dropped = 0
        #: The thread that reports, or last did.
        self.thread_id: int | None = None
        self._thread: threading.Thread | None = None
        self._start_empty()

    def _start_empty(self) -> None:
        self._waiting: deque[Report] = deque()
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._stopping = False

    def submit(self, report: Report) -> None:
        """Queue a report; called inside a fold, so it neither writes nor waits."""
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(report)
        self._wake.set()

    def start(self) -> None:
        """Begin to write; a second call does nothing."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._work, name="otel-studio-logs", daemon=True)
            self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Write what waits, and end the thread.

        Args:
            timeout: seconds until this returns, at most; what then waits is not written.
        """
        thread, self._thread = self._thread, None
        self._stopping = True
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def restart_after_fork(self) -> None:
        """Begin from nothing in a child, with a thread of its own."""
        running = self._thread is not None
        self._thread = None
        self.dropped = 0
        self._start_empty()
        if running:
            self.start()

    def write_waiting(self) -> None:
        """Write every report that waits now, on the caller's thread."""
        with self._writing:
            for report in self._overdue():
                self._write(report)
            for _ in range(len(self._waiting)):
                try:
                    report = self._waiting.popleft()
                except IndexError:
                    return
                self._write(report)

    def _work(self) -> None:
        self.thread_id = threading.get_ident()
        while True:
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()
            stopping = self._stopping
            try:
                self.write_waiting()
                if self._each_look is not None and not stopping:
                    self._each_look()
            except Exception as error:
                report_internal_error("reporting ended runs", error)
            if stopping:
                return

    def _write(self, report: Report) -> None:
        if not logger.isEnabledFor(report.level):
            return
        # What handlers do (send, store) is no work of the program's, and must not become spans.
        context = context_api.set_value(SUPPRESS_KEY, True)
        run = report.run
        if run is not None:
            context = set_span_in_context(NonRecordingSpan(_span_context(run)), context)
        token = context_api.attach(context)
        try:
            logger.handle(self._record(report))
        except Exception as error:  # a filter or a handler of the program's own
            report_internal_error("a log handler, given the record of an ended run,", error)
        finally:
            context_api.detach(token)

    def _record(self, report: Report) -> logging.LogRecord:
        run, extra = report.run, self._fields(report)
        if run is None:
            message: str = "%s/%s: %d more runs are not reported one by one"
            arguments: tuple[Any, ...] = (report.service, report.operation, report.held_back)
        else:
            outcome = outcome_of(run)
            message = "%s/%s %s after %.1f ms"
            arguments = (
                report.service,
                report.operation,
                words_of(outcome, report.level),
                duration_of(run) / 1e6,
            )
            if outcome == OUTCOME_ERROR:
                message += ": %s"
                arguments += (self._redactor.text(error_text(run, run._name) or "failed"),)
            if report.held_back:
                message += " (%d runs before it were not reported)"
                arguments += (report.held_back,)
        record = logger.makeRecord(
            logger.name, report.level, "", 0, message, arguments, None, "", extra
        )
        end = None if run is None else run.end_time
        if end:
            _set_time(record, end)
        return record

    def _fields(self, report: Report) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "studio_ended_run": True,
            "studio_service": report.service,
            "studio_operation": report.operation,
            "trace_id": "",
            "span_id": "",
        }
        run = report.run
        if run is not None:
            fields["trace_id"] = format_trace_id(run._trace_id)
            fields["span_id"] = format_span_id(run._span_id)
            fields["duration_ms"] = duration_of(run) / 1e6
        if report.held_back:
            fields["held_back"] = report.held_back
        return fields


def _span_context(run: Any) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(run._trace_id, run._span_id, False, TraceFlags(run._flags))


def _set_time(record: logging.LogRecord, unix_ns: int) -> None:
    """Let a record say when the run ended instead of when the record was written."""
    written = record.created
    record.created = unix_ns / 1e9
    record.msecs = float(unix_ns // 1_000_000 % 1_000)
    record.relativeCreated += (record.created - written) * 1e3
