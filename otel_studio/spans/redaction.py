"""Takes secrets out of attributes, messages and stacks: by the name beside them, or by pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Self

from otel_studio.base.text import safe, safe_line
from otel_studio.spans.secret_texts import SecretTexts, without_passwords
from otel_studio.spans.secret_values import REDACTED

__all__ = ["REDACTED", "Redactor", "SafeRedactor"]

#: Names and short texts whose answer is remembered; past it the memory starts again.
_MAX_REMEMBERED = 10_000
_SHORT = 64
_SHORT_KEY = 256
_MAX_DEPTH = 8
#: Times that a text with secrets in it is looked through.
_MAX_LOOKS = 4

_NOT_A_LETTER = re.compile(r"[\W_]+")


class Redactor:
    """Replaces secrets by `[redacted]`, and returns what holds none as it was.

    A name matches a key when one of the key's dotted parts ends in it, letters and digits
    compared alone and case ignored: `api_key` matches `http.request.header.x-api-key`,
    `stripeApiKey` and `api_keys`, and `secret` does not match `secretary.name`. In a text,
    a name matches where a value follows it: `password=...`, `"password": "..."`,
    `Authorization: Bearer ...`, `--password ...`, `<password>...`. Of a pair whose first item is
    a name the second one is secret, as headers are given. The time that a text takes grows as
    its length does, whatever is in it; patterns take what they take.

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
        self._in_text = SecretTexts({_words(name) for name, plain in words if plain})
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
            key = key if type(key) is str else _text_of(key)
            parts = [_plain(part) for part in key.split(".")]
            known = any(part.endswith(self._endings) for part in (*parts, "".join(parts)))
            # One that has to be made safe is never known to be clean.
            if len(key) <= _SHORT_KEY and key.isprintable():
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
        if isinstance(value, bool | int | float) or value is None:
            return value
        if isinstance(value, bytes | bytearray):
            text = value.decode("utf-8", "surrogateescape")
            found = self._searched(text)
            return value if found is text else found.encode("utf-8", "surrogateescape")
        if not isinstance(value, Mapping | list | tuple | set | frozenset):
            return value
        if depth <= 0:
            return REDACTED  # nobody knows what is in it
        if isinstance(value, Mapping):
            changed = self._mapping(value, depth - 1)
            return value if changed is None else changed
        return self._items(value, depth - 1)

    def _items(self, values: Any, depth: int) -> Any:
        items = [self._value("", item, depth) for item in values]
        if isinstance(values, list | tuple):
            for at, (name, item) in enumerate(pairwise(values), start=1):
                # `("authorization", "...")`, as headers are; `--password`, `...` of a command.
                if (len(items) == 2 or _text_of(name)[:1] == "-") and self._is_name(name):
                    items[at] = item if item is None else REDACTED
        if all(one is other for one, other in zip(items, values, strict=True)):
            return values
        return tuple(items) if isinstance(values, tuple) else items

    def _is_name(self, value: object) -> bool:
        return isinstance(value, str | bytes) and self.is_secret(_text_of(value))

    def _mapping(self, values: Mapping[str, Any], depth: int) -> dict[str, Any] | None:
        changed: dict[str, Any] = {}
        for key, value in values.items():
            found = self._value(key, value, depth)
            if found is not value:
                changed[key] = found
        return {**values, **changed} if changed else None

    def _without_values(self, text: str) -> str:
        """Look again at what was changed: a name may have stood right behind a value."""
        for _ in range(_MAX_LOOKS):
            found = self._in_text.without(text)
            if found == text:
                break
            text = found
        return text

    def _searched(self, text: str) -> str:
        found = text
        if self._hints:
            lowered = text.lower()
            found = without_passwords(found)
            if any(all(word in lowered for word in words) for words in self._hints):
                found = self._without_values(found)
        for pattern in self._patterns:
            found = pattern.sub(_marked, found)
        return text if found == text else found


class SafeRedactor(Redactor):
    """A redactor whose texts and keys are made safe as well, for what is kept and sent."""

    @classmethod
    def like(cls, redactor: Redactor) -> Self:
        """Return one that looks for the same secrets."""
        made = cls()
        made._endings, made._hints = redactor._endings, redactor._hints
        made._in_text, made._patterns = redactor._in_text, redactor._patterns
        return made

    @property
    def is_idle(self) -> bool:
        """Never: there may be something to make safe."""
        return False

    def _searched(self, text: str) -> str:
        found = super()._searched(safe(text, None))
        return text if found == text and type(text) is str else found

    def _mapping(self, values: Mapping[str, Any], depth: int) -> dict[str, Any] | None:
        changed = super()._mapping(values, depth)
        keys = [safe_line(key) if isinstance(key, str) else key for key in values]
        if all(key is other for key, other in zip(keys, values, strict=True)):
            return changed
        return dict(zip(keys, (changed or values).values(), strict=True))


def _text_of(value: object) -> str:
    """Return a name as text, whether it is text or bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _plain(name: str) -> str:
    return _NOT_A_LETTER.sub("", str(name).lower())


def _words(name: str) -> tuple[str, ...]:
    return tuple(filter(None, _NOT_A_LETTER.split(name.lower())))


def _marked(match: re.Match[str]) -> str:
    return REDACTED if match[0] else ""  # a pattern may match nothing, between any two letters
