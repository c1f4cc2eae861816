"""Takes secrets out of attributes, messages and stacks: by the name beside them, or by pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

REDACTED = "[redacted]"

#: Names and short texts whose answer is remembered; past it the memory starts again.
_MAX_REMEMBERED = 10_000
_SHORT = 64
_LONGEST_NAME = 256
_MAX_DEPTH = 8

_NOT_A_LETTER = re.compile(r"[\W_]+")
_UNQUOTED = r"""[^\s,;"'&<>(){}\[\]]+"""
#: What may follow a name in a text: quoted, in brackets, with its scheme, or up to a delimiter;
#: a cookie's value is several pairs.
_VALUE = (
    r"""(?P<value>[bru]?"(?:[^"\\]|\\.)*"|[bru]?'(?:[^'\\]|\\.)*'|\[[^\]\r\n]*\]"""
    rf"|(?:(?:bearer|basic|digest|negotiate|token|apikey)\s+)?{_UNQUOTED}"
    rf"(?(cookie)(?:;\s*{_UNQUOTED})*))"
)


class Redactor:
    """Replaces secrets by `[redacted]`, and returns what holds none as it was.

    A name matches a key when one of the key's dotted parts ends in it, letters and digits
    compared alone and case ignored: `api_key` matches `http.request.header.x-api-key`,
    `stripeApiKey` and `api_keys`, and `secret` does not match `secretary.name`. In a text,
    a name matches where a value follows it: `password=...`, `"password": "..."`,
    `Authorization: Bearer ...`.

    Args:
        names: names of keys whose values are secret.
        patterns: regular expressions; what they match is replaced.

    Example:
        >>> redactor = Redactor(["password"], ["[0-9]{16}"])
        >>> redactor.text("login with password='hunter2' failed")
        "login with password='[redacted]' failed"
        >>> redactor.value("card", "4111111111111111")
        '[redacted]'
        >>> redactor.value("db.password", 12345)
        '[redacted]'
    """

    def __init__(self, names: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        words = [(name, _plain(name)) for name in names]
        self._endings = tuple({f"{plain}{s}" for _, plain in words if plain for s in ("", "s")})
        self._in_text = _text_pattern([name for name, plain in words if plain])
        #: All words of one of these stand in every text that holds a name.
        self._hints = tuple({_words(name) for name, plain in words if plain})
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)
        self._keys: dict[str, bool] = {}
        self._clean: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to look for."""
        return not self._endings and not self._patterns

    def is_secret(self, key: str) -> bool:
        """Tell whether values under this key are secret.

        Args:
            key: the name of an attribute, an argument or a field.
        """
        known = self._keys.get(key)
        if known is None:
            parts = [_plain(part) for part in str(key).split(".")]
            known = any(part.endswith(self._endings) for part in (*parts, "".join(parts)))
            if len(key) <= _LONGEST_NAME:
                if len(self._keys) >= _MAX_REMEMBERED:
                    self._keys = {}
                self._keys[key] = known
        return known

    def text(self, text: str) -> str:
        """Return a text without its secrets; the same object where it holds none."""
        if len(text) <= _SHORT:
            if text in self._clean:
                return text
            found = self._searched(text)
            if found is text:
                if len(self._clean) >= _MAX_REMEMBERED:
                    self._clean = set()
                self._clean.add(text)
            return found
        return self._searched(text)

    def holds_none(self, values: Mapping[str, Any]) -> bool:
        """Tell quickly whether a mapping is known to hold no secret; `False` says nothing."""
        secret, clean = self._keys, self._clean
        for key, value in values.items():
            if secret.get(key) is not False:
                return False
            kind = type(value)
            if kind is str:
                if value not in clean:
                    return False
            elif kind is not int and kind is not float and kind is not bool:
                return False
        return True

    def value(self, key: str, value: Any) -> Any:
        """Return a value without its secrets; the same object where it holds none.

        Args:
            key: the name it stands under.
            value: text, number, bytes, or a sequence or mapping of them.
        """
        return self._value(key, value, _MAX_DEPTH)

    def mapping(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a mapping without its secrets; the same object where it holds none."""
        found = self._mapping(values, _MAX_DEPTH)
        return values if found is None else found

    def _value(self, key: str, value: Any, depth: int) -> Any:
        if self.is_secret(key):
            return REDACTED
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bool | int | float) or value is None or depth <= 0:
            return value
        if isinstance(value, bytes):
            text = value.decode("utf-8", "replace")
            found = self.text(text)
            return value if found is text else found.encode()
        if isinstance(value, Mapping):
            changed = self._mapping(value, depth - 1)
            return value if changed is None else changed
        if isinstance(value, list | tuple):
            items = [self._value("", item, depth - 1) for item in value]
            if all(one is other for one, other in zip(items, value, strict=True)):
                return value
            return items if isinstance(value, list) else tuple(items)
        return value

    def _mapping(self, values: Mapping[str, Any], depth: int) -> dict[str, Any] | None:
        changed: dict[str, Any] = {}
        for key, value in values.items():
            found = self._value(key, value, depth)
            if found is not value:
                changed[key] = found
        return {**values, **changed} if changed else None

    def _searched(self, text: str) -> str:
        found = text
        if self._in_text is not None:
            lowered = text.lower()
            for first, *others in self._hints:
                if first in lowered and all(word in lowered for word in others):
                    found = self._in_text.sub(_without_value, found)
                    break
        for pattern in self._patterns:
            found = pattern.sub(_marked, found)
        return text if found == text else found


def _plain(name: str) -> str:
    return _NOT_A_LETTER.sub("", str(name).lower())


def _words(name: str) -> tuple[str, ...]:
    return tuple(filter(None, _NOT_A_LETTER.split(name.lower())))


def _text_pattern(names: list[str]) -> re.Pattern[str] | None:
    if not names:
        return None
    spelled = ["[-_. ]?".join(_words(name)) for name in sorted(names, key=len, reverse=True)]
    cookies = "|".join(name for name in spelled if name.endswith("cookie")) or "(?!)"
    others = "|".join(name for name in spelled if not name.endswith("cookie")) or "(?!)"
    head = rf"(?P<head>(?:(?P<cookie>{cookies})|{others})s?[\"']?\s*(?:=>|[:=])\s*)"
    return re.compile(head + _VALUE, re.IGNORECASE)


def _without_value(match: re.Match[str]) -> str:
    value = match["value"]
    quote = value[-1] if value[-1] in "\"'" else ""
    return f"{match['head']}{quote}{REDACTED}{quote}"


def _marked(match: re.Match[str]) -> str:
    return REDACTED if match[0] else ""  # a pattern may match nothing, between any two letters
