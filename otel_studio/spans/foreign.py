"""Feeds the registry from somebody else's TracerProvider, as an ordinary SpanProcessor."""

from __future__ import annotations

import functools
import weakref
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Span, StatusCode

from otel_studio.base import outcome
from otel_studio.base.clock import Clock
from otel_studio.base.exceptions import is_cancellation_name
from otel_studio.base.guard import report_internal_error
from otel_studio.spans.active import running_task, this_thread
from otel_studio.spans.buffer import EndedSpans
from otel_studio.spans.ended_run import Children
from otel_studio.spans.span import span_name, unix_time

#: Running spans remembered; past it, further ones are counted only when they end.
_MAX_RUNNING = 100_000
#: Between the SDK's reading of the wall clock and ours, at most; more means times of the caller's.
_CLOCK_READ_NS = 1_000_000


class _Scope:
    """Stands for the tracer of a span that another provider made."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class ForeignRun:
    """A span of another provider, in the form that the registry folds."""

    #: It is looked through in full: what another provider's span holds is known at its end.
    _simple = False

    __slots__ = (
        "_attributes",
        "_children",
        "_end",
        "_events",
        "_failure",
        "_flags",
        "_light",
        "_name",
        "_outcome",
        "_parent_span",
        "_records",
        "_reference",
        "_span_id",
        "_start",
        "_status_code",
        "_status_description",
        "_task",
        "_thread",
        "_trace_id",
        "_tracer",
        "_wall",
        "end_time",
        "start_time",
    )

    def __init__(
        self, span: ReadableSpan, start: int, wall: int, parent: ForeignRun | None
    ) -> None:
        context = span.get_span_context() or INVALID_SPAN_CONTEXT
        scope = span.instrumentation_scope
        self._tracer = _Scope("" if scope is None else span_name(scope.name))
        self._name = span_name(span.name)
        self._trace_id: int = context.trace_id
        self._span_id: int = context.span_id
        self._flags = int(context.trace_flags)
        self._start = start
        self._wall = wall
        self._end = 0
        self._parent_span = parent
        self._children: Children | None = None
        self._outcome = outcome.UNSET
        self._failure = None
        self._records: Any = None
        self._light: Any = None
        self._thread = this_thread.mark
        self._task = running_task()
        #: Of the span itself; it tells when the span was dropped without an end.
        self._reference: Any = None
        self._attributes: Any = None
        self._events: Any = ()
        self._status_code = StatusCode.UNSET
        self._status_description: str | None = None
        self.start_time = unix_time(span.start_time)
        self.end_time: int | None = None

    def take_end(self, span: ReadableSpan, now: int, wall: int) -> None:
        """Copy what the ended span says.

        The duration is that of the monotonic clock, unless the span was given times of its
        own: then it is the difference of these, and never negative.
        """
        self._name = span_name(span.name)
        self._attributes = dict(span.attributes or {})
        self._events = span.events
        self._status_code = span.status.status_code
        self._status_description = span.status.description
        self._outcome = outcome.outcome_named(self._attributes.get(outcome.OUTCOME_ATTRIBUTE))
        if not self._outcome and self._status_code is StatusCode.ERROR and self._was_cancelled():
            self._outcome = outcome.CANCELLED
        self.end_time = unix_time(span.end_time)
        self._task = None
        self._reference = None
        measured = now - self._start
        if outcome.RECORDED_ATTRIBUTE in self._attributes or self._has_own_times(wall):
            measured = max(self.end_time - self.start_time, 0)
        self._end = self._start + measured

    def _was_cancelled(self) -> bool:
        """Tell whether the status is that of a cancellation, which the SDK takes for an error."""
        for event in reversed(self._events or ()):
            if event.name == "exception" and event.attributes:
                name = str(event.attributes.get("exception.type"))
                said = (self._status_description or "").startswith(name.rpartition(".")[2] + ": ")
                return said and is_cancellation_name(name)
        return False

    def _has_own_times(self, wall: int) -> bool:
        """Tell whether the caller gave start or end: they are not what the wall clock said."""
        return (
            abs(self.start_time - self._wall) > _CLOCK_READ_NS
            or abs((self.end_time or 0) - wall) > _CLOCK_READ_NS
        )


class RegistrySpanProcessor(SpanProcessor):
    """Folds every span of another provider into the registry.

    Never raises; the work at a span's end is one append, the rest is folded elsewhere.

    Args:
        ended: the buffer that the registry folds from.
        clock: the monotonic clock that durations are measured with.
    """

    def __init__(self, ended: EndedSpans, clock: Clock) -> None:
        self._ended = ended
        self._now = clock.monotonic_ns
        self._wall = clock.time_ns
        self._running: dict[tuple[int, int], ForeignRun] = {}
        self.attached = True

    def find(self, span: Span) -> ForeignRun | None:
        """Return the run of a span that is going on, `None` for any other."""
        context = span.get_span_context()
        return self._running.get((context.trace_id, context.span_id))

    def on_start(self, span: ReadableSpan, parent_context: Any = None) -> None:
        """Note that a span began."""
        if not self.attached or len(self._running) >= _MAX_RUNNING:
            return
        try:
            parent = span.parent
            run = ForeignRun(
                span,
                self._now(),
                self._wall(),
                None if parent is None else self._running.get((parent.trace_id, parent.span_id)),
            )
            key = run._trace_id, run._span_id
            run._reference = weakref.ref(span, functools.partial(self._dropped, key))
            self._ended.active.add(run)
            self._running[key] = run
        except Exception as error:
            report_internal_error("noting the start of a span", error)

    def _dropped(self, key: tuple[int, int], _: object) -> None:
        """Count a span as abandoned: it is gone, and has not ended."""
        run = self._running.get(key)
        if run is not None and self.attached:
            run._outcome = outcome.ABANDONED
            self._ended.append(run)
            self._running.pop(key, None)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue an ended span for the registry."""
        if not self.attached:
            return
        try:
            context = span.get_span_context()
            if context is None:
                return
            key = (context.trace_id, context.span_id)
            run = self._running.get(key)
            now, wall = self._now(), self._wall()
            if run is None:
                stated = max(unix_time(span.end_time) - unix_time(span.start_time), 0)
                run = ForeignRun(span, now - stated, wall - stated, None)
                self._ended.active.add(run)
            run.take_end(span, now, wall)
            self._ended.append(run)
            self._running.pop(key, None)
            self._ended.wake_up()
            if len(self._ended.spans) > self._ended.limit:
                self._ended.relieve()
        except Exception as error:
            report_internal_error("folding an ended span", error)

    def shutdown(self) -> None:
        """Fold what waits, and take no further span."""
        self._ended.fold()
        self.attached = False
        self._running.clear()
        self._ended.active.clear()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Fold what waits."""
        self._ended.fold()
        return True

    def after_fork_in_child(self) -> None:
        """Forget the parent process's running spans."""
        self._running.clear()
