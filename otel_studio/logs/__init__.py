"""Log records joined to operations: the same ids, kept with failed and slow runs, redacted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_studio.base.face import lazy_names

if TYPE_CHECKING:
    from otel_studio.logs.joining import NO_IDS
    from otel_studio.logs.json_formatter import JsonFormatter
    from otel_studio.logs.loguru_records import loguru_sink
    from otel_studio.logs.structlog_records import structlog_processor

__all__ = ["NO_IDS", "JsonFormatter", "loguru_sink", "structlog_processor"]

# The formatter needs the extra `logging`.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "NO_IDS": "otel_studio.logs.joining",
        "JsonFormatter": "otel_studio.logs.json_formatter",
        "loguru_sink": "otel_studio.logs.loguru_records",
        "structlog_processor": "otel_studio.logs.structlog_records",
    },
)
