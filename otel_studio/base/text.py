"""Makes text safe and short where it enters: for terminals, text formats and UTF-8, in one way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

#: Characters kept of a name: of a service, an operation, a cache, a label.
MAX_NAME: Final = 512
#: Characters kept of a message: of an exception, a log record.
MAX_MESSAGE: Final = 4_096

#: Stands for every character that is taken out.
REPLACEMENT: Final = "�"
#: Lone surrogates, which UTF-8 has no bytes for; C0, DEL and C1, which terminals obey; and what
#: turns the direction of a text, by which one name looks like another.
_UNSAFE: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069"
_unsafe_in_text: Final = re.compile(f"\r\n|[{_UNSAFE}]")
_unsafe_in_line: Final = re.compile(f"\r\n|[{_UNSAFE}\t\n\u2028\u2029]")
_BREAKS: Final = frozenset(("\r\n", "\t", "\n", "\v", "\f", "\r", "\x85", "\u2028", "\u2029"))
#: Values inside of values that are looked through.
_MAX_DEPTH: Final = 8


def safe(text: str, limit: int | None = MAX_MESSAGE) -> str:
    r"""Return a text of several lines that no terminal obeys and every encoder takes.

    Args:
        text: such as a message, or an attribute's value.
        limit: the most characters returned, `None` for all; a longer text ends in an ellipsis.

    Returns:
        the same object where there is nothing to do.

    Example:
        >>> safe("two\nlines \x1b[31m")
        'two\nlines �[31m'
    """
    # In C, and true of nearly every text; it says no of line ends, too.
    if type(text) is str and text.isprintable() and (limit is None or len(text) <= limit):
        return text
    return _made_safe(text, limit, _unsafe_in_text, _in_text)


def safe_line(text: str, limit: int | None = MAX_NAME) -> str:
    r"""Return a text of one line, as `safe` does; line ends and tabs become spaces.

    Args:
        text: such as a name.
        limit: as for `safe`.

    Example:
        >>> safe_line("caf\udce9\nau lait")
        'caf� au lait'
    """
    if type(text) is str and text.isprintable() and (limit is None or len(text) <= limit):
        return text
    return _made_safe(text, limit, _unsafe_in_line, _in_line)


def safe_value(value: Any, limit: int | None = None) -> Any:
    """Return an attribute's value with safe text in it; the same object where it is safe.

    Args:
        value: text, number, bytes, or a sequence or mapping of them.
        limit: the most characters of each text, `None` for all.
    """
    return _safe_value(value, limit, _MAX_DEPTH)


def safe_attributes(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return attributes with safe keys and values; the same object where they are safe.

    Args:
        values: values by key; what is no text stays as it is.
    """
    return _safe_mapping(values, None, _MAX_DEPTH)


def _safe_value(value: Any, limit: int | None, depth: int) -> Any:
    if isinstance(value, str):
        return safe(value, limit)
    if isinstance(value, bytes) or depth <= 0:
        return value
    if isinstance(value, Mapping):
        return _safe_mapping(value, limit, depth - 1)
    if isinstance(value, Sequence):
        items = [_safe_value(item, limit, depth - 1) for item in value]
        if all(one is other for one, other in zip(items, value, strict=True)):
            return value
        return items if isinstance(value, list) else tuple(items)
    return value


def _safe_mapping(values: Mapping[Any, Any], limit: int | None, depth: int) -> Mapping[Any, Any]:
    made = {
        safe_line(key) if isinstance(key, str) else key: _safe_value(value, limit, depth)
        for key, value in values.items()
    }
    if len(made) == len(values) and all(
        key is other and value is other_value
        for (key, value), (other, other_value) in zip(made.items(), values.items(), strict=True)
    ):
        return values
    return made


def _made_safe(
    text: str,
    limit: int | None,
    unsafe: re.Pattern[str],
    instead: Callable[[re.Match[str]], str],
) -> str:
    if type(text) is not str:
        text = str.__str__(text)
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    found = unsafe.sub(instead, text)
    return text if found == text else found


def _in_text(match: re.Match[str]) -> str:
    return "\n" if match[0] == "\r\n" else REPLACEMENT


def _in_line(match: re.Match[str]) -> str:
    return " " if match[0] in _BREAKS else REPLACEMENT
