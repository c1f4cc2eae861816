"""A processor of structlog's that joins, counts, keeps and sends its events like `logging`'s."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

from otel_studio.base.guard import report_internal_error
from otel_studio.logs.joining import LogJoin, installed_joins
from otel_studio.logs.record_redaction import event_of

_LEVELS = {"warn": "WARNING", "exception": "ERROR", "fatal": "CRITICAL", "msg": "INFO"}
#: What processors of structlog's put into an event that a record has a place for.
_PLACED = frozenset(
    {"exc_info", "exception", "stack_info", "stack", "level", "logger", "timestamp"}
)


def structlog_processor(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Give an event of structlog's the ids of its operation, and take it, once.

    It may stand anywhere before the renderer. An event that structlog hands on to `logging` only
    gets its ids here, and is taken there. Secrets are taken out of what goes on to the renderer
    where `redact_logs` asks for it.

    Args:
        logger: what structlog wraps.
        method_name: the method that was called, such as `info`.
        event_dict: what was logged.

    Returns:
        the event, with `trace_id`, `span_id`, `studio_service` and `studio_operation` in it
        where it was logged inside an operation.

    Example:
        >>> import structlog
        >>> processors = structlog.get_config()["processors"]
        >>> structlog.configure(processors=[structlog_processor, *processors])
        >>> structlog.reset_defaults()
    """
    try:
        joins = installed_joins()
        if not isinstance(logger, logging.Logger):
            for join in joins:
                join.take_of(_record(logger, method_name, event_dict))
        for join in joins:
            _join(join, event_dict)
    except Exception as error:
        report_internal_error("taking an event of structlog's", error)
    return event_dict


def _join(join: LogJoin, event_dict: MutableMapping[str, Any]) -> None:
    for name, value in join.ids().items():
        if value:
            event_dict.setdefault(name, value)
    if join.redacts_records:
        for name, value in list(event_dict.items()):
            found = join.redactor.value(name, value)
            if found is not value:
                event_dict[name] = found


def _record(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> logging.LogRecord:
    level = str(event_dict.get("level") or method_name).lower()
    level = _LEVELS.get(level, level.upper())
    number = logging.getLevelNamesMapping().get(level, logging.INFO)
    name = str(event_dict.get("logger") or getattr(logger, "name", None) or "structlog")
    record = logging.LogRecord(name, number, "", 0, "", None, None)
    record.msg, fields = event_of(event_dict)
    record.levelname = level
    exception = event_dict.get("exception")
    if isinstance(exception, str):  # rendered before us
        record.exc_text = record.__dict__["exception.stacktrace"] = exception
    else:
        record.exc_info = _exception(method_name, event_dict.get("exc_info"))
    for key, value in fields.items():
        if key not in _PLACED:
            record.__dict__.setdefault(key, value)
    return record


def _exception(method_name: str, given: Any) -> Any:
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if isinstance(given, tuple):
        return given
    if given or (given is None and method_name == "exception"):
        found = sys.exc_info()
        return found if found[1] is not None else None
    return None
