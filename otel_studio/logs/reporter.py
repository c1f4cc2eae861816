"""The thread that writes the records about ended runs, away from the runs and from the fold."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.trace import (
    NonRecordingSpan,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from otel_studio.base import outcome
from otel_studio.base.guard import report_internal_error, write_notes
from otel_studio.base.locks import Signal
from otel_studio.base.otel_private import SUPPRESS_KEY
from otel_studio.base.worker import Worker
from otel_studio.logs.run_reports import Report, words_of
from otel_studio.registry.failures import error_text
from otel_studio.spans.buffer import Change
from otel_studio.spans.ended_run import EndedRun, duration_of, outcome_of
from otel_studio.spans.redaction import Redactor

#: Reports that may wait; past it further ones are counted, and that is said.
MAX_WAITING = 2_000
_POLL_SECONDS = 0.5
_LOOK_SECONDS = 0.02

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
        #: The thread that reports, or last did.
        self.thread_id: int | None = None
        self._started = False
        self._worker = Worker("otel-studio-logs", self._work, interval=_POLL_SECONDS)
        self._start_empty()

    def _start_empty(self) -> None:
        self._waiting: deque[Report] = deque()
        self._dropped: deque[int] = deque()
        #: Who writes just now, and on which thread. No lock: handlers are the program's own.
        self._writing: dict[object, int] = {}
        self._written = Signal()
        self._closing = False
        self._closed = Signal()

    def taking(self, reports: Sequence[Report]) -> Iterable[Change]:
        """Return what queues reports, as far as there is room; for a fold, so it only appends."""
        room = max(MAX_WAITING - len(self._waiting), 0)
        yield self._waiting.extend, reports[:room]
        if len(reports) > room:
            yield self._dropped.append, len(reports) - room

    def wake_for_reports(self) -> None:
        """Have the reports that wait written soon."""
        if self._waiting:
            self.wake()

    def runs_waiting(self) -> Iterable[EndedRun]:
        """Return the runs whose reports wait."""
        return [report.run for report in self._waiting.copy() if report.run is not None]

    @property
    def dropped(self) -> int:
        """Reports that were never written, for want of room."""
        return sum(self._dropped.copy())

    def wake(self) -> None:
        """Have the thread look soon, where it was started; may be called from anywhere.

        A thread that is gone, after a fork or because something killed it, is started anew.
        """
        if self._started:
            self._worker.wake()

    def keep_working(self) -> None:
        """Have a thread that is gone started anew; may be called from anywhere."""
        if self._started and not self._worker.is_running:
            self._worker.wake()

    def start(self) -> None:
        """Begin to write; a second call does nothing."""
        if not self._started:
            self._closing = False
            self._closed.renew()
            self._worker.allow()
            self._started = True
        self._worker.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Write what waits, and end the thread.

        Args:
            timeout: seconds until this returns, at most; what then waits is not written.
        """
        if not self._started:
            return
        deadline = time.monotonic() + timeout
        self._started = False
        self._closing = True
        if self._worker.is_running or self._waiting:
            self._worker.wake()
            if self._worker.thread_id != threading.get_ident():
                self._closed.wait(timeout)
        self._worker.stop(max(deadline - time.monotonic(), 0.0))

    def after_fork_in_child(self) -> None:
        """Begin from nothing in a child; the thread starts when it is first needed."""
        self._worker.after_fork_in_child()
        self._start_empty()

    def write_waiting(self) -> None:
        """Write every report that waits now, on the caller's thread."""
        mine = object()
        try:
            self._writing[mine] = threading.get_ident()
            for report in self._overdue():
                self._write(report)
            for _ in range(len(self._waiting)):
                try:
                    report = self._waiting.popleft()
                except IndexError:  # another thread took it
                    return
                self._write(report)
        finally:
            self._writing.pop(mine, None)
            self._written.set()

    def wait_for_others(self, timeout: float) -> None:
        """Wait until what other threads write just now is written.

        Args:
            timeout: seconds, at most: a handler may itself wait for the caller.
        """
        here, deadline = threading.get_ident(), time.monotonic() + timeout
        others = {one for one, thread in list(self._writing.items()) if thread != here}
        while not others.isdisjoint(list(self._writing)):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            # Somebody else who waits may have taken the signal.
            self._written.wait(min(left, _LOOK_SECONDS))

    def _work(self) -> None:
        self.thread_id = threading.get_ident()
        closing = self._closing
        self.write_waiting()
        write_notes()
        if closing:
            self._worker.stop(0)
            self._closed.set()
        elif self._each_look is not None:
            self._each_look()

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
            how = outcome_of(run)
            message = "%s/%s %s after %.1f ms"
            arguments = (
                report.service,
                report.operation,
                words_of(how, report.level),
                duration_of(run) / 1e6,
            )
            if how == outcome.ERROR:
                message += ": %s"
                arguments += (self._redactor.text(error_text(run) or "failed"),)
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


def _span_context(run: EndedRun) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(run._trace_id, run._span_id, False, TraceFlags(run._flags))


def _set_time(record: logging.LogRecord, unix_ns: int) -> None:
    """Let a record say when the run ended instead of when the record was written."""
    written = record.created
    record.created = unix_ns / 1e9
    record.msecs = float(unix_ns // 1_000_000 % 1_000)
    record.relativeCreated += (record.created - written) * 1e3
