"""The span around one task, in the thread or process that runs it."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode

from .safety import report_failure
from .version import __version__

#: The instrumentation scope: the service under which the tasks appear.
SCOPE = "executors"


def run_in_span(
    tracer: trace.Tracer,
    name: str,
    attributes: dict[str, Any],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run a task in a span of its own, child of the current one, and return what it returns.

    Args:
        tracer: makes the span.
        name: the operation.
        attributes: of the span.
        function: the task.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    span, token = _enter(tracer, name, attributes)
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        _fail(span, error)
        raise
    finally:
        _exit(span, token)
        # The task's exception keeps this frame alive: keep nothing of the task in it.
        del function, args, kwargs


def _enter(tracer: trace.Tracer, name: str, attributes: dict[str, Any]) -> tuple[Span, Any]:
    try:
        span = tracer.start_span(name, attributes=attributes)
        if not span.get_span_context().is_valid:
            # Nobody records here, and what was carried must go on to whatever the task calls.
            return span, None
        return span, context_api.attach(trace.set_span_in_context(span))
    except Exception as error:
        report_failure("starting the span of a task", error)
        return trace.INVALID_SPAN, None


def _fail(span: Span, error: BaseException) -> None:
    try:
        if not span.is_recording():
            return
        how = _outcome_of(error)
        if how == "cancelled":
            _mark_cancelled(span)
        if how != "error":
            return
        span.record_exception(error)
        span.set_attribute("error.type", type_name(error))
        span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
    except Exception as failure:
        report_failure("recording the failure of a task", failure)


def _outcome_of(error: BaseException) -> str:
    """Return `ok`, `error` or `cancelled`: as OTel Studio says, where it counts the runs."""
    if "otel_studio" in sys.modules:
        with contextlib.suppress(ImportError, AttributeError):  # an older one does not say
            studio: Any = importlib.import_module("otel_studio.instrumentation")
            return str(studio.outcome_of(error))
    return "error" if isinstance(error, Exception) else "cancelled"


def _mark_cancelled(span: Span) -> None:
    """Tell OTel Studio that the run was stopped: neither an error nor one that went well."""
    span.set_attribute("studio.outcome", "cancelled")
    take_outcome = getattr(span, "take_outcome", None)
    if take_outcome is not None:  # spans of its own provider do not read their attributes
        take_outcome("cancelled")


def _exit(span: Span, token: Any) -> None:
    try:
        span.end()
    except Exception as error:
        report_failure("ending the span of a task", error)
    if token is not None:
        with contextlib.suppress(Exception):
            context_api.detach(token)


def type_name(error: BaseException) -> str:
    """Return the canonical class name of an exception, as `error.type` carries it.

    Args:
        error: the exception.
    """
    kind = type(error)
    prefix = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return prefix + kind.__qualname__


def global_tracer() -> trace.Tracer:
    """Return the tracer of the process that asks, from its global provider."""
    return trace.get_tracer(SCOPE, __version__)
