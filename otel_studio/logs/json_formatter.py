"""A formatter that writes each log record as one line of JSON, with the ids of its operation."""

from __future__ import annotations

import copy
import logging
from typing import Any

from otel_studio.base.record import iso_time
from otel_studio.base.text import safe_value
from otel_studio.logs.joining import NO_IDS

try:
    from pythonjsonlogger.json import JsonFormatter as _Base
except ImportError as error:
    raise ImportError(
        "the JSON formatter needs a package that is not installed: install otel-studio[logging]"
    ) from error

_NAMES = {"studio_service": "service", "studio_operation": "operation"}


class JsonFormatter(_Base):
    """Writes time, level, logger, message, the ids of the operation, `extra` and the exception.

    Outside of any operation the ids are left out.

    Args:
        **options: as for `pythonjsonlogger.json.JsonFormatter`, such as `json_indent`.

    Example:
        >>> handler = logging.StreamHandler()
        >>> handler.setFormatter(JsonFormatter())
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(reserved_attrs=_RESERVED, **options)

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; the text of its exception is the one that it has already.

        Args:
            record: any.
        """
        if record.exc_text and record.exc_info:
            record = copy.copy(record)
            record.exc_info = None
        return str(super().format(record))

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        """Fill one line; called by the library for each record."""
        log_data["timestamp"] = iso_time(round(record.created * 1e9))
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        for name in NO_IDS:
            value = getattr(record, name, "")
            if value:
                log_data[_NAMES.get(name, name)] = value
        super().add_fields(log_data, record, message_dict)
        for name, value in log_data.items():
            log_data[name] = safe_value(value)  # strict readers refuse a lone surrogate


_RESERVED = [
    *logging.makeLogRecord({}).__dict__,
    *("message", "asctime", "taskName"),
    *NO_IDS,
    "studio_ended_run",
]
