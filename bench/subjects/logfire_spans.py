"""Logfire's `instrument`: spans with no metrics, sent nowhere."""

from __future__ import annotations

import logfire
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from bench.subject import THREE_ATTRIBUTES, Subject
from bench.subjects._decorated import decorated
from bench.subjects._null import NullExporter


def make() -> Subject:
    """Return the subject."""
    processor = BatchSpanProcessor(NullExporter())
    logfire.configure(
        send_to_logfire=False,
        console=False,
        metrics=False,
        inspect_arguments=False,
        service_name="bench",
        additional_span_processors=[processor],
    )

    def block() -> None:
        with logfire.span("call"):
            pass

    def attributes() -> None:
        with logfire.span("call") as span:
            span.set_attributes(THREE_ATTRIBUTES)

    return decorated(
        lambda name: logfire.instrument(name, extract_args=False),
        generators=lambda name: logfire.instrument(name, extract_args=False, allow_generator=True),
        block=block,
        attributes=attributes,
        settle=processor.force_flush,
    )
