"""What runs now: who runs a span, and spans that were dropped without an end."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

from otel_studio.tracing.span import OUTCOME_ABANDONED, StudioSpan

if TYPE_CHECKING:
    from otel_studio.tracing.tracer import StudioTracer

_running_loop = asyncio._get_running_loop


def running_task() -> asyncio.Task[Any] | None:
    """Return the asyncio task that runs now, or `None` outside an event loop."""
    loop = _running_loop()
    return None if loop is None else asyncio.current_task(loop)


class ActiveReference(weakref.ref[StudioSpan]):
    """A running span of the API that nobody is obliged to end.

    It does not keep the span alive: a span that is dropped is counted as abandoned,
    as the SDK's would simply vanish.
    """

    __slots__ = ("name", "tracer")

    tracer: StudioTracer
    name: str


def refer(span: StudioSpan, tracer: StudioTracer) -> ActiveReference:
    """Return the reference of a span that begins."""
    reference = ActiveReference(span, _dropped)
    reference.tracer = tracer
    reference.name = span._name
    return reference


def _dropped(reference: Any) -> None:
    references = reference.tracer.provider.active_references
    if reference in references:
        references.discard(reference)
        reference.tracer.abandon(reference.name)


class AbandonedSpan:
    """Stands in the buffer for a span that was dropped without an end."""

    __slots__ = ("_name", "_tracer")

    _simple = False
    _outcome = OUTCOME_ABANDONED
    _parent_span = None
    _flags = 0

    def __init__(self, tracer: StudioTracer, name: str) -> None:
        self._tracer = tracer
        self._name = name
