"""The pieces of an OTLP trace request in protobuf's wire format, each a function to bytes.

A field is its tag, then its payload: tags are spelled out as the bytes they are, and named
in the docstring of the function that uses them or in the comment beside them.

Format: https://protobuf.dev/programming-guides/encoding/ and `opentelemetry/proto/trace/v1`
of https://github.com/open-telemetry/opentelemetry-proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceState

from otel_studio.base.guard import warn_once

#: What stands before and after the repeated part of a `ResourceSpans` or a `ScopeSpans`.
Frame = tuple[bytes, bytes]

_INT64_MIN: Final = -(1 << 63)
_INT64_END: Final = 1 << 63
_UINT64_SPAN: Final = 1 << 64

_pack_double: Final = Struct("<d").pack
_pack_fixed64: Final = Struct("<Q").pack

# By identity: an enum member's own hash is computed in Python, at three times the price.
_STATUS_CODE: Final = {
    id(code): bytes((0x18, code.value)) if code.value else b"" for code in StatusCode
}
#: Span.kind by the identity of the `SpanKind`; OTLP counts from 1, 0 being "unspecified".
KIND_FIELD: Final = {id(kind): bytes((0x30, kind.value + 1)) for kind in SpanKind}

# Span.flags: that the parent's remoteness is known (0x100), and that it is remote (0x200). The
# reference encoder sets these two bits alone and leaves the W3C trace flags out.
FLAGS: Final = {False: b"\x85\x01\x00\x01\x00\x00", True: b"\x85\x01\x00\x03\x00\x00"}
_LINK_FLAGS: Final = {False: b"\x35\x00\x01\x00\x00", True: b"\x35\x00\x03\x00\x00"}

STATUS_UNSET_FIELD: Final = b"\x7a\x00"


def varint(value: int) -> bytes:
    """Return a non-negative integer in groups of 7 bits, the least significant first."""
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    if value < 0x20_0000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def int64(value: int) -> bytes:
    """Return a signed integer as a varint of its two's complement.

    Raises:
        ValueError: if it takes more than 64 bits.
    """
    if not _INT64_MIN <= value < _INT64_END:
        raise ValueError(f"{value} does not fit in 64 bits")
    return varint(value if value >= 0 else value + _UINT64_SPAN)


def field(tag: bytes, payload: bytes) -> bytes:
    """Return a length-delimited field."""
    return tag + varint(len(payload)) + payload


def text_field(tag: bytes, text: str | None) -> bytes:
    """Return a text field; nothing for empty text, as in proto3.

    A lone surrogate has no UTF-8 and becomes "?", where the reference encoder gives up the
    whole batch.
    """
    return field(tag, text.encode("utf-8", "replace")) if text else b""


def count_field(tag: bytes, count: int) -> bytes:
    """Return a uint32 field; nothing for 0."""
    return tag + varint(count) if count else b""


def any_value(value: Any) -> bytes:
    """Return an `AnyValue`.

    Raises:
        ValueError: if OTLP cannot carry it: an integer over 64 bits, text with a lone
            surrogate, a type that is none of OpenTelemetry's.
    """
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return field(b"\x0a", value.encode())
    if isinstance(value, int):
        return b"\x18" + int64(value)
    if isinstance(value, float):
        return b"\x21" + _pack_double(value)
    if isinstance(value, bytes):
        return field(b"\x3a", value)
    if isinstance(value, Sequence):
        return field(b"\x2a", b"".join([field(b"\x0a", any_value(item)) for item in value]))
    if isinstance(value, Mapping):
        pairs = [field(b"\x0a", _key_value(str(key), item)) for key, item in value.items()]
        return field(b"\x32", b"".join(pairs))
    raise ValueError(f"{type(value).__name__} is not a type of attribute values")


def _key_value(key: str, value: Any) -> bytes:
    return (field(b"\x0a", key.encode()) if key else b"") + field(b"\x12", any_value(value))


def attribute_field(tag: bytes, key: str, value: Any) -> bytes:
    """Return one attribute; nothing, with a warning, if OTLP cannot carry it."""
    try:
        return field(tag, _key_value(key, value))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        warn_once(
            "otlp attribute", str(key), "attribute %r is left out of the export: %s", key, error
        )
        return b""


def attribute_fields(tag: bytes, attributes: Mapping[str, Any] | None) -> bytes:
    """Return one field per attribute."""
    if not attributes:
        return b""
    return b"".join([attribute_field(tag, key, value) for key, value in attributes.items()])


def _time(value: Any) -> int:
    """Return a time as OTLP carries it; one that it cannot carry as 0, which is "unknown"."""
    try:
        return whole if 0 <= (whole := int(value)) < _UINT64_SPAN else 0
    except (TypeError, ValueError, OverflowError):
        return 0


def event_field(event: Event) -> bytes:
    """Return one of `Span.events`."""
    return field(
        b"\x5a",
        b"\x09"
        + _pack_fixed64(_time(event.timestamp))
        + text_field(b"\x12", event.name)
        + attribute_fields(b"\x1a", event.attributes)
        + count_field(b"\x20", event.dropped_attributes),
    )


def link_field(link: Link) -> bytes:
    """Return one of `Span.links`."""
    context = link.context
    return field(
        b"\x6a",
        b"\x0a\x10"
        + context.trace_id.to_bytes(16, "big")
        + b"\x12\x08"
        + context.span_id.to_bytes(8, "big")
        + attribute_fields(b"\x22", link.attributes)
        + count_field(b"\x28", link.dropped_attributes)
        + _LINK_FLAGS[context.is_remote],
    )


def trace_state_field(state: TraceState | None) -> bytes:
    """Return `Span.trace_state` as in the W3C header."""
    if not state:
        return b""
    return text_field(b"\x1a", ",".join([f"{key}={value}" for key, value in state.items()]))


def status_field(status: Status | None) -> bytes:
    """Return `Span.status`."""
    if status is None:
        return b""
    code = _STATUS_CODE[id(status.status_code)]
    return field(b"\x7a", text_field(b"\x12", status.description) + code)


def scope_frame(scope: InstrumentationScope | None) -> Frame:
    """Return `ScopeSpans.scope` and `ScopeSpans.schema_url`."""
    if scope is None:
        return b"\x0a\x00", b""
    encoded = (
        text_field(b"\x0a", scope.name)
        + text_field(b"\x12", scope.version)
        + attribute_fields(b"\x1a", scope.attributes)
    )
    return field(b"\x0a", encoded), text_field(b"\x1a", scope.schema_url)


def resource_frame(resource: Resource) -> Frame:
    """Return `ResourceSpans.resource` and `ResourceSpans.schema_url`."""
    encoded = attribute_fields(b"\x0a", resource.attributes)
    return field(b"\x0a", encoded), text_field(b"\x1a", resource.schema_url)


def enclose(tag: bytes, frame: Frame, chunks: Sequence[bytes]) -> bytes:
    """Return one length-delimited field: `chunks` inside `frame`."""
    before, after = frame
    payload = b"".join(chunks)
    size = len(before) + len(payload) + len(after)
    return b"".join((tag, varint(size), before, payload, after))
