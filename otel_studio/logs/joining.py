"""Gives every record of the standard `logging` the ids of the operation it is made in."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.trace import format_span_id, format_trace_id

from otel_studio.base.guard import report_internal_error
from otel_studio.logs.level_counts import LevelCounts
from otel_studio.logs.runs import RunFinder, RunRecords
from otel_studio.spans.ended_run import KeptLog, OpenRun
from otel_studio.spans.redaction import REDACTED, Redactor

#: The attributes that a record carries, empty outside of any operation. For
#: `logging.Formatter(format, defaults=NO_IDS)`: records made before `configure()` and after
#: `shutdown()` have none, and a format string that names them would lose such a record.
NO_IDS = {"trace_id": "", "span_id": "", "studio_service": "", "studio_operation": ""}
#: Where a record carries type, message and stack of an exception that held a secret.
EXCEPTION_ATTRIBUTE = "studio_exception"

_MAX_MESSAGE = 2_000
_MAX_EXCEPTION = 8_000

_joining = threading.local()


class LogJoin:
    """Joins records to runs from `install()` to `uninstall()`.

    It wraps `logging.Logger.makeRecord`, through which each record passes once, whatever the
    handlers are. The record factory would be too early: `logging` refuses an `extra` whose
    name the factory has set already, and `extra={"trace_id": ...}` is common.

    What is secret is taken out of the record itself, so every handler of the program gets
    it redacted.

    Args:
        finder: finds the run that goes on.
        redactor: knows what is secret.
        kept: keeps the last records with their runs, or `None` to keep none.
        counts: counts the records by level.
    """

    def __init__(
        self,
        finder: RunFinder,
        redactor: Redactor,
        kept: RunRecords | None,
        counts: LevelCounts,
    ) -> None:
        self._finder = finder
        self._redactor = redactor
        self._kept = kept
        self._counts = counts
        self._original: Callable[..., logging.LogRecord] | None = None
        self._wrapper: Callable[..., logging.LogRecord] | None = None
        self._active = False

    def install(self) -> None:
        """Begin to join records; a second call does nothing."""
        if self._active:
            return
        self._active = True
        original = self._original = logging.Logger.makeRecord

        def make_record(logger: logging.Logger, *args: Any, **kwargs: Any) -> logging.LogRecord:
            record = original(logger, *args, **kwargs)
            if self._active:
                self.join(record)
            return record

        self._wrapper = make_record
        logging.Logger.makeRecord = make_record  # type: ignore[assignment,method-assign]

    def uninstall(self) -> None:
        """Leave `logging` as it was found.

        Where something else has wrapped it in between, our part stays below and does nothing.
        """
        self._active = False
        if self._original is not None and logging.Logger.makeRecord is self._wrapper:
            logging.Logger.makeRecord = self._original  # type: ignore[method-assign]

    def join(self, record: logging.LogRecord) -> None:
        """Give one record its ids, take secrets out of it, count it and keep its text.

        Args:
            record: a record that was just made. One of ours about an ended run keeps its ids.
        """
        # What is done here may log (an argument's __str__): such a record gets its ids alone.
        nested = getattr(_joining, "inside", False)
        _joining.inside = True
        try:
            if hasattr(record, "studio_ended_run"):
                return
            run = self._identify(record.__dict__)
            if not nested:
                self._join(record, run)
        except Exception as error:
            report_internal_error("joining a log record to its operation", error)
        finally:
            _joining.inside = nested

    def _identify(self, fields: dict[str, Any]) -> OpenRun | None:
        """Set the ids in a record's fields, and return the run that goes on."""
        span, run = self._finder.current()
        trace_id = span_id = service = operation = ""
        if span is not None:
            context = span.get_span_context()
            if context.is_valid:
                trace_id = format_trace_id(context.trace_id)
                span_id = format_span_id(context.span_id)
        if run is not None:
            service, operation = run._tracer.name, run._name
        for name, value in zip(NO_IDS, (trace_id, span_id, service, operation), strict=True):
            fields.setdefault(name, value)
        return run

    def _join(self, record: logging.LogRecord, run: OpenRun | None) -> None:
        fields = record.__dict__
        if run is None:
            self._counts.add("", "", record.levelname)
        else:
            self._counts.add(run._tracer.name, run._name, record.levelname)
        message = self._redacted_message(record)
        exception = self._redacted_exception(record)
        self._redact_fields(fields)
        if run is not None and self._kept is not None:
            self._kept.add(
                run,
                KeptLog(
                    round(record.created * 1e9),
                    record.levelname,
                    record.name,
                    _cut(message, _MAX_MESSAGE),
                    None if exception is None else _cut(exception, _MAX_EXCEPTION),
                ),
            )

    def _redacted_message(self, record: logging.LogRecord) -> str:
        redactor = self._redactor
        if isinstance(record.args, Mapping):
            # `"%(password)s" % {...}` leaves no name in the text to tell the secret by.
            record.args = redactor.mapping(record.args)
        if isinstance(record.msg, Mapping):  # as structlog's own formatter takes it
            record.msg = redactor.mapping(record.msg)
            return redactor.text(str(record.msg))
        try:
            message = record.getMessage()
        except Exception:  # wrong arguments: every handler says so by itself
            return redactor.text(str(record.msg))
        found = redactor.text(message)
        if found is not message:
            record.msg, record.args = found, None
        return found

    def _redacted_exception(self, record: logging.LogRecord) -> str | None:
        redactor = self._redactor
        if record.stack_info:
            record.stack_info = redactor.text(record.stack_info)
        error = record.exc_info
        if not isinstance(error, tuple) or error[1] is None:
            return None
        text = "".join(traceback.format_exception(*error)).rstrip("\n")
        found = redactor.text(text)
        if found is not text:
            # Handlers that render the exception themselves must not get at the secret.
            record.exc_text, record.exc_info = found, None
            message = redactor.text(str(error[1]))
            setattr(record, EXCEPTION_ATTRIBUTE, (error[0].__name__, message, found))
        return found

    def _redact_fields(self, fields: dict[str, Any]) -> None:
        for name in [name for name in fields if name not in _STANDARD]:
            value = fields[name]
            if self._redactor.is_secret(name):
                fields[name] = REDACTED
            elif isinstance(value, str | bytes | list | tuple | Mapping):
                fields[name] = self._redactor.value(name, value)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


#: What every record has: `extra` is the rest.
_STANDARD = frozenset(
    {*logging.makeLogRecord({}).__dict__, "taskName", "message", "asctime", *NO_IDS}
) | {EXCEPTION_ATTRIBUTE}
