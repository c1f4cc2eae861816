"""The hot path of an operation: start and end with every constant prepared once.

The functions that `FastPort` holds do what `start_span`, `attach`, `detach` and `end` do,
in one frame each. They never raise: a failure of ours is counted and the call goes on
without a span.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util import types

from otel_studio.base import outcome
from otel_studio.base.grpc_status import grpc_status
from otel_studio.base.guard import raised_by_signal_handler, report_internal_error
from otel_studio.base.otel_private import SPAN_KEY, context_functions
from otel_studio.operations.binding import outcome_here, put_back, reset_context
from otel_studio.spans.active import running_task, this_thread
from otel_studio.spans.constant_attributes import ConstantAttributes
from otel_studio.spans.sampling import RATIO_MASK
from otel_studio.spans.span import StudioSpan, new_span

if TYPE_CHECKING:
    from otel_studio.spans.tracer import StudioTracer

_get_context, _set_context, _reset_context = context_functions()


class RunWatcher(Protocol):
    """Measures runs from outside, such as what they allocate; neither method raises."""

    def begin(self) -> Any:
        """Return what `end` needs, `None` for a run that is not measured."""

    def end(self, token: Any, service: str, operation: str) -> None:
        """Note a run that ended."""


class FastPort:
    """The prepared start and end of one operation.

    Attributes:
        enter: starts a span and makes it current; takes what is current now, where the caller
            has asked for it already. Returns the span.
        finish: ends a span that went well and puts the context back.
        start: starts a span that is not made current.
        end: ends a span that was started by `start`, or one that was left.
    """

    __slots__ = ("_provider", "end", "enter", "finish", "start")

    def __init__(self, tracer: StudioTracer, name: str, attributes: types.Attributes) -> None:
        self._provider = tracer.provider
        self.start, self.enter = _make_starts(tracer, name, attributes)
        self.finish, self.end = _make_ends(tracer)

    def watch(self, watcher: RunWatcher, service: str, operation: str) -> None:
        """Have every run that is entered measured by a watcher too.

        Args:
            watcher: asked at the start and at the end of each run.
            service: what the watcher is told.
            operation: likewise.
        """
        enter, finish = self.enter, self.finish

        def watched_enter(context: Context | None = None, /) -> Any:
            span = enter(context)
            if type(span) is StudioSpan:
                span._watched = watcher.begin()
            return span

        def watched_finish(span: Any) -> None:
            token = getattr(span, "_watched", None)
            if token is not None:
                span._watched = None
                watcher.end(token, service, operation)
            finish(span)

        self.enter, self.finish = watched_enter, watched_finish

    def set_task(self, span: Any) -> None:
        """Note which asyncio task runs the span, for the list of running operations."""
        if span is not None:
            span._task = running_task()

    def undo(self, context: Context, /) -> None:
        """Forget a start that something interrupted, and put back what was current before it."""
        span = _get_context().get(SPAN_KEY)
        if type(span) is StudioSpan and span is not context.get(SPAN_KEY):
            self._provider.active.discard(span)
        put_back(context)

    def leave(self, span: Any, /) -> None:
        """Put back what was current before the span, which goes on."""
        if getattr(span, "_token", None) is not None:
            _end_token(span)

    def fail(
        self, span: Any, error: BaseException, expected: tuple[type[BaseException], ...]
    ) -> None:
        """Record how a run ended that an exception left; the span is still to be finished."""
        if type(span) is not StudioSpan or span._end:
            return
        before = span._outcome
        # Without a call, which at the recursion limit may fail like the rest.
        span._simple = False
        span._outcome = outcome.ERROR
        try:
            how = outcome_here(error, expected)
            answered = grpc_status(error)
            if answered is not None:
                span.set_attributes(answered.attributes)
            if how == outcome.OK:
                # What `op.fail` said stays, also where an expected exception leaves the run.
                span._outcome = before
            elif how == outcome.CANCELLED:
                span._make_unusual(_outcome=outcome.CANCELLED)
                span.set_attribute(outcome.OUTCOME_ATTRIBUTE, "cancelled")
            else:
                span.record_exception(error, escaped=True)
                failure = span._failure
                if failure is not None:  # else another thread has ended the run meanwhile
                    span.set_attribute("error.type", failure.type_name)
                    said = f"{type(error).__name__}: {failure.message}"
                    span.set_status(StatusCode.ERROR, said)
        except RecursionError:
            pass  # no room on the stack for more than that it failed, which is said already
        except Exception as internal:
            report_internal_error("recording a failed operation", internal)

    def abandon(self, span: Any) -> None:
        """End a span that was dropped: counted as abandoned, without a duration."""
        if type(span) is StudioSpan and not span._end:
            span._make_unusual(_outcome=outcome.ABANDONED)
            span.set_attribute(outcome.OUTCOME_ATTRIBUTE, "abandoned")
            self.end(span)


def _make_starts(
    tracer: StudioTracer, name: str, attributes: types.Attributes
) -> tuple[Callable[[], Any], Callable[..., Any]]:
    sampling_plan = tracer.plan
    assert sampling_plan is not None
    bound, follows_parent = sampling_plan.bound, sampling_plan.follows_parent
    sampled, unsampled = tracer.random_flag | 1, tracer.random_flag
    # None where each trace id decides.
    root_flags = sampled if bound > RATIO_MASK else None if bound else unsampled
    provider = tracer.provider
    activate = provider.active.add
    new_trace_id, new_span_id, now = tracer.new_trace_id, tracer.new_span_id, tracer.now
    constants = _prepared(tracer, attributes)
    internal = SpanKind.INTERNAL
    # With processors that are called at every start, spans start the usual way. One that is
    # added later has operations prepared anew.
    is_short = not provider.processors

    def begin(context: Context) -> Any:
        """Start the usual way, and let the span live as an operation: until we end it."""
        span = tracer.start_span(name, context, attributes=constants, is_held=True)
        if type(span) is StudioSpan and span._task is not None:
            span._task = None  # `set_task` says it, where it is known to hold
        return span

    def start() -> Any:
        try:
            return begin(_get_context())
        except Exception as error:
            report_internal_error("starting an operation", error)
            return None

    def enter(context: Context | None = None, /) -> Any:
        span: Any = None
        if context is None:
            context = _get_context()
        try:
            parent = context.get(SPAN_KEY) if context else None
            if is_short and parent is None:
                # `new_span`, without the call.
                span = StudioSpan()
                span._tracer = tracer
                span._name = name
                span._trace_id = trace_id = new_trace_id()
                span._span_id = new_span_id()
                span._flags = (
                    root_flags
                    if root_flags is not None
                    else (sampled if trace_id & RATIO_MASK < bound else unsampled)
                )
                span._parent_span = None
                span._end = 0
                span._kind = internal
                span._attributes = constants
                span._simple = True
                span._token = None
                span._thread = this_thread.mark
                span._start = now()
                activate(span)
            elif is_short and follows_parent and type(parent) is StudioSpan:
                span = StudioSpan()
                span._tracer = tracer
                span._name = name
                span._trace_id = parent._trace_id
                span._span_id = new_span_id()
                span._flags = parent._flags
                span._parent_span = parent
                span._parent_id = parent._span_id
                span._end = 0
                span._kind = internal
                span._attributes = constants
                span._simple = True
                span._token = None
                if not parent._simple and parent._trace_state is not None:
                    span._make_unusual(_trace_state=parent._trace_state)
                span._thread = this_thread.mark
                span._start = now()
                activate(span)
            else:
                span = begin(context)
            if not context or (parent is not None and len(context) == 1):  # nothing else in it
                span._token = _set_context(Context({SPAN_KEY: span}))
            else:
                span._token = _set_context(Context({**context, SPAN_KEY: span}))
            if not is_short:
                span._token = ToldToken(span._token)
            return span
        except BaseException as error:
            provider.active.discard(span)
            put_back(context)
            if not isinstance(error, Exception):
                raise
            report_internal_error("starting an operation", error)
            return None

    return start, enter


class ToldToken:
    """Stands for the token of a span whose end is told to processors.

    No context takes it: the short way of ending a span ends there.
    """

    __slots__ = ("token",)

    def __init__(self, token: Any) -> None:
        self.token = token


def _end_token(span: StudioSpan) -> None:
    """Put the context back where a span of ours may still have its token."""
    token = span._token
    if token is not None:
        try:
            reset_context(token.token if type(token) is ToldToken else token, span)
        except RuntimeError:  # interrupted right after it was used
            pass
        span._token = None


def _prepared(tracer: StudioTracer, attributes: types.Attributes) -> ConstantAttributes | None:
    """Return the attributes of every run as a span would hold them."""
    if not attributes:
        return None
    span = new_span(tracer, "", 0, 0, 0, None, 0, this_thread.mark)
    span.set_attributes(attributes)
    return ConstantAttributes(span._attributes) if span._attributes else None


def _make_ends(tracer: StudioTracer) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    provider = tracer.provider
    ended = provider.ended
    waiting, append = ended.spans, ended.append
    now, finish_slowly = tracer.now, tracer.finish

    def finish(span: Any) -> None:
        try:
            end = now()
            _reset_context(span._token)
            span._token = None
            if span._end:  # by its own `end()`
                return
            span._end = end
            append(span)  # active until here, ended from here on
            if len(waiting) > ended.limit:
                ended.relieve()
        except BaseException as error:
            unusual_end(span, error)

    def end(span: Any) -> None:
        try:
            if type(span) is not StudioSpan:
                if span is not None:
                    span.end()
            elif span._end:
                return
            elif provider.processors or span._token is not None:
                finish_slowly(span, now())
            else:  # as in `finish`
                span._end = now()
                append(span)
                if len(waiting) > ended.limit:
                    ended.relieve()
        except RecursionError as error:
            # Not even a call of ours fits on the stack: whoever has room ends the run.
            if type(span) is StudioSpan:
                if not span._outcome and span._status_code is StatusCode.UNSET:
                    span._outcome = outcome.OK
                span._lost = error
        except Exception as error:
            report_internal_error("ending an operation", error)

    def unusual_end(span: Any, error: BaseException) -> None:
        """End what the short way could not: no span, another context, a span not ours."""
        is_told = False
        if type(span) is StudioSpan:
            if span._end and span._token is None and isinstance(error, TypeError):
                return  # it was ended where an exception interrupted its first end
            is_told = type(span._token) is ToldToken
            _end_token(span)  # left in another context than entered, or interrupted before
            provider.complete(span)
        elif span is not None:
            end(span)
        if not isinstance(error, Exception) or raised_by_signal_handler(error):
            raise error
        # The run is ended; a context left elsewhere, and a full stack, are not for us to mend.
        is_ours = not isinstance(error, (ValueError, RecursionError))
        if type(span) is StudioSpan and not is_told and is_ours:
            report_internal_error("ending an operation", error)

    return finish, end
