"""Makes the text of log records safe, before they are kept with a run or wait to be sent."""

from __future__ import annotations

import dataclasses
from typing import Any

from otel_studio.base.resources import safe_scope
from otel_studio.base.text import safe, safe_attributes, safe_line, safe_value
from otel_studio.spans.ended_run import KeptLog


def safe_log(record: KeptLog) -> KeptLog:
    """Return a record that is kept with safe text; the same object where it is safe.

    Args:
        record: of a run.
    """
    level, logger = safe_line(record.level), safe_line(record.logger)
    message = safe(record.message)
    exception = None if record.exception is None else safe(record.exception, None)
    if (
        level is record.level
        and logger is record.logger
        and message is record.message
        and exception is record.exception
    ):
        return record
    return dataclasses.replace(
        record, level=level, logger=logger, message=message, exception=exception
    )


#: The first time that OTLP's 64 bits cannot hold, in nanoseconds since the Unix epoch.
_TIME_END = 1 << 64


def _time(value: Any) -> int | None:
    """Return a time that OTLP can carry, `None` for one that it cannot."""
    return value if isinstance(value, int) and 0 <= value < _TIME_END else None


def make_safe(record: Any) -> None:
    """Make the times and the text of a record that is to be sent safe, in place.

    One that no encoder takes would be lost, and with it all that is sent with it.

    Args:
        record: what a log record processor of OpenTelemetry's SDK is given.
    """
    scope = record.instrumentation_scope
    if scope is not None:
        record.instrumentation_scope = safe_scope(scope)  # the logger's name
    data = record.log_record
    data.timestamp = _time(data.timestamp)
    data.observed_timestamp = _time(data.observed_timestamp)
    if data.severity_text is not None:
        data.severity_text = safe_line(str(data.severity_text))
    if data.event_name is not None:
        data.event_name = safe_line(str(data.event_name))
    if data.body is not None:
        data.body = safe_value(data.body)
    attributes = data.attributes
    if attributes:
        found = safe_attributes(attributes)
        if found is not attributes:
            for key in list(attributes):
                del attributes[key]
            for key, value in found.items():
                attributes[key] = value
