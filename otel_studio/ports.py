"""Where operations meet a tracer: the OpenTelemetry API, or a faster way that the tracer offers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any, Protocol

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util import types

from otel_studio.failure import safe_text, type_name
from otel_studio.guard import report_internal_error
from otel_studio.otel_private import context_functions

_, _set_context, _reset_context = context_functions()

#: The attribute that says `cancelled` or `abandoned` on a span; absent for ok and error.
OUTCOME_ATTRIBUTE = "studio.outcome"
#: The attribute of a span whose duration was measured by the caller.
RECORDED_ATTRIBUTE = "studio.recorded"

#: Seconds above which a run is slow, where `slow_threshold=` says so, by (service, operation).
slow_thresholds: dict[tuple[str, str], float] = {}


class Port(Protocol):
    """The prepared start and end of one operation; no method of it raises.

    A run is whatever `enter` or `start` returned, and is only handed back.
    """

    def enter(self) -> Any:
        """Start a run and make its span current."""

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

    __slots__ = ("ended", "span", "token")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.token: Any = None
        self.ended = False


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

    def enter(self) -> _ApiRun | None:
        """Start a span and make it current."""
        run = self.start()
        if run is not None:
            run.token = context_api.attach(trace_api.set_span_in_context(run.span))
        return run

    def finish(self, run: _ApiRun | None) -> None:
        """End a span and put the context back."""
        if run is None:
            return
        if run.token is not None:
            reset_context(run.token, run.span)
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


def is_cancellation(error: BaseException) -> bool:
    """Tell whether an exception means that the run was cancelled, not that it failed."""
    if isinstance(error, Exception):
        return False
    # By name, so that a program without asyncio does not load it.
    return isinstance(error, GeneratorExit) or any(
        kind.__name__ == "CancelledError" and kind.__module__.startswith("asyncio")
        for kind in type(error).__mro__
    )


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
            _set_context(before if isinstance(before, Context) else Context())


class Binding:
    """One operation of one service, and the port it uses until the tracer provider changes."""

    __slots__ = ("__weakref__", "attributes", "name", "port", "service")

    def __init__(
        self, service: str, name: str, attributes: Mapping[str, Any] | None = None
    ) -> None:
        self.service = service
        self.name = name
        self.attributes = attributes
        self.port: Port | None = None
        with _lock:
            _bindings.add(self)

    def bind(self) -> Port:
        """Return the port through the provider of now, and keep it."""
        provider = _provider
        port: Port = self._make_port()
        with _lock:
            if provider is _provider:
                self.port = port
        return port

    def _make_port(self) -> Port:
        try:
            tracer = get_tracer(self.service)
            prepare = getattr(tracer, "operation_port", None)
            port: Port | None = None if prepare is None else prepare(self.name, self.attributes)
        except Exception as error:
            report_internal_error("preparing an operation", error)
            tracer, port = trace_api.NoOpTracer(), None
        return ApiPort(tracer, self.name, self.attributes) if port is None else port


#: Re-entrant: a finalizer may run inside and use an operation of its own.
_lock = threading.RLock()
_bindings: weakref.WeakSet[Binding] = weakref.WeakSet()
_provider: trace_api.TracerProvider | None = None


def renew_lock() -> None:
    """Replace the lock in a forked child: a thread of the parent may have held it."""
    global _lock
    _lock = threading.RLock()


def use_tracer_provider(provider: trace_api.TracerProvider | None) -> None:
    """Send every operation from now on to a provider.

    Args:
        provider: `None` for whichever is set globally.
    """
    global _provider
    with _lock:
        _provider = provider
        for binding in list(_bindings):
            binding.port = None


def get_tracer(service: str) -> trace_api.Tracer:
    """Return the tracer of a service from the provider in use."""
    provider = _provider if _provider is not None else trace_api.get_tracer_provider()
    return provider.get_tracer(service)


def tracer_provider_in_use() -> trace_api.TracerProvider | None:
    """Return the provider that operations are sent to; `None` for the global one."""
    return _provider
