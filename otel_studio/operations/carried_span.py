"""The span of a run as another process than its own sees it."""

from __future__ import annotations

from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags


def identity_of(span: Span) -> tuple[int, int, int]:
    """Return what tells a span anywhere: the trace's id, its own and its flags."""
    context = span.get_span_context()
    return context.trace_id, context.span_id, int(context.trace_flags)


def span_elsewhere(trace_id: int, span_id: int, flags: int) -> Span:
    """Return a span that has an identity and records nothing.

    Args:
        trace_id: as `identity_of` returned it, in another process.
        span_id: likewise.
        flags: likewise.
    """
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return NonRecordingSpan(context)
