"""Takes secrets out of log records argument by argument: handlers find what they expect."""

from __future__ import annotations

import copy
import logging
import re
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple

from otel_studio.spans.redaction import REDACTED, Redactor

#: Attributes that a record carries of the run it was made in, empty outside of any run.
ID_NAMES = ("trace_id", "span_id", "studio_service", "studio_operation")

_HEADER = re.compile(r"\{(.+)\}[a-z]")

#: What every record has: `extra` is the rest.
_STANDARD = frozenset(
    {*logging.makeLogRecord({}).__dict__, "taskName", "message", "asctime", *ID_NAMES}
)


class CleanText(NamedTuple):
    """What a record says, without secrets."""

    message: str
    #: The arguments, the same object where none was secret by itself.
    arguments: Any
    #: Whether a secret showed only in the message as a whole.
    is_rewritten: bool


class RecordRedactor:
    """Finds what a record says without its secrets; changes it only where it is asked to.

    Args:
        redactor: knows what is secret.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def text(self, record: logging.LogRecord) -> CleanText:
        """Return a record's message without secrets; the record stays as it is.

        Args:
            record: of any logger; one whose arguments do not fit keeps its format string.
        """
        redactor, message = self._redactor, record.msg
        if isinstance(message, Mapping):  # as structlog's own formatter takes it
            text = str(redactor.mapping(message))
            return CleanText(redactor.text(text), record.args, is_rewritten=False)
        arguments = self._arguments(record.args)
        try:
            text = str(message)
            if arguments:
                text = text % arguments
        except Exception:  # wrong arguments: every handler says so by itself
            text = str(message) if isinstance(message, str) else f"<{type(message).__name__}>"
            return CleanText(redactor.text(text), arguments, is_rewritten=False)
        found = redactor.text(text)
        return CleanText(found, arguments, found is not text)

    def exception(self, record: logging.LogRecord) -> str | None:
        """Return the stack of a record's exception without secrets, `None` without exception."""
        error = record.exc_info
        if not isinstance(error, tuple) or error[1] is None:
            return self._redactor.text(record.exc_text) if record.exc_text else None
        return self._redactor.text("".join(traceback.format_exception(*error)).rstrip("\n"))

    def redact(self, record: logging.LogRecord, text: CleanText) -> None:
        """Take secrets out of a record that the program's own handlers will get.

        Number and order of the arguments stay, and so do the types of those that hold no
        secret; `exc_info` stays whole, and its text is the redacted one for every formatter
        that takes `exc_text`.

        Args:
            record: what is changed.
            text: what `text` gave for it.
        """
        redactor = self._redactor
        if isinstance(record.msg, Mapping):
            record.msg = redactor.mapping(record.msg)
        elif text.is_rewritten:
            self._rewrite(record, text)
        elif text.arguments is not record.args:
            record.args = text.arguments
        if record.stack_info:
            record.stack_info = redactor.text(record.stack_info)
        stack = self.exception(record)
        if stack is not None and REDACTED in stack:
            record.exc_text = stack
        self._redact_fields(record.__dict__)

    def _arguments(self, arguments: Any) -> Any:
        if isinstance(arguments, Mapping):
            return self._mapping(arguments)
        if not isinstance(arguments, tuple):
            return arguments
        found = tuple(
            self._mapping(one) if isinstance(one, Mapping) else self._redactor.value("", one)
            for one in arguments
        )
        if all(one is other for one, other in zip(found, arguments, strict=True)):
            return arguments
        return found

    def _mapping(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a mapping of its own kind: one may know more keys than it lists."""
        try:
            changed = {
                key: found
                for key, value in values.items()
                if (found := self._redactor.value(_field_name(key), value)) is not value
            }
            if not changed:
                return values
            copied: Any = copy.copy(values)
            for key, found in changed.items():
                copied[key] = found
        except Exception:  # a kind that can be neither listed, copied nor written
            return _Shown(values, self._redactor)
        return copied if copied is not values else _Shown(values, self._redactor)

    def _rewrite(self, record: logging.LogRecord, text: CleanText) -> None:
        """Put the redacted message in place of one that shows a secret only as a whole."""
        arguments = text.arguments
        whole = _formatted(record.msg, arguments)
        if isinstance(arguments, tuple):
            arguments = tuple(self._hidden(one, whole, text.message) for one in arguments)
        elif isinstance(arguments, Mapping):
            hidden = {
                key: self._hidden(value, whole, text.message) for key, value in arguments.items()
            }
            if any(hidden[key] is not arguments[key] for key in hidden):
                arguments = hidden
        record.args = arguments
        if _formatted(record.msg, arguments) == text.message:
            return
        message = text.message
        if arguments:
            message = message.replace("%", "%%")
        if isinstance(arguments, tuple):
            message += "%.0s" * len(arguments)  # takes each argument and prints nothing
        record.msg = message

    def _hidden(self, argument: Any, whole: str, redacted: str) -> Any:
        """Return an argument as it was, or redacted where the message no longer shows it."""
        try:
            shown = str(argument)
        except Exception:
            return argument
        if not shown or whole.count(shown) <= redacted.count(shown):
            return argument
        found = self._redactor.text(shown)
        return REDACTED if found is shown else found

    def _redact_fields(self, fields: dict[str, Any]) -> None:
        for name in [name for name in fields if name not in _STANDARD]:
            value = fields[name]
            if self._redactor.is_secret(name):
                fields[name] = REDACTED
            elif isinstance(value, str | bytes | list | tuple | Mapping):
                fields[name] = self._redactor.value(name, value)


def event_of(event: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what an event of structlog's says, and its other fields.

    Args:
        event: a mapping, with the text under `event`.
    """
    fields = {str(key): value for key, value in event.items() if not str(key).startswith("_")}
    return str(fields.pop("event", "")), fields


class _Shown(Mapping[str, Any]):
    """A mapping that redacts each value when it is asked for; any key that the other knows."""

    def __init__(self, values: Mapping[str, Any], redactor: Redactor) -> None:
        self._values = values
        self._redactor = redactor

    def __getitem__(self, key: str) -> Any:
        return self._redactor.value(_field_name(key), self._values[key])

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _field_name(key: Any) -> str:
    """Return what a key names: in an access log's fields `{cookie}i` is the header."""
    match = _HEADER.fullmatch(key) if isinstance(key, str) else None
    return str(key) if match is None else match[1]


def _formatted(message: Any, arguments: Any) -> str:
    try:
        return str(message) % arguments if arguments else str(message)
    except Exception:  # a secret number that became text
        return ""
