"""Encoding a batch of 512 spans for OTLP: OpenTelemetry's encoder and OTel Studio's."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from bench.subject import THREE_ATTRIBUTES, Subject
from otel_studio.exporters.otlp_encoding import SpanEncoder
from otel_studio.spans.provider import StudioTracerProvider

_BATCH = 512


class _Keep:
    """A consumer of ended spans that keeps them."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def consume(self, spans: list[ReadableSpan]) -> None:
        """Take a batch."""
        self.spans.extend(spans)


def _studio_spans(attributes: dict[str, str | int | bool] | None) -> list[ReadableSpan]:
    """Return roots and children in turn, of five operations, as a service has them."""
    provider = StudioTracerProvider(
        resource=Resource.create({"service.name": "bench"}), shutdown_on_exit=False
    )
    kept = _Keep()
    provider.add_span_processor(kept)
    tracer = provider.get_tracer("cache-service")
    for number in range(_BATCH // 2):
        with (
            tracer.start_as_current_span(f"outer_{number % 5}", attributes=attributes),
            tracer.start_as_current_span(f"inner_{number % 5}", attributes=attributes),
        ):
            pass
    provider.ended.fold()
    return kept.spans


def _sdk_spans(spans: list[ReadableSpan]) -> list[ReadableSpan]:
    """Return the same spans as the SDK makes them."""
    return [
        ReadableSpan(
            name=span.name,
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=dict(span.attributes or {}),
            kind=span.kind,
            status=span.status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
        for span in spans
    ]


def make() -> Subject:
    """Return the subject."""
    encoder = SpanEncoder()
    calls: dict[str, Callable[[], object]] = {}
    for label, attributes in (("bare", None), ("attributes", THREE_ATTRIBUTES)):
        own = _studio_spans(attributes)
        sdk = _sdk_spans(own)
        calls[f"encode_{label}_studio"] = lambda own=own: encoder.encode(own)
        calls[f"encode_{label}_otel"] = lambda sdk=sdk: encode_spans(sdk).SerializeToString()
    return Subject(calls, runs=dict.fromkeys(calls, _BATCH))
