"""What is kept of a cache's keys: their text, a keyed hash of it, or nothing."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from otel_studio.base.guard import raised_by_signal_handler, report_internal_error
from otel_studio.base.text import safe_line

_SHOWN_CHARACTERS = 200
#: Shown where it could not be found out whether there are secrets in a key.
_WITHHELD = "[withheld]"

#: What `KeyLabels` takes.
KEY_POLICIES = ("plain", "hash", "drop")


class KeyLabels:
    """Turns keys into what is kept of them.

    `plain` keeps the key's text, cut to 200 characters. `hash` keeps 16 hexadecimal digits of
    BLAKE2 under a secret that never leaves this process: the same key is the same digits for
    as long as the process lives, and trying out likely keys finds none. `drop` keeps nothing.

    Args:
        policy: `plain`, `hash` or `drop`.

    Raises:
        ValueError: for any other policy.

    Example:
        >>> KeyLabels("plain").of(("user", 7))
        "('user', 7)"
    """

    def __init__(self, policy: str) -> None:
        self._policy = ""
        self.use(policy)
        self._secret = secrets.token_bytes(32)
        #: Takes secrets out of what is shown of a key.
        self.redact: Callable[[str], str] | None = None

    def use(self, policy: str) -> bool:
        """Keep this of keys from now on.

        Args:
            policy: `plain`, `hash` or `drop`.

        Returns:
            whether something else was kept before.

        Raises:
            ValueError: for any other policy.
        """
        if policy not in KEY_POLICIES:
            raise ValueError(
                f"{policy!r} is not a way to keep cache keys: give one of {', '.join(KEY_POLICIES)}"
            )
        before, self._policy = self._policy, policy
        return before != policy

    def of(self, key: object) -> str | None:
        """Return what is kept of a key.

        Args:
            key: any object.
        """
        if self._policy == "plain":
            return safe_line(self._redacted(_shown_text(key)))
        return _digest(text_of(key), self._secret) if self._policy == "hash" else None

    def _redacted(self, shown: str) -> str:
        if self.redact is None:
            return shown
        try:
            return self.redact(shown)
        except Exception as error:
            report_internal_error("taking secrets out of cache keys", error)
            return _WITHHELD

    def counted(self, accesses: Mapping[Any, int]) -> Mapping[str, int]:
        """Return the accesses by what is kept of their keys; empty when nothing is.

        Args:
            accesses: how often each key was accessed.
        """
        if self._policy == "drop" or not accesses:
            return {}
        are_text = (
            self._policy == "plain" and self.redact is None and set(map(type, accesses)) == {str}
        )
        if are_text and all(map(_is_shown_as_it_is, accesses)):
            return accesses
        counted: dict[str, int] = {}
        for key, count in accesses.items():
            label = self.of(key) or ""
            counted[label] = counted.get(label, 0) + count
        return counted


def text_of(key: object) -> str:
    """Return an object's text, or the name of its type where its own methods fail.

    Args:
        key: a key, or anything else that is given for a text.
    """
    if type(key) is str:
        return key
    try:
        return key.decode() if isinstance(key, bytes) else str(key)
    except Exception as error:  # bytes that are no text, or a key's own __str__
        if raised_by_signal_handler(error):
            raise
        return repr(key) if isinstance(key, bytes) else f"<{type(key).__name__}>"


def _is_shown_as_it_is(text: str) -> bool:
    return len(text) <= _SHOWN_CHARACTERS and text.isprintable()


def _shown_text(key: object) -> str:
    text = text_of(key)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    # Long keys tend to share their beginning: the digest keeps them apart.
    digest = _digest(text)
    return f"{text[: _SHOWN_CHARACTERS - len(digest) - 3]}...{digest}"


def _digest(text: str, secret: bytes = b"") -> str:
    data = text.encode(errors="surrogatepass")
    return hashlib.blake2b(data, key=secret, digest_size=8).hexdigest()
