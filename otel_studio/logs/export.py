"""Sends log records to OpenTelemetry exporters, through OpenTelemetry's own handler."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api

from otel_studio.base.otel_private import SUPPRESS_KEY
from otel_studio.logs.joining import EXCEPTION_ATTRIBUTE
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
    EXCEPTION_ATTRIBUTE: None,
}
_EXCEPTION_NAMES = ("exception.type", "exception.message", "exception.stacktrace")


class LogExport:
    """A logger provider of ours, and the handler on the root logger that feeds it.

    Args:
        resource: who emits the records.
        exporters: OpenTelemetry log record exporters.
        redactor: takes secrets out of each record before it waits for export.
    """

    def __init__(self, resource: Resource, exporters: Sequence[Any], redactor: Redactor) -> None:
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

        self.exporters = list(exporters)
        self.provider: LoggerProvider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_log_record_processor(_cleaner(redactor))
        for exporter in self.exporters:
            self.provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        self._handler = _handler(self.provider)
        self._handler.addFilter(_not_from_an_exporter)
        self._installed = False

    def install(self) -> None:
        """Add the handler to the root logger, unless another of its kind is there already."""
        self._installed = True
        self.keep_installed()

    def keep_installed(self) -> None:
        """Add the handler again where the program has configured `logging` anew."""
        root = logging.getLogger()
        kind = type(self._handler).__name__
        if self._installed and not any(type(h).__name__ == kind for h in root.handlers):
            root.addHandler(self._handler)

    def uninstall(self) -> None:
        """Take the handler off the root logger."""
        self._installed = False
        logging.getLogger().removeHandler(self._handler)

    def force_flush(self, timeout: float) -> bool:
        """Send what waits.

        Args:
            timeout: milliseconds are what the SDK takes; this is in seconds.
        """
        return bool(self.provider.force_flush(round(timeout * 1000)))

    def shutdown(self) -> None:
        """Send what waits and stop; `exporters` can be shut down to cut this short."""
        self.provider.shutdown()


def _handler(provider: LoggerProvider) -> logging.Handler:
    try:
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
    except ImportError:
        from opentelemetry.sdk._logs import LoggingHandler  # type: ignore[assignment]
    with warnings.catch_warnings():
        # The SDK's own is deprecated where the other package has taken it over.
        warnings.simplefilter("ignore", DeprecationWarning)
        return LoggingHandler(logger_provider=provider)


def _not_from_an_exporter(record: logging.LogRecord) -> bool:
    """Refuse what exporters log while they send: sending it would make more of it."""
    return not context_api.get_value(SUPPRESS_KEY) or hasattr(record, "studio_ended_run")


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
        if wire_name is not None and value not in ("", None):
            values[wire_name] = redactor.value(name, value)
    exception = dict(attributes).get(EXCEPTION_ATTRIBUTE)
    if exception is not None:
        values.update(zip(_EXCEPTION_NAMES, exception, strict=False))
    for name in list(attributes):
        del attributes[name]
    for name, value in values.items():
        attributes[name] = value
    if isinstance(record.body, str):
        record.body = redactor.text(record.body)
    elif record.body is not None:
        record.body = redactor.value("", record.body)
