"""What is kept of a cache's keys: their text, a keyed hash of it, or nothing."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from otel_studio.base.guard import raised_by_signal_handler, report_internal_error
from otel_studio.base.limited import count_limited
from otel_studio.base.text import safe_line
from otel_studio.base.weight import weight_of_value

_SHOWN_CHARACTERS = 200
#: A key of more bytes is told by its beginning, and by a digest of parts of it.
_LARGE = 16_384
#: Characters of a large text that go into its digest: at its ends, and at places between them.
_DIGESTED_ENDS = 4_096
_DIGESTED_PLACES = 32
#: Likewise of the items of a long tuple or list.
_DIGESTED_ITEMS = 64
_MAX_DEPTH = 8
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
            return safe_line(self._redacted(shown_text(key)))
        if self._policy != "hash":
            return None
        if is_large(key):
            return _digest_of_large(key, self._secret)
        return _digest(text_of(key), self._secret)

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


def is_large(key: object) -> bool:
    """Tell whether a key's text would take long, and much memory, to make."""
    if type(key) is str:
        return len(key) > _LARGE
    return weight_of_key(key) > _LARGE


def weight_of_key(key: object) -> int:
    """Return the bytes of a key, with those that an object's own fields hold."""
    weight = weight_of_value(key)
    fields = getattr(key, "__dict__", None)
    return weight + weight_of_value(fields) if type(fields) is dict else weight


def shown_text(key: object) -> str:
    """Return what is shown of a key: its text, or of a long one the beginning and a digest."""
    if is_large(key):
        count_limited("cache_keys")
        digest = _digest_of_large(key)
        return f"{_beginning(key, _SHOWN_CHARACTERS - len(digest) - 3)}...{digest}"
    text = text_of(key)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    # Long keys tend to share their beginning: the digest keeps them apart.
    digest = _digest(text)
    return f"{text[: _SHOWN_CHARACTERS - len(digest) - 3]}...{digest}"


def _digest(text: str, secret: bytes = b"") -> str:
    data = text.encode(errors="surrogatepass")
    return hashlib.blake2b(data, key=secret, digest_size=8).hexdigest()


def _beginning(key: object, room: int, depth: int = _MAX_DEPTH) -> str:
    """Return the beginning of a large key's text, without making the rest of it."""
    if isinstance(key, str):
        return key[:room] if depth == _MAX_DEPTH else repr(key[:room])[:room]
    if isinstance(key, bytes | bytearray):
        return (text_of(bytes(key[:room])) if depth == _MAX_DEPTH else repr(key[:room]))[:room]
    if depth > 0 and isinstance(key, tuple | list | set | frozenset):
        ends = "()" if isinstance(key, tuple) else "[]" if isinstance(key, list) else "{}"
        found = ends[0]
        for place, item in enumerate(key):
            found += (", " if place else "") + _beginning(item, room, depth - 1)
            if len(found) >= room:
                return found[:room]
        return found + ends[1]
    if weight_of_key(key) > _LARGE:
        return f"<{type(key).__name__}>"[:room]
    return text_of(key)[:room]


def _digest_of_large(key: object, secret: bytes = b"") -> str:
    found = hashlib.blake2b(key=secret, digest_size=8)
    for part in _digested(key, _MAX_DEPTH):
        found.update(part)
    return found.hexdigest()


def _digested(key: object, depth: int) -> Iterable[bytes]:
    """Yield what tells a large key from others: of long texts in it some parts, and the length."""
    if isinstance(key, str | bytes | bytearray):
        yield f"{type(key).__name__} {len(key)} ".encode()
        for part in _parts(key):
            yield part.encode(errors="surrogatepass") if isinstance(part, str) else bytes(part)
    elif depth > 0 and isinstance(key, tuple | list):
        yield f"{len(key)} ".encode()
        for part in _parts(key, _DIGESTED_ITEMS):
            for item in part:
                yield from _digested(item, depth - 1)
    elif depth > 0 and type(getattr(key, "__dict__", None)) is dict:
        yield f"{type(key).__name__} ".encode()
        yield from _digested([*key.__dict__.items()], depth - 1)
    elif weight_of_key(key) > _LARGE:
        yield str(_own_hash(key)).encode()  # a set, whose order is that of this process anyway
    else:
        yield text_of(key).encode(errors="surrogatepass")


def _parts(whole: Any, at_ends: int = _DIGESTED_ENDS) -> Iterable[Any]:
    """Yield a text, or a tuple or list; of a long one its ends, and parts between them."""
    if len(whole) <= _DIGESTED_PLACES * at_ends:
        yield whole
        return
    yield whole[:at_ends]
    step = len(whole) // (_DIGESTED_PLACES + 1)
    for place in range(1, _DIGESTED_PLACES + 1):
        yield whole[place * step : place * step + at_ends // _DIGESTED_PLACES]
    yield whole[-at_ends:]


def _own_hash(key: object) -> int:
    try:
        return hash(key)
    except Exception as error:  # a key without a hash: its type has to do
        if raised_by_signal_handler(error):
            raise
        return 0
