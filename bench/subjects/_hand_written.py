"""OpenTelemetry by hand: what a careful engineer writes with the SDK alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanKind, Tracer

from bench.subject import THREE_ATTRIBUTES, TWO_ATTRIBUTES, Subject
from bench.subjects._null import NullExporter

_LABELS = {"service": "bench", "operation": "call"}


def batch(endpoint: str | None = None) -> BatchSpanProcessor:
    """Return the SDK's batch processor, in front of OTLP/HTTP or of nothing."""
    if endpoint is None:
        return BatchSpanProcessor(NullExporter())
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces"))


def _tracer(processor: SpanProcessor | None, sampler: Sampler | None = None) -> Tracer:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    if processor is not None:
        provider.add_span_processor(processor)
    return provider.get_tracer("bench")


def _settle(processor: SpanProcessor | None) -> Callable[[], object]:
    return (lambda: None) if processor is None else processor.force_flush


def spans_only(processor: SpanProcessor | None, sampler: Sampler | None = None) -> Subject:
    """Return the SDK's spans with no metrics."""
    tracer = _tracer(processor, sampler)

    def call() -> None:
        with tracer.start_as_current_span("call"):
            pass

    def contrib() -> None:
        with tracer.start_as_current_span(
            "GET /previews", kind=SpanKind.SERVER, attributes=THREE_ATTRIBUTES
        ):
            pass

    def export() -> None:
        with tracer.start_as_current_span("call", attributes=TWO_ATTRIBUTES):
            pass

    calls = {"call": call, "contrib": contrib, "export": export}
    return Subject(calls, _settle(processor))


def spans_and_histogram(processor: SpanProcessor) -> Subject:
    """Return a span and a duration histogram around each operation."""
    tracer = _tracer(processor)
    meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("bench")
    record = meter.create_histogram("bench.duration", unit="s").record

    def observed(name: str, body: Callable[[Any], None]) -> Callable[[], None]:
        def call() -> None:
            began = perf_counter()
            try:
                with tracer.start_as_current_span(name) as span:
                    body(span)
            finally:
                record(perf_counter() - began, _LABELS)

        return call

    def fail(_: Any) -> None:
        raise ValueError("bench")

    def set_three(span: Any) -> None:
        for key, value in THREE_ATTRIBUTES.items():
            span.set_attribute(key, value)

    async def coroutine() -> None:
        began = perf_counter()
        try:
            with tracer.start_as_current_span("call"):
                pass
        finally:
            record(perf_counter() - began, _LABELS)

    def generator() -> Iterator[int]:
        began = perf_counter()
        span = tracer.start_span("call")  # current only where no item is handed out
        try:
            yield 1
            yield 2
            yield 3
        finally:
            span.end()
            record(perf_counter() - began, _LABELS)

    @contextmanager
    def block() -> Iterator[None]:
        began = perf_counter()
        try:
            with tracer.start_as_current_span("call"):
                yield
        finally:
            record(perf_counter() - began, _LABELS)

    def in_block() -> None:
        with block():
            pass

    call = observed("call", lambda _: None)
    middle = observed("middle", lambda _: call())
    return Subject(
        {
            "call": call,
            "async": coroutine,
            "generator": generator,
            "block": in_block,
            "nested": observed("outer", lambda _: middle()),
            "error": observed("call", fail),
            "attributes": observed("call", set_three),
        },
        _settle(processor),
        runs={"nested": 3},
    )


def spans_and_all_metrics(processor: SpanProcessor) -> Subject:
    """Return a span, a histogram, a total and a number of active runs around each operation."""
    tracer = _tracer(processor)
    meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("bench")
    record = meter.create_histogram("bench.duration", unit="s").record
    active = meter.create_up_down_counter("bench.active").add
    total = meter.create_counter("bench.total").add

    def call() -> None:
        active(1, _LABELS)
        began = perf_counter()
        try:
            with tracer.start_as_current_span("call"):
                pass
        finally:
            record(perf_counter() - began, _LABELS)
            active(-1, _LABELS)
            total(1, _LABELS)

    return Subject({"call": call}, _settle(processor))
