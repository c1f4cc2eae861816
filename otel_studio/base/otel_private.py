"""Every private name of OpenTelemetry's API that this package touches, in one place.

Those of the SDK are in `otel_sdk_private`. Each is looked up there and nowhere else, and
`tests/spans/test_otel_private.py` says clearly which one a new release has moved.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context import Context

from otel_studio.base.locks import new_lock

#: The key under which a context holds its span; found through the public API.
SPAN_KEY: str = next(iter(trace_api.set_span_in_context(trace_api.INVALID_SPAN, Context())))


def context_functions() -> tuple[
    Callable[[], Context], Callable[[Context], Any], Callable[[Any], None]
]:
    """Return get, set and reset of the current context.

    They are the `ContextVar`'s own methods where the runtime context is the standard one
    (`opentelemetry.context._RUNTIME_CONTEXT._current_context`), else the public functions.
    """
    runtime = getattr(context_api, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None)
    if isinstance(variable, ContextVar):
        return variable.get, variable.set, variable.reset
    return context_api.get_current, context_api.attach, context_api.detach


def global_tracer_provider() -> trace_api.TracerProvider | None:
    """Return the provider that was set globally (private: `trace._TRACER_PROVIDER`)."""
    return getattr(trace_api, "_TRACER_PROVIDER", None)


def replace_global_tracer_provider(
    provider: trace_api.TracerProvider | None, *, gives_way: Callable[[], None] | None = None
) -> None:
    """Set the global provider even where one is set.

    Private: `trace._TRACER_PROVIDER`, `trace._TRACER_PROVIDER_SET_ONCE`.

    Args:
        provider: ours, or the one that stood there before.
        gives_way: called when the program sets another one, which takes its place; a further one
            is refused, as after any first one.
    """
    trace_api._TRACER_PROVIDER = provider
    if gives_way is not None:
        trace_api._TRACER_PROVIDER_SET_ONCE = _OnceMore(gives_way)  # type: ignore[assignment]


class _OnceMore:
    """Lets one more provider be set; in the place of OpenTelemetry's own `Once`.

    Args:
        then: called once it is set.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self._is_done = False
        self._lock = new_lock()

    def do_once(self, set_it: Callable[[], None]) -> bool:
        """Set it, and tell whether it was the one."""
        with self._lock:
            if self._is_done:
                return False
            self._is_done = True
        set_it()
        self._then()
        return True


def global_meter_provider() -> Any:
    """Return the meter provider that was set globally (private: `metrics._internal`)."""
    from opentelemetry.metrics import _internal

    return getattr(_internal, "_METER_PROVIDER", None)


def replace_global_meter_provider(
    provider: Any, *, gives_way: Callable[[], None] | None = None
) -> None:
    """Set the global meter provider even where one is set.

    Private: `metrics._internal._METER_PROVIDER`, `._METER_PROVIDER_SET_ONCE` and
    `._PROXY_METER_PROVIDER`, whose instruments were made before any provider was set.

    Args:
        provider: ours, or the one that stood there before.
        gives_way: as for `replace_global_tracer_provider`.
    """
    from opentelemetry.metrics import _internal

    _internal._METER_PROVIDER = provider
    if gives_way is not None:
        _internal._PROXY_METER_PROVIDER.on_set_meter_provider(provider)
        _internal._METER_PROVIDER_SET_ONCE = _OnceMore(gives_way)  # type: ignore[assignment]


#: The context key that tells instrumentations to stay quiet
#: (private: `context._SUPPRESS_INSTRUMENTATION_KEY`; contrib's own name for it is the fallback).
SUPPRESS_KEY: str = getattr(
    context_api, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"
)
