"""Gives every record of the standard `logging` the ids of its operation, and takes it once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import format_span_id, format_trace_id

from otel_studio.base.guard import report_internal_error
from otel_studio.logs.level_counts import LevelCounts
from otel_studio.logs.made_records import MadeRecords
from otel_studio.logs.record_redaction import ID_NAMES, RecordRedactor
from otel_studio.logs.runs import RunFinder, RunRecords
from otel_studio.spans.ended_run import KeptLog
from otel_studio.spans.redaction import Redactor

if TYPE_CHECKING:
    from otel_studio.logs.export import LogExport

#: The attributes that a record carries, empty outside of any operation. For
#: `logging.Formatter(format, defaults=NO_IDS)`: records made before `configure()` and after
#: `shutdown()` have none, and a format string that names them would lose such a record.
NO_IDS = dict.fromkeys(ID_NAMES, "")

#: Service, operation and level.
_Counted = tuple[str, str, str]

_MAX_MESSAGE = 2_000
_MAX_EXCEPTION = 8_000
#: How deep records are read that were made while another one was read; deeper ones are counted.
_MAX_NESTED = 4


class _Here(threading.local):
    """What goes on in the calling thread."""

    #: How many records are being taken, one inside another.
    depth = 0
    #: The record that the program's handlers are given just now.
    record: logging.LogRecord | None = None


_here = _Here()
#: The joins that are installed, for records of other libraries than `logging`.
_installed: list[LogJoin] = []


class LogJoin:
    """Joins records to runs from `install()` to `uninstall()`, and takes each of them once.

    A record gets its ids where it is made, in `Logger.makeRecord`, so that filters see them.
    (The record factory would be too early: `logging` refuses an `extra` whose name the factory
    has set already, and `extra={"trace_id": ...}` is common.) It is counted, kept and sent where
    its logger hands it to the program's handlers, in `Logger.callHandlers`, whatever these are: no
    handler of ours is on any logger, which would turn `basicConfig()` and the last resort off.
    A record that is made and given to a handler past every logger is taken there.

    Args:
        finder: finds the run that goes on.
        redactor: knows what is secret.
        kept: keeps the last records with their runs, or `None` to keep none.
        counts: counts the records by level.
        redacts_records: whether secrets are taken out of the records themselves too, so that
            the program's own handlers get them redacted.
    """

    def __init__(
        self,
        finder: RunFinder,
        redactor: Redactor,
        kept: RunRecords | None,
        counts: LevelCounts,
        redacts_records: bool = False,
    ) -> None:
        self._finder = finder
        self.redactor = redactor
        self._records = RecordRedactor(redactor)
        self._kept = kept
        self._counts = counts
        self.redacts_records = redacts_records and not redactor.is_idle
        #: Sends the records, where they are exported.
        self.export: LogExport | None = None
        self._made = MadeRecords()
        self._patches: list[tuple[type, str, Any, Any]] = []
        self._active = False

    def install(self) -> None:
        """Begin to join records; a second call does nothing."""
        if self._active:
            return
        self._active = True
        self._patch(logging.Logger, "makeRecord", self._make_record)
        self._patch(logging.Logger, "callHandlers", self._call_handlers)
        self._patch(logging.Handler, "handle", self._handle)
        _installed.append(self)

    def uninstall(self) -> None:
        """Leave `logging` as it was found.

        Where something else has wrapped it in between, our part stays below and does nothing.
        """
        self._active = False
        if self in _installed:
            _installed.remove(self)
        for owner, name, original, ours in self._patches:
            if getattr(owner, name) is ours:
                setattr(owner, name, original)
        self._patches = []

    def _patch(self, owner: type, name: str, wrap: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)
        ours = wrap(original)
        ours.__wrapped__ = original
        self._patches.append((owner, name, original, ours))
        setattr(owner, name, ours)

    def _make_record(self, original: Callable[..., logging.LogRecord]) -> Any:
        def make_record(logger: logging.Logger, *args: Any, **kwargs: Any) -> logging.LogRecord:
            record = original(logger, *args, **kwargs)
            if self._active:
                self.identify(record)
            return record

        return make_record

    def _call_handlers(self, original: Callable[..., None]) -> Any:
        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            if not self._active:
                return original(logger, record)
            counted = self._take_from_logger(logger, record)
            outer, _here.record = _here.record, record
            try:
                return original(logger, record)
            finally:
                _here.record = outer
                if counted is not None:  # last: what is counted was seen by every handler
                    self._counts.add(*counted)

        return call_handlers

    def _handle(self, original: Callable[..., Any]) -> Any:
        def handle(handler: logging.Handler, record: logging.LogRecord) -> Any:
            if not (self._made and self._active and self._made.discard(record)):
                return original(handler, record)
            counted = self.take(record)
            try:
                return original(handler, record)
            finally:
                if counted is not None:
                    self._counts.add(*counted)

        return handle

    def identify(self, record: logging.LogRecord) -> None:
        """Give a record that was just made the ids of the run it is made in.

        Args:
            record: one of ours about an ended run has its ids already.
        """
        try:
            if not hasattr(record, "studio_ended_run"):
                self._set_ids(record.__dict__)
            self._made.add(record)
        except Exception as error:
            report_internal_error("joining a log record to its operation", error)

    def _take_from_logger(
        self, logger: logging.Logger, record: logging.LogRecord
    ) -> _Counted | None:
        if not self._made.discard(record):
            if "studio_service" in record.__dict__:
                return None  # taken before; a queue or another process hands it, or a copy, on
            self.identify(record)  # made past `makeRecord`
            self._made.discard(record)
        return self.take(record, logger)

    def take(
        self, record: logging.LogRecord, logger: logging.Logger | None = None
    ) -> _Counted | None:
        """Keep a record's text with its run, and send it; both without secrets.

        Args:
            record: has its ids.
            logger: whose record it is, `None` for that of another library.

        Returns:
            under what it is to be counted; `None` for one of ours about an ended run.
        """
        # What is done here may log (an argument's __str__, a finalizer).
        _here.depth += 1
        try:
            return self._take(record, logger, _here.depth <= _MAX_NESTED)
        except Exception as error:
            report_internal_error("taking a log record", error)
            return "", "", record.levelname
        finally:
            _here.depth -= 1

    def take_of(self, record: logging.LogRecord) -> None:
        """Take a record that stands for what another library logged.

        Args:
            record: made for us alone; gets its ids here.
        """
        self._set_ids(record.__dict__)
        counted = self.take(record)
        if counted is not None:
            self._counts.add(*counted)

    def _take(
        self, record: logging.LogRecord, logger: logging.Logger | None, is_read: bool
    ) -> _Counted | None:
        is_report = hasattr(record, "studio_ended_run")
        run = None if is_report else self._finder.current()[1]
        counted: _Counted | None = None
        if run is not None:
            counted = run._tracer.name, run._name, record.levelname
        elif not is_report:
            counted = "", "", record.levelname
        keeps = run is not None and self._kept is not None
        sends = self.export is not None and self.export.wants(record, logger)
        if not is_read or not (keeps or sends or self.redacts_records):
            return counted
        text = self._records.text(record)
        if keeps:
            self._keep(run, record, text.message)
        if sends and self.export is not None:
            self.export.send(record, text)
        if self.redacts_records:
            self._records.redact(record, text)
        return counted

    def _keep(self, run: Any, record: logging.LogRecord, message: str) -> None:
        exception = self._records.exception(record)
        kept = KeptLog(
            round(record.created * 1e9),
            record.levelname,
            record.name,
            _cut(message, _MAX_MESSAGE),
            None if exception is None else _cut(exception, _MAX_EXCEPTION),
        )
        if self._kept is not None:
            self._kept.add(run, kept)

    def _set_ids(self, fields: dict[str, Any]) -> None:
        for name, value in self.ids().items():
            fields.setdefault(name, value)

    def ids(self) -> dict[str, str]:
        """Return the ids of the run that goes on, empty outside of any."""
        span, run = self._finder.current()
        trace_id = span_id = service = operation = ""
        if span is not None:
            context = span.get_span_context()
            if context.is_valid:
                trace_id = format_trace_id(context.trace_id)
                span_id = format_span_id(context.span_id)
        if run is not None:
            service, operation = run._tracer.name, run._name
        return dict(zip(ID_NAMES, (trace_id, span_id, service, operation), strict=True))


def installed_joins() -> list[LogJoin]:
    """Return the joins that are installed, the first one first."""
    return list(_installed)


def handled_record() -> logging.LogRecord | None:
    """Return the record of `logging` that handlers are given just now in the calling thread."""
    return _here.record


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
