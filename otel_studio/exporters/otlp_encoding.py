"""Encodes batches of spans as OTLP, each repeating part once.

Building a protobuf message object per span costs ten times what its bytes do, so the bytes
are written directly. What repeats from span to span (resource, scope, name, attributes with
few values) is encoded once. The order of fields on the wire is free in protobuf: those of
fixed size (ids and times) stand together, packed by one call.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final, cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from otel_studio.base.guard import report_internal_error
from otel_studio.exporters import _otlp_wire as wire
from otel_studio.exporters._otlp_caches import (
    SPAN_PREFIXES,
    AttributeCache,
    FrameCache,
    SpanShape,
    span_prefix,
)
from otel_studio.spans.constant_attributes import ConstantAttributes
from otel_studio.spans.span import StudioSpan

_INTERNAL: Final = SpanKind.INTERNAL
_UNSET: Final = StatusCode.UNSET

# trace_id, span_id, (parent_span_id,) start_time_unix_nano, end_time_unix_nano.
_pack_root: Final = Struct("<2s16s2s8sBQBQ").pack
_pack_child: Final = Struct("<2s16s2s8s2s8sBQBQ").pack


class SpanEncoder:
    """Turns batches of spans into OTLP requests, remembering what repeats.

    Equal in meaning to `opentelemetry.exporter.otlp.proto.common.trace_encoder.encode_spans`,
    with one difference: a span that OTLP has no form for (an id or a time out of range) is
    left out and counted in `unencodable`, where the reference loses the whole batch.

    Example:
        >>> SpanEncoder().encode([])
        b''
    """

    def __init__(self) -> None:
        #: Spans left out so far.
        self.unencodable = 0
        self._resources = FrameCache(wire.resource_frame)
        self._scopes = FrameCache(wire.scope_frame)
        self._attributes = AttributeCache()
        # By the kind's identity: an enum member's own hash is computed in Python.
        self._shapes = {
            (id(kind), has_parent, remote): SpanShape(kind, has_parent, remote)
            for kind in SpanKind
            for has_parent, remote in ((False, False), (True, False), (True, True))
        }

    def encode(self, spans: Iterable[ReadableSpan]) -> bytes:
        """Return the spans as one serialized `ExportTraceServiceRequest`.

        Args:
            spans: ended spans of any implementation.
        """
        # A run shares its tracer, or its resource where the span is not one of ours.
        runs: dict[int, list[Any]] = {}
        last_source: object = runs
        append = list[Any]().append
        for span in spans:
            source = span._tracer if type(span) is StudioSpan else span.resource
            if source is not last_source:
                last_source = source
                append = runs.setdefault(id(source), []).append
            append(span)
        tree: dict[wire.Frame, dict[wire.Frame, list[bytes]]] = {}
        for run in runs.values():
            scopes = tree.setdefault(self._resources.get(run[0].resource), {})
            if type(run[0]) is StudioSpan:
                scope = self._scopes.get(run[0].instrumentation_scope)
                self._encode_own(run, scopes.setdefault(scope, []))
            else:
                for span in run:
                    scope = self._scopes.get(span.instrumentation_scope or None)
                    self._encode_any(span, scopes.setdefault(scope, []))
        return b"".join(
            wire.enclose(
                b"\x0a",
                resource,
                [wire.enclose(b"\x12", scope, chunks) for scope, chunks in scopes.items()],
            )
            for resource, scopes in tree.items()
        )

    def _encode_own(  # noqa: PLR0912  (one loop without calls: each costs as much as a branch)
        self, spans: list[StudioSpan], chunks: list[bytes]
    ) -> None:
        """Append spans of one tracer of ours, read without the cost of properties."""
        timebase = spans[0]._tracer.timebase
        offset = timebase.offset
        followed_at = timebase.followed_at
        internal_roots = self._shapes[id(_INTERNAL), False, False]
        internal_children = self._shapes[id(_INTERNAL), True, False]
        attribute_fields = self._attributes.fields
        append = chunks.append
        for span in spans:
            try:
                simple = span._simple
                if simple and span._start > followed_at:
                    start, end = span._start + offset, span._end + offset
                else:
                    start, end = span.start_time, span.end_time or 0
                kind = span._kind
                parent_id = span._parent_id
                if parent_id:
                    fixed = _pack_child(
                        b"\x0a\x10", span._trace_id.to_bytes(16, "big"),
                        b"\x12\x08", span._span_id.to_bytes(8, "big"),
                        b"\x22\x08", parent_id.to_bytes(8, "big"),
                        0x39, start, 0x41, end,
                    )  # fmt: skip
                    remote = not simple and span._parent_remote
                    if kind is _INTERNAL and not remote:
                        shape = internal_children
                    else:
                        shape = self._shapes[id(kind), True, remote]
                else:
                    fixed = _pack_root(
                        b"\x0a\x10", span._trace_id.to_bytes(16, "big"),
                        b"\x12\x08", span._span_id.to_bytes(8, "big"),
                        0x39, start, 0x41, end,
                    )  # fmt: skip
                    if kind is _INTERNAL:
                        shape = internal_roots
                    else:
                        shape = self._shapes[id(kind), False, False]
                tail, plain, bare, size = shape[span._name]
                if not simple and (
                    span._status_code is not _UNSET
                    or span._events
                    or span._links
                    or span._trace_state
                    or span._dropped_attributes
                    or span._dropped_events
                    or span._dropped_links
                ):
                    append(self._with_rare_fields(span, fixed, tail))
                elif attributes := span._attributes:
                    if type(attributes) is ConstantAttributes:
                        extra = attributes.encoded or self._encode_once(attributes)
                    else:
                        extra = attribute_fields(attributes)
                    size += len(extra)
                    prefix = SPAN_PREFIXES[size] if size < 1_024 else span_prefix(size)
                    append(b"".join((prefix, fixed, extra, plain)))
                else:
                    append(bare + fixed)
            except Exception as error:
                self._leave_out(error)

    def _encode_once(self, attributes: ConstantAttributes) -> bytes:
        encoded = attributes.encoded = self._attributes.fields(attributes)
        return encoded

    def _encode_any(self, span: ReadableSpan, chunks: list[bytes]) -> None:
        """Append a span read through its public properties."""
        try:
            context = cast(SpanContext, span.get_span_context())
            parent = span.parent
            ids = (
                b"\x0a\x10", context.trace_id.to_bytes(16, "big"),
                b"\x12\x08", context.span_id.to_bytes(8, "big"),
            )  # fmt: skip
            times = (0x39, int(span.start_time or 0), 0x41, int(span.end_time or 0))
            if parent is None:
                fixed = _pack_root(*ids, *times)
                shape = self._shapes[id(span.kind), False, False]
            else:
                fixed = _pack_child(*ids, b"\x22\x08", parent.span_id.to_bytes(8, "big"), *times)
                shape = self._shapes[id(span.kind), True, parent.is_remote]
            chunks.append(self._with_rare_fields(span, fixed, shape[span.name].tail))
        except Exception as error:
            self._leave_out(error)

    def _with_rare_fields(self, span: ReadableSpan, fixed: bytes, tail: bytes) -> bytes:
        context = cast(SpanContext, span.get_span_context())
        body = b"".join(
            (
                fixed,
                wire.trace_state_field(context.trace_state),
                self._attributes.fields(span.attributes or {}),
                wire.count_field(b"\x50", span.dropped_attributes),
                *[wire.event_field(event) for event in span.events],
                wire.count_field(b"\x60", span.dropped_events),
                *[wire.link_field(link) for link in span.links],
                wire.count_field(b"\x70", span.dropped_links),
                wire.status_field(span.status),
                tail,
            )
        )
        return span_prefix(len(body)) + body

    def _leave_out(self, error: Exception) -> None:
        self.unencodable += 1
        report_internal_error("OTLP encoding of a span", error)
