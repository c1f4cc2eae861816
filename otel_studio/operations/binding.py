"""Where operations meet a tracer: the OpenTelemetry API, or a faster way that the tracer offers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Protocol, Self

from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util import types

from otel_studio.base.failure import safe_text, type_name
from otel_studio.base.guard import report_internal_error
from otel_studio.base.otel_private import context_functions
from otel_studio.base.outcome import OUTCOME_ATTRIBUTE, is_cancellation
from otel_studio.operations import seat

get_context, set_context, _reset_context = context_functions()


class Port(Protocol):
    """The prepared start and end of one operation; no method of it raises.

    A run is whatever `enter` or `start` returned, and is only handed back.
    """

    def enter(self, context: Context, /) -> Any:
        """Start a run and make its span current; `context` is what is current now."""

    def undo(self, context: Context, /) -> None:
        """Forget a start that something interrupted, and put back what was current before it."""

    def finish(self, run: Any, /) -> None:
        """End a run that `enter` began."""

    def start(self) -> Any:
        """Start a run whose span is not made current."""

    def end(self, run: Any, /) -> None:
        """End a run that `start` began."""

    def fail(
        self, run: Any, error: BaseException, expected: tuple[type[BaseException], ...]
    ) -> None:
        """Record how a run ended that an exception left."""

    def abandon(self, run: Any) -> None:
        """End a run that was dropped."""

    def set_task(self, run: Any) -> None:
        """Note the asyncio task that runs it."""


class _ApiRun:
    """A run of `ApiPort`: the span, and the token of the context it is current in."""

    __slots__ = ("ended", "lost", "span", "token")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.token: Any = None
        self.ended = False
        #: What left no room on the stack to end it.
        self.lost: BaseException | None = None


def span_of(run: Any) -> Span:
    """Return the span of a run of any port; an invalid one where there is none."""
    if run is None:
        return trace_api.INVALID_SPAN
    span: Span = run.span if type(run) is _ApiRun else run
    return span


class ApiPort:
    """Starts and ends the spans of one operation through the OpenTelemetry API alone."""

    __slots__ = ("_attributes", "_name", "_tracer")

    def __init__(self, tracer: trace_api.Tracer, name: str, attributes: types.Attributes) -> None:
        self._tracer = tracer
        self._name = name
        self._attributes = attributes

    def start(self) -> _ApiRun | None:
        """Start a span that is not made current."""
        try:
            span = self._tracer.start_span(self._name, attributes=self._attributes)
            return _ApiRun(span)
        except Exception as error:
            report_internal_error("starting an operation", error)
            return None

    def enter(self, context: Context, /) -> _ApiRun | None:
        """Start a span and make it current."""
        run: _ApiRun | None = None
        try:
            run = self.start()
            if run is not None:
                run.token = set_context(trace_api.set_span_in_context(run.span, context))
            return run
        except BaseException as error:
            put_back(context)
            if run is not None:
                self.abandon(run)
            if not isinstance(error, Exception):
                raise
            report_internal_error("starting an operation", error)
            return None

    def undo(self, context: Context, /) -> None:
        """Forget a start that something interrupted."""
        put_back(context)

    def finish(self, run: _ApiRun | None) -> None:
        """End a span and put the context back."""
        if run is None:
            return
        if run.token is not None:
            try:
                reset_context(run.token, run.span)
            except RuntimeError:  # interrupted right after it was used
                pass
            run.token = None
        self.end(run)

    def end(self, run: _ApiRun | None) -> None:
        """End a span that is not current."""
        if run is None or run.ended:
            return
        run.ended = True
        try:
            run.span.end()
        except Exception as error:
            report_internal_error("ending an operation", error)

    def fail(
        self, run: _ApiRun | None, error: BaseException, expected: tuple[type[BaseException], ...]
    ) -> None:
        """Record how a run ended that an exception left."""
        if run is not None and not run.ended and not isinstance(error, expected):
            mark_failed(run.span, error)

    def abandon(self, run: _ApiRun | None) -> None:
        """End a run that was dropped."""
        if run is not None and not run.ended:
            _set_outcome(run.span, "abandoned")
            self.end(run)

    def set_task(self, run: Any) -> None:
        """Do nothing: the span processor notes the task."""


def mark_failed(span: Span, error: BaseException) -> None:
    """Say on a span, through the API, that an exception left it.

    Args:
        span: the span, still recording.
        error: a cancellation makes the outcome `cancelled`; anything else is an error.
    """
    try:
        if is_cancellation(error):
            _set_outcome(span, "cancelled")
            return
        message = safe_text(error)
        # The status first: it is what makes the run an error, whatever the rest meets.
        span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {message}")
        span.set_attribute("error.type", type_name(type(error)))
        if _has_text(error):
            span.record_exception(error)
        else:
            span.add_event(
                "exception",
                {"exception.type": type_name(type(error)), "exception.message": message},
            )
    except RecursionError:
        pass  # the rest had no room on the stack
    except Exception as internal:
        report_internal_error("recording a failed operation", internal)


def _has_text(error: BaseException) -> bool:
    """Tell whether `str(error)` works: the SDK calls it unguarded."""
    try:
        str(error)
    except Exception:
        return False
    return True


def _set_outcome(span: Span, outcome: str) -> None:
    span.set_attribute(OUTCOME_ATTRIBUTE, outcome)
    take_outcome = getattr(span, "take_outcome", None)
    if take_outcome is not None:  # a span of our own provider does not read its attributes
        take_outcome(outcome)


def put_back(context: Context) -> None:
    """Make a context current again that something started meanwhile has taken the place of.

    Args:
        context: what was current before; where it still is, nothing happens.
    """
    if get_context() is not context:
        set_context(context)


def reset_context(token: Any, span: object = None) -> None:
    """Put the context back, silently where it was entered in another one.

    A block may be left in another thread's or task's context than it was entered in (an
    async generator closed elsewhere), where its token cannot be used.

    Args:
        token: what entering returned.
        span: what the block made current. Where it still is, what was current before the
            block becomes so again; where it is not, there is nothing of ours to put back.
    """
    try:
        _reset_context(token)
    except ValueError:
        if span is not None and trace_api.get_current_span() is span:
            before = getattr(token, "old_value", None)
            set_context(before if isinstance(before, Context) else Context())


class Binding:
    """One operation of one service, and the port it uses until another seat is taken.

    Args:
        service: where it belongs.
        name: of the operation.
        attributes: of every run.
        slow_threshold: seconds above which a run is slow; `None` for the setting.
        labels: names of the attributes that become dimensions of its metrics.
    """

    __slots__ = (
        "__weakref__",
        "_generation",
        "attributes",
        "labels",
        "name",
        "port",
        "service",
        "slow_threshold",
    )

    def __init__(
        self,
        service: str,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        slow_threshold: float | None = None,
        labels: tuple[str, ...] = (),
    ) -> None:
        self.service = service
        self.name = name
        self.attributes = attributes
        self.slow_threshold = slow_threshold
        self.labels = labels
        self.port: Port | None = None
        self._generation = 0
        seat.keep_bound(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # What it is made of: its port, of locks and clocks, is another process's own.
        make = functools.partial(Binding, slow_threshold=self.slow_threshold, labels=self.labels)
        return make, (self.service, self.name, self.attributes)

    def __copy__(self) -> Self:
        return self  # one operation, whoever holds it

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def bind(self) -> Port:
        """Return the port of the seat that is taken, and keep it while it is."""
        generation = self._generation
        current = seat.current()
        if self.slow_threshold is not None or self.labels:
            current.declared.declare(self.service, self.name, self.slow_threshold, self.labels)
        port = self._make_port(current)
        self.port = port
        if generation != self._generation:  # another seat was taken meanwhile
            self.port = None
        return port

    def unbind(self) -> None:
        """Ask anew for a port."""
        self._generation += 1
        self.port = None

    def _make_port(self, current: seat.Seat) -> Port:
        try:
            tracer = current.get_tracer(self.service)
            prepare = getattr(tracer, "operation_port", None)
            port: Port | None = None if prepare is None else prepare(self.name, self.attributes)
        except Exception as error:
            report_internal_error("preparing an operation", error)
            tracer, port = trace_api.NoOpTracer(), None
        return ApiPort(tracer, self.name, self.attributes) if port is None else port
