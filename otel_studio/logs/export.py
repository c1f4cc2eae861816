"""Sends log records to OpenTelemetry exporters, as OpenTelemetry's own handler writes them."""

from __future__ import annotations

import copy
import logging
import threading
import warnings
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import _logs
from opentelemetry import context as context_api

from otel_studio.base import otel_sdk_private
from otel_studio.base.delivery import Ledger
from otel_studio.base.otel_private import SUPPRESS_KEY
from otel_studio.logs.record_redaction import CleanText, event_of
from otel_studio.logs.safe_records import make_safe
from otel_studio.spans.redaction import Redactor

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.resources import Resource

#: Attributes of a record by their names on the wire; `None` leaves out what the record has a
#: place for.
_WIRE_NAMES: dict[str, str | None] = {
    "trace_id": None,
    "span_id": None,
    "studio_service": "studio.service",
    "studio_operation": "studio.operation",
    "studio_ended_run": "studio.ended_run",
    "duration_ms": "studio.duration_ms",
    "held_back": "studio.held_back",
}


class _Here(threading.local):
    """What the calling thread sends: `None`, or the records that came while it did."""

    waiting: deque[logging.LogRecord] | None = None


class LogExport:
    """A logger provider of ours, fed record by record; no handler of ours is on any logger.

    Args:
        resource: who emits the records.
        exporters: OpenTelemetry log record exporters; what one with a `ledger` loses is counted.
        redactor: takes secrets out of each record before it waits for export.
        max_bytes: what large records that wait for an exporter may hold.
    """

    def __init__(
        self, resource: Resource, exporters: Sequence[Any], redactor: Redactor, max_bytes: int
    ) -> None:
        from opentelemetry.sdk._logs import LoggerProvider

        from otel_studio.logs.sized_queue import SizedQueue

        self.exporters = list(exporters)
        self.provider: LoggerProvider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_log_record_processor(_cleaner(redactor))
        self._queues = [SizedQueue(exporter, max_bytes) for exporter in self.exporters]
        for queue in self._queues:
            self.provider.add_log_record_processor(queue)
        self._handler = _handler(self.provider)
        # `dictConfig` flushes every handler that is alive, on any logger or on none.
        self._handler.flush = _nothing  # type: ignore[method-assign]
        self._here = _Here()

    def wants(self, record: logging.LogRecord, logger: logging.Logger | None) -> bool:
        """Tell whether a record is to be sent.

        Not what exporters log while they send: sending it would make more of it. Nor what
        another OpenTelemetry handler of the program's sends already.

        Args:
            record: of any library.
            logger: whose record it is, `None` for that of another library.
        """
        if context_api.get_value(SUPPRESS_KEY) and not hasattr(record, "studio_ended_run"):
            return False
        return logger is None or not _is_sent_by_another(logger)

    def send(self, record: logging.LogRecord, text: CleanText) -> None:
        """Let a record wait to be sent; it stays as it is.

        Args:
            record: what the program logged.
            text: what it says without secrets.
        """
        copied = copy.copy(record)
        copied.msg, copied.args = text.message, None
        if isinstance(record.msg, Mapping) and "event" in record.msg:  # structlog's
            copied.msg, fields = event_of(record.msg)
            for name, value in fields.items():
                copied.__dict__.setdefault(name, value)
        waiting = self._here.waiting
        if waiting is not None:  # a finalizer logs while the SDK holds locks of its own
            waiting.append(copied)
            return
        waiting = self._here.waiting = deque([copied])
        try:
            while waiting:
                self._handler.emit(waiting.popleft())
        finally:
            self._here.waiting = None

    def after_fork_in_child(self) -> None:
        """Count from zero in a forked child."""
        for exporter in self.exporters:
            if hasattr(exporter, "ledger"):
                exporter.ledger = Ledger()

    def force_flush(self, timeout: float) -> bool:
        """Send what waits.

        Args:
            timeout: milliseconds are what the SDK takes; this is in seconds.
        """
        before = self.dropped.total()
        done = bool(self.provider.force_flush(round(timeout * 1000)))
        return done and self.dropped.total() == before

    def shutdown(self) -> bool:
        """Send what waits and stop; `exporters` can be shut down to cut this short.

        Returns:
            whether everything was sent.
        """
        before = self.dropped.total()
        self.provider.shutdown()
        return self.dropped.total() == before

    @property
    def dropped(self) -> Counter[str]:
        """Records that did not arrive, by reason."""
        return sum((ledger.lost for ledger in self.ledgers), Counter())

    @property
    def ledgers(self) -> list[Ledger]:
        """Of the exporters that keep one."""
        return [exporter.ledger for exporter in self.exporters if hasattr(exporter, "ledger")]

    @property
    def outstanding(self) -> int:
        """Records that wait, and those that an exporter has now."""
        waiting: int = sum(map(otel_sdk_private.log_records_waiting, self._queues))
        return waiting + sum(ledger.in_hand for ledger in self.ledgers)


def _handler(provider: LoggerProvider) -> logging.Handler:
    try:
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
    except ImportError:
        from opentelemetry.sdk._logs import LoggingHandler  # type: ignore[assignment]
    with warnings.catch_warnings():
        # The SDK's own is deprecated where the other package has taken it over.
        warnings.simplefilter("ignore", DeprecationWarning)
        return LoggingHandler(logger_provider=provider)


def _nothing() -> None:
    """Stand for the flush of a handler: `force_flush` and `shutdown` send what waits."""


def _is_sent_by_another(logger: logging.Logger | None) -> bool:
    """Tell whether a handler of OpenTelemetry's kind sends what a logger's handlers get."""
    while logger is not None:
        for handler in logger.handlers:
            if type(handler).__name__ == "LoggingHandler" and _sends(handler):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def _sends(handler: logging.Handler) -> bool:
    """Tell whether a handler has a provider behind it that does more than nothing."""
    provider: Any = getattr(handler, "_logger_provider", None)
    if type(provider).__name__ == "ProxyLoggerProvider":
        provider = _logs.get_logger_provider()
    idle = ("ProxyLoggerProvider", "NoOpLoggerProvider", "NoneType")
    return type(provider).__name__ not in idle


def _cleaner(redactor: Redactor) -> Any:
    from opentelemetry.sdk._logs import LogRecordProcessor

    class Cleaner(LogRecordProcessor):
        """Gives attributes their names on the wire and takes secrets out; stands first."""

        def on_emit(self, log_record: Any) -> None:
            clean(log_record.log_record, redactor)
            make_safe(log_record)

        def shutdown(self) -> None:
            pass

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return True

    return Cleaner()


def clean(record: Any, redactor: Redactor) -> None:
    """Rename and redact what a record is about to send, in place.

    Args:
        record: an OpenTelemetry log record.
        redactor: knows what is secret.
    """
    attributes = record.attributes or {}
    values: dict[str, Any] = {}
    for name, value in dict(attributes).items():
        wire_name = _WIRE_NAMES.get(name, name)
        if wire_name is not None and not _is_empty(value):
            values[wire_name] = redactor.value(name, value)
    for name in list(attributes):
        del attributes[name]
    for name, value in values.items():
        attributes[name] = value
    if isinstance(record.body, str):
        record.body = redactor.text(record.body)
    elif record.body is not None:
        record.body = redactor.value("", record.body)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value)
