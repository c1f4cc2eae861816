"""OTel Studio: recorded, counted, in a histogram, queued for export."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

import otel_studio
from bench.subject import THREE_ATTRIBUTES, TWO_ATTRIBUTES, Subject
from bench.subjects import plain
from bench.subjects._decorated import decorated
from bench.subjects._null import NullExporter


def make(endpoint: str | None = None, sampler: str = "parentbased_always_on") -> Subject:
    """Return the subject."""
    if endpoint is None:
        running = otel_studio.configure(service_name="bench", sampler=sampler)
        running.add_span_exporter(NullExporter())
    else:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        running = otel_studio.configure(service_name="bench", traces_exporter="otlp")
    service = otel_studio.service("bench")
    tracer = trace.get_tracer("bench.contrib")

    def block() -> None:
        with service.operation("call"):
            pass

    def attributes() -> None:
        with service.operation("call") as operation:
            operation.set_attributes(THREE_ATTRIBUTES)

    def contrib() -> None:
        with tracer.start_as_current_span(
            "GET /previews", kind=SpanKind.SERVER, attributes=THREE_ATTRIBUTES
        ):
            pass

    def fold() -> None:
        running.registry.reading()

    def decorate(name: str) -> Any:
        return otel_studio.track(name, service="bench")

    subject = decorated(
        decorate,
        generators=decorate,
        block=block,
        attributes=attributes,
        export=otel_studio.track("call", service="bench", attributes=TWO_ATTRIBUTES)(plain.call),
        settle=running.force_flush if endpoint else fold,
    )
    subject.calls["contrib"] = contrib
    return subject
