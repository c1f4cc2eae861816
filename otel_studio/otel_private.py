"""Every private name of OpenTelemetry that this package touches, in one place.

Each is looked up here and nowhere else, and `tests/tracing/test_otel_private.py` says
clearly which one a new release has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context import Context

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import sampling

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


def parent_based_parts(sampler: sampling.ParentBased) -> tuple[sampling.Sampler, ...] | None:
    """Return root, and the delegates for remote and local parents, or `None` if they moved.

    Private: `ParentBased._root`, `._remote_parent_sampled`, `._remote_parent_not_sampled`,
    `._local_parent_sampled`, `._local_parent_not_sampled`.
    """
    names = (
        "_root",
        "_remote_parent_sampled",
        "_remote_parent_not_sampled",
        "_local_parent_sampled",
        "_local_parent_not_sampled",
    )
    parts = tuple(getattr(sampler, name, None) for name in names)
    return None if any(part is None for part in parts) else parts  # type: ignore[return-value]


def static_decision(sampler: sampling.Sampler) -> sampling.Decision | None:
    """Return what a `StaticSampler` always decides (private: `StaticSampler._decision`)."""
    from opentelemetry.sdk.trace import sampling

    if not isinstance(sampler, sampling.StaticSampler):
        return None
    return getattr(sampler, "_decision", None)


def always_record_root(sampler: sampling.Sampler) -> sampling.Sampler | None:
    """Return the sampler inside an `AlwaysRecordSampler` (private: `AlwaysRecordSampler._root`)."""
    from opentelemetry.sdk.trace import sampling

    kind = getattr(sampling, "AlwaysRecordSampler", None)
    if kind is None or not isinstance(sampler, kind):
        return None
    return getattr(sampler, "_root", None)


def global_tracer_provider() -> trace_api.TracerProvider | None:
    """Return the provider that was set globally (private: `trace._TRACER_PROVIDER`)."""
    return getattr(trace_api, "_TRACER_PROVIDER", None)


def replace_global_tracer_provider(
    provider: trace_api.TracerProvider | None, *, for_good: bool = False
) -> None:
    """Set the global provider even where one is set.

    Private: `trace._TRACER_PROVIDER`, `trace._TRACER_PROVIDER_SET_ONCE`.

    Args:
        provider: ours, or the one that stood there before.
        for_good: a later `set_tracer_provider` is refused, as after any first one.
    """
    trace_api._TRACER_PROVIDER = provider
    if for_good:
        trace_api._TRACER_PROVIDER_SET_ONCE.do_once(_nothing)


def _nothing() -> None:
    """Stand for the setting that has been done already."""


def global_meter_provider() -> Any:
    """Return the meter provider that was set globally (private: `metrics._internal`)."""
    from opentelemetry.metrics import _internal

    return getattr(_internal, "_METER_PROVIDER", None)


def replace_global_meter_provider(provider: Any, *, for_good: bool = False) -> None:
    """Set the global meter provider even where one is set.

    Private: `metrics._internal._METER_PROVIDER`, `._METER_PROVIDER_SET_ONCE`.
    """
    from opentelemetry.metrics import _internal

    _internal._METER_PROVIDER = provider
    if for_good:
        _internal._METER_PROVIDER_SET_ONCE.do_once(_nothing)


def metric_readers(meter_provider: Any) -> list[Any]:
    """Return a meter provider's readers (private: `MeterProvider._metric_readers`, `_sdk_config`)."""
    config = getattr(meter_provider, "_sdk_config", None)
    readers: Iterable[Any] = getattr(
        meter_provider, "_metric_readers", getattr(config, "metric_readers", ())
    )
    return list(readers)


def add_metric_reader(meter_provider: Any, reader: Any) -> bool:
    """Register one more reader, where the SDK can; older ones take readers only when they are made.

    Returns:
        whether the reader was registered; otherwise it collects nothing of the instruments.
    """
    add = getattr(meter_provider, "add_metric_reader", None)
    if add is None:
        set_collect_callback(reader, lambda *args, **kwargs: None)
        return False
    add(reader)
    return True


def collect_callback(reader: Any) -> Callable[..., Any] | None:
    """Return what a reader calls to collect (private: `MetricReader._collect`)."""
    return getattr(reader, "_collect", None)


def set_collect_callback(reader: Any, callback: Callable[..., Any] | None) -> None:
    """Set what a reader calls to collect (private: `MetricReader._set_collect_callback`)."""
    reader._set_collect_callback(callback)


def histogram_temporality(reader: Any) -> Any:
    """Return the temporality a reader wants for histograms.

    Private: `MetricReader._instrument_class_temporality`.
    """
    from opentelemetry.sdk.metrics import Histogram
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    table = getattr(reader, "_instrument_class_temporality", {})
    for kind, temporality in table.items():
        if issubclass(kind, Histogram):
            return temporality
    return AggregationTemporality.CUMULATIVE


def counter_temporality(reader: Any) -> Any:
    """Return the temporality a reader wants for counters.

    Private: `MetricReader._instrument_class_temporality`.
    """
    from opentelemetry.sdk.metrics import Counter
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    table = getattr(reader, "_instrument_class_temporality", {})
    for kind, temporality in table.items():
        if issubclass(kind, Counter):
            return temporality
    return AggregationTemporality.CUMULATIVE


#: The context key that tells instrumentations to stay quiet
#: (private: `context._SUPPRESS_INSTRUMENTATION_KEY`; contrib's own name for it is the fallback).
SUPPRESS_KEY: str = getattr(
    context_api, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"
)


def tracers(provider: Any) -> list[Any]:
    """Return the tracers a provider of the SDK has made (private: `TracerProvider._tracers`)."""
    made = getattr(provider, "_tracers", None)
    return list(made.values()) if isinstance(made, dict) else []
