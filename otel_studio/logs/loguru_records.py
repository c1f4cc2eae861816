"""A sink of loguru's that joins, counts, keeps and sends its messages like those of `logging`."""

from __future__ import annotations

import logging
from typing import Any

from otel_studio.base.guard import report_internal_error
from otel_studio.logs.joining import handled_record, installed_joins


def loguru_sink(message: Any) -> None:
    """Take a message of loguru's, once.

    To be added without `enqueue=True`: in the thread that loguru takes for it no operation runs.
    Where loguru gets its messages from `logging`, by a handler that hands them on, they are not
    taken a second time. It changes nothing that other sinks write.

    Args:
        message: what loguru hands to its sinks, a text with the attribute `record`.

    Example:
        >>> from loguru import logger
        >>> number = logger.add(loguru_sink, level="INFO")
        >>> logger.bind(order=5).info("stock is low")
        >>> logger.remove(number)
    """
    try:
        fields = message.record
        handled = handled_record()
        if handled is not None and handled.getMessage() == fields["message"]:
            return
        for join in installed_joins():
            join.take_of(_record(fields))
    except Exception as error:
        report_internal_error("taking a message of loguru's", error)


def _record(fields: dict[str, Any]) -> logging.LogRecord:
    exception = fields["exception"]
    error = None
    if exception is not None and exception.value is not None:
        error = (exception.type, exception.value, exception.traceback)
    record = logging.LogRecord(
        fields["name"] or "",
        fields["level"].no,
        fields["file"].path,
        fields["line"],
        fields["message"],
        None,
        error,
        fields["function"],
    )
    record.levelname = fields["level"].name
    record.created = fields["time"].timestamp()
    record.thread, record.threadName = fields["thread"].id, fields["thread"].name
    for name, value in fields["extra"].items():
        record.__dict__.setdefault(name, value)
    return record
