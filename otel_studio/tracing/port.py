"""The hot path of an operation: start and end with every constant prepared once.

The functions that `FastPort` holds do what `start_span`, `attach`, `detach` and `end` do,
in one frame each. They never raise: a failure of ours is counted and the call goes on
without a span.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util import types

from otel_studio.failure import safe_text, type_name
from otel_studio.guard import report_internal_error
from otel_studio.otel_private import SPAN_KEY, context_functions
from otel_studio.ports import OUTCOME_ATTRIBUTE, is_cancellation
from otel_studio.tracing.active import running_task
from otel_studio.tracing.sampling import RATIO_MASK
from otel_studio.tracing.span import (
    OUTCOME_ABANDONED,
    OUTCOME_CANCELLED,
    OUTCOME_OK,
    StudioSpan,
)

if TYPE_CHECKING:
    from otel_studio.tracing.provider import StudioTracer

_get_context, _set_context, _reset_context = context_functions()


class FastPort:
    """The prepared start and end of one operation.

    Attributes:
        enter: starts a span and makes it current; returns the span.
        finish: ends a span that went well and puts the context back.
        start: starts a span that is not made current.
        end: ends a span that was started by `start`.
    """

    __slots__ = ("end", "enter", "finish", "start")

    def __init__(self, tracer: StudioTracer, name: str, attributes: types.Attributes) -> None:
        self.start, self.enter = _make_starts(tracer, name, attributes)
        self.finish, self.end = _make_ends(tracer)

    def set_task(self, span: Any) -> None:
        """Note which asyncio task runs the span, for the list of running operations."""
        if span is not None:
            span._task = running_task()

    def fail(
        self, span: Any, error: BaseException, expected: tuple[type[BaseException], ...]
    ) -> None:
        """Record how a run ended that an exception left; the span is still to be finished."""
        if type(span) is not StudioSpan or span._end:
            return
        try:
            if isinstance(error, expected):
                span._outcome = OUTCOME_OK
            elif is_cancellation(error):
                span._outcome = OUTCOME_CANCELLED
                span.set_attribute(OUTCOME_ATTRIBUTE, "cancelled")
            else:
                span.record_exception(error, escaped=True)
                span.set_attribute("error.type", type_name(type(error)))
                span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {safe_text(error)}")
        except Exception as internal:
            report_internal_error("recording a failed operation", internal)

    def abandon(self, span: Any) -> None:
        """End a span that was dropped: counted as abandoned, without a duration."""
        if type(span) is StudioSpan and not span._end:
            span._outcome = OUTCOME_ABANDONED
            span.set_attribute(OUTCOME_ATTRIBUTE, "abandoned")
            self.end(span)


def _make_starts(
    tracer: StudioTracer, name: str, attributes: types.Attributes
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    sampling_plan = tracer.plan
    assert sampling_plan is not None
    bound, follows_parent = sampling_plan.bound, sampling_plan.follows_parent
    random_flag = tracer.random_flag
    root_flags = (random_flag, random_flag | 1)
    provider = tracer.provider
    activate = provider.active.add
    new_trace_id, new_span_id, now = tracer.new_trace_id, tracer.new_span_id, tracer.now
    constants = dict(attributes) if attributes else None

    def under_foreign_parent(context: Context, parent: object) -> StudioSpan | Span:
        """Start under a remote parent, a non-recording span or another provider's span."""
        span = tracer.start_span(name, context, attributes=constants)
        if isinstance(span, StudioSpan):
            # From here on it is an operation: it keeps itself alive, and is ended by us.
            reference = span._token
            provider.active_references.discard(reference)
            span._token = None
            activate(span)
        return span

    def make(context: Context) -> Any:
        parent = context.get(SPAN_KEY)
        if parent is None:
            trace_id = new_trace_id()
            span = StudioSpan(
                tracer,
                name,
                trace_id,
                new_span_id(),
                root_flags[trace_id & RATIO_MASK < bound],
                None,
                now(),
                get_ident(),
            )
        elif type(parent) is StudioSpan and follows_parent:
            span = StudioSpan(
                tracer,
                name,
                parent._trace_id,
                new_span_id(),
                parent._flags,
                parent,
                now(),
                get_ident(),
            )
            span._parent_id = parent._span_id
            if parent._trace_state is not None:
                span._trace_state = parent._trace_state
        else:
            return under_foreign_parent(context, parent)
        if constants is not None:
            for key, value in constants.items():
                span.set_attribute(key, value)
        activate(span)
        if provider.processors:
            tracer.started(span, context)
        return span

    def start() -> Any:
        try:
            return make(_get_context())
        except Exception as error:
            report_internal_error("starting an operation", error)
            return None

    def enter() -> Any:
        try:
            context = _get_context()
            # The body of `make`, once more for the two usual cases: a call saved per operation.
            parent = context.get(SPAN_KEY)
            if constants is not None or provider.processors:
                span = make(context)
            elif parent is None:
                trace_id = new_trace_id()
                span = StudioSpan(
                    tracer,
                    name,
                    trace_id,
                    new_span_id(),
                    root_flags[trace_id & RATIO_MASK < bound],
                    None,
                    now(),
                    get_ident(),
                )
                activate(span)
            else:
                span = make(context)
            span._token = _set_context(Context({**context, SPAN_KEY: span}))
            return span
        except Exception as error:
            report_internal_error("starting an operation", error)
            return None

    return start, enter


def _make_ends(tracer: StudioTracer) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    provider = tracer.provider
    deactivate = provider.active.remove
    ended = provider.ended
    waiting, append, limit = ended.spans, ended.append, ended.limit
    now, finish_slowly = tracer.now, tracer.finish

    def finish(span: Any) -> None:
        try:
            end = now()
            _reset_context(span._token)
            span._token = None
            if provider.processors or span._end:
                if not span._end:
                    finish_slowly(span, end)
                return
            deactivate(span)
            span._end = end
            if span._task is not None:
                span._task = None
            append(span)
            if len(waiting) > limit:
                ended.relieve()
        except Exception as error:
            unusual_end(span, error)

    def end(span: Any) -> None:
        try:
            if type(span) is StudioSpan:
                if not span._end:
                    finish_slowly(span, now())
            elif span is not None:
                span.end()
        except Exception as error:
            report_internal_error("ending an operation", error)

    def unusual_end(span: Any, error: Exception) -> None:
        """End what the short way could not: no span, another context, a span not ours."""
        if span is None:
            return
        if isinstance(error, ValueError) and type(span) is StudioSpan:
            span._token = None  # left in another context than entered: nothing to put back
        elif type(span) is StudioSpan and not isinstance(error, KeyError):
            report_internal_error("ending an operation", error)
        if type(span) is StudioSpan and isinstance(error, KeyError) and not span._end:
            return  # forgotten after a fork: it began in the parent process
        end(span)

    return finish, end
