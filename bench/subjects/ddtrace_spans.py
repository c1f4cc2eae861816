"""ddtrace's `tracer.wrap`: spans with no metrics, dropped where there is no agent."""

from __future__ import annotations

import os
from typing import Any

from bench.subject import THREE_ATTRIBUTES, TWO_ATTRIBUTES, Subject
from bench.subjects._decorated import decorated


def make(endpoint: str | None = None) -> Subject:
    """Return the subject."""
    # Read when the package is imported.
    os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
    os.environ["DD_REMOTE_CONFIGURATION_ENABLED"] = "false"
    os.environ["DD_TRACE_AGENT_URL"] = endpoint or "http://127.0.0.1:1"
    from ddtrace.trace import TraceFilter, tracer

    class Drop(TraceFilter):
        def process_trace(self, trace: Any) -> None:
            return None

    if endpoint is None:
        tracer.configure(trace_processors=[Drop()])

    def block() -> None:
        with tracer.trace("call", service="bench"):
            pass

    def attributes() -> None:
        with tracer.trace("call", service="bench") as span:
            for key, value in THREE_ATTRIBUTES.items():
                span.set_tag(key, value)

    def export() -> None:
        with tracer.trace("call", service="bench") as span:
            for key, value in TWO_ATTRIBUTES.items():
                span.set_tag(key, value)

    def decorate(name: str) -> Any:
        return tracer.wrap(name, service="bench")

    return decorated(
        decorate,
        generators=decorate,
        block=block,
        attributes=attributes,
        export=export,
        settle=tracer.flush,
    )
