"""What a span encoder remembers between spans, all of it bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final, NamedTuple

from opentelemetry.trace import SpanKind

from otel_studio.exporters import _otlp_wire as wire

#: Entries a cache may hold before it is emptied and starts again.
_MAX_NAMES: Final = 4_096
_MAX_OWNERS: Final = 1_024
_MAX_KEYS: Final = 512
#: Texts, and integers, remembered for one attribute key: past them, as for an id or a path,
#: each is encoded afresh behind a remembered header.
_MAX_VALUES: Final = 32
#: Characters of a span's name, and of an attribute's key, that are remembered.
_MAX_REMEMBERED: Final = 256
#: Bytes of text for which a header is remembered.
_MAX_SIZE: Final = 128

#: trace_id, span_id, start and end times with their tags; and the same with parent_span_id.
_ROOT_SIZE: Final = 46
_CHILD_SIZE: Final = 56

_SPANS_TAG: Final = b"\x12"
_ATTRIBUTES_TAG: Final = b"\x4a"
#: Span prefixes for the lengths that spans commonly have.
SPAN_PREFIXES: Final = tuple(_SPANS_TAG + wire.varint(length) for length in range(1_024))

_pack_double: Final = Struct("<d").pack


def span_prefix(length: int) -> bytes:
    """Return what stands before a span of this length in `ScopeSpans.spans`."""
    return SPAN_PREFIXES[length] if length < 1_024 else _SPANS_TAG + wire.varint(length)


class FrameCache:
    """Frames by the identity of what they were made from, which is kept alive with them.

    By identity, because the hash of a `Resource` serializes it to JSON.
    """

    def __init__(self, build: Callable[[Any], wire.Frame]) -> None:
        self._build = build
        self._frames: dict[int, tuple[Any, wire.Frame]] = {}

    def get(self, owner: Any) -> wire.Frame:
        """Return the frame of a resource or a scope."""
        known = self._frames.get(id(owner))
        if known is None:
            if len(self._frames) >= _MAX_OWNERS:
                self._frames.clear()
            known = self._frames[id(owner)] = (owner, self._build(owner))
        return known[1]


class NameFields(NamedTuple):
    """What is constant in spans of one name and one shape."""

    #: name, kind and flags.
    tail: bytes
    #: The same and an unset status.
    plain: bytes
    #: The same behind its prefix, for a span that has ids and times and nothing else.
    bare: bytes
    #: Bytes of such a span.
    size: int


class SpanShape(dict[str, NameFields]):
    """The constant fields of spans by name; a missing name is entered when it is asked for.

    Args:
        kind: of every span of this shape.
        has_parent: whether they have a parent.
        remote: whether the parent is in another process.
    """

    def __init__(self, kind: SpanKind, has_parent: bool, remote: bool) -> None:
        self._constant = wire.KIND_FIELD[id(kind)] + wire.FLAGS[remote]
        self._fixed_size = _CHILD_SIZE if has_parent else _ROOT_SIZE

    def __missing__(self, name: str) -> NameFields:
        if len(self) >= _MAX_NAMES:
            self.clear()
        tail = wire.text_field(b"\x2a", name) + self._constant
        plain = tail + wire.STATUS_UNSET_FIELD
        size = self._fixed_size + len(plain)
        known = NameFields(tail, plain, span_prefix(size) + plain, size)
        if len(name) <= _MAX_REMEMBERED:
            self[name] = known
        return known


class _KnownKey:
    """One attribute key: what stands before each kind of value, and the values seen under it."""

    __slots__ = (
        "_before",
        "_before_integer",
        "_before_text",
        "before_double",
        "false",
        "integers",
        "texts",
        "true",
    )

    def __init__(self, key: str) -> None:
        self._before = wire.field(b"\x0a", key.encode()) if key else b""
        self._before_text: dict[int, bytes] = {}
        self._before_integer = [self._header(size, b"\x18") for size in range(11)]
        self.before_double = self._header(8, b"\x21")
        self.true = self._header(1, b"\x10") + b"\x01"
        self.false = self._header(1, b"\x10") + b"\x00"
        self.texts: dict[str, bytes] = {}
        self.integers: dict[int, bytes] = {}

    def _header(self, size: int, value_tag: bytes) -> bytes:
        """Return all that stands before the last `size` bytes of an attribute."""
        before_value = b"\x12" + wire.varint(len(value_tag) + size) + value_tag
        length = len(self._before) + len(before_value) + size
        return _ATTRIBUTES_TAG + wire.varint(length) + self._before + before_value

    def text(self, value: str) -> bytes:
        """Return the attribute with a value that is not in `texts`."""
        data = value.encode()
        size = len(data)
        header = self._before_text.get(size)
        if header is None:
            header = self._header(size, b"\x0a" + wire.varint(size))
            if size <= _MAX_SIZE:
                self._before_text[size] = header
        encoded = header + data
        if len(self.texts) < _MAX_VALUES and size <= _MAX_SIZE:
            self.texts[value] = encoded
        return encoded

    def integer(self, value: int) -> bytes:
        """Return the attribute with a value that is not in `integers`."""
        data = wire.int64(value)
        encoded = self._before_integer[len(data)] + data
        if len(self.integers) < _MAX_VALUES:
            self.integers[value] = encoded
        return encoded


class AttributeCache(dict[str, _KnownKey]):
    """Encodes the attributes of spans; a key is learnt when it is first seen."""

    def __missing__(self, key: str) -> _KnownKey:
        if len(self) >= _MAX_KEYS:
            self.clear()
        known = _KnownKey(key)
        if len(key) <= _MAX_REMEMBERED:
            self[key] = known
        return known

    def fields(self, attributes: Mapping[str, Any]) -> bytes:
        """Return `Span.attributes`; what OTLP cannot carry is left out, with a warning."""
        parts = []
        for key, value in attributes.items():
            kind = type(value)
            try:
                if kind is str:
                    known = self[key]
                    encoded = known.texts.get(value) or known.text(value)
                elif kind is int:
                    known = self[key]
                    encoded = known.integers.get(value) or known.integer(value)
                elif kind is bool:
                    encoded = self[key].true if value else self[key].false
                elif kind is float:
                    encoded = self[key].before_double + _pack_double(value)
                else:
                    encoded = wire.attribute_field(_ATTRIBUTES_TAG, key, value)
            except (ValueError, TypeError, AttributeError):  # it says which, and leaves it out
                encoded = wire.attribute_field(_ATTRIBUTES_TAG, key, value)
            parts.append(encoded)
        return b"".join(parts)
