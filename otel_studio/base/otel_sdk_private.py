"""Every private name of OpenTelemetry's SDK that this package touches, in one place.

Those of the API are in `otel_private`; `tests/spans/test_otel_private.py` covers both. The
provider rests on the SDK's own classes and also calls `TracerProvider._apply_tracer_configurator`,
`._tracers_lock`, `._disabled` and `._span_limits`, which it inherits.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.sdk.trace import sampling


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
    if not isinstance(sampler, sampling.StaticSampler):
        return None
    return getattr(sampler, "_decision", None)


def always_record_root(sampler: sampling.Sampler) -> sampling.Sampler | None:
    """Return the sampler inside an `AlwaysRecordSampler` (private: `AlwaysRecordSampler._root`)."""
    kind = getattr(sampling, "AlwaysRecordSampler", None)
    if kind is None or not isinstance(sampler, kind):
        return None
    return getattr(sampler, "_root", None)


def remove_span_processor(provider: Any, processor: Any) -> None:
    """Take a processor out of a provider, which can only add them.

    Private: `TracerProvider._active_span_processor`, `._span_processors` and `._lock` of it.
    """
    several: Any = getattr(provider, "_active_span_processor", None)
    if isinstance(getattr(several, "_span_processors", None), tuple):
        with several._lock:
            several._span_processors = tuple(
                other for other in several._span_processors if other is not processor
            )


def has_span_processors(provider: Any) -> bool:
    """Tell whether a provider hands its spans to anything.

    Private: `TracerProvider._active_span_processor`, `._span_processors` of it.
    """
    several: Any = getattr(provider, "_active_span_processor", None)
    return bool(getattr(several, "_span_processors", ()))


def metric_readers(meter_provider: Any) -> list[Any]:
    """Return a provider's readers (private: `MeterProvider._metric_readers`, `_sdk_config`)."""
    config = getattr(meter_provider, "_sdk_config", None)
    readers: Iterable[Any] = getattr(
        meter_provider, "_metric_readers", getattr(config, "metric_readers", ())
    )
    return list(readers)


def is_shut_down(meter_provider: Any) -> bool:
    """Tell whether a provider has ended (private: `MeterProvider._shutdown`)."""
    return bool(getattr(meter_provider, "_shutdown", False))


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


def histogram_aggregation(reader: Any) -> Any:
    """Return the aggregation a reader wants for histograms, `None` where it says none.

    Private: `MetricReader._instrument_class_aggregation`.
    """
    from opentelemetry.sdk.metrics import Histogram

    table = getattr(reader, "_instrument_class_aggregation", {})
    return next((found for kind, found in table.items() if issubclass(kind, Histogram)), None)


@dataclasses.dataclass(frozen=True, slots=True)
class ViewParts:
    """What a View makes of a metric; `None` where it leaves it as it is."""

    name: str | None = None
    description: str | None = None
    attribute_keys: frozenset[str] | None = None
    aggregation: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class BucketParts:
    """What an aggregation says of a histogram's buckets; `None` where it leaves that to others."""

    bounds: tuple[float, ...] | None = None
    max_size: int | None = None
    max_scale: int | None = None
    has_extremes: bool = True


def bucket_parts(aggregation: Any) -> BucketParts:
    """Return what an aggregation wants of a histogram's buckets.

    Private: `ExplicitBucketHistogramAggregation._boundaries`, `._record_min_max`,
    `ExponentialBucketHistogramAggregation._max_size`, `._max_scale`, `._record_min_max`.

    Args:
        aggregation: of the SDK; a size that is its default is nobody's wish.
    """
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

    bounds = getattr(aggregation, "_boundaries", None)
    size = getattr(aggregation, "_max_size", None)
    if size == ExponentialBucketHistogramAggregation()._max_size:
        size = None
    return BucketParts(
        None if bounds is None else tuple(map(float, bounds)),
        size,
        getattr(aggregation, "_max_scale", None),
        getattr(aggregation, "_record_min_max", True),
    )


def has_views(meter_provider: Any) -> bool:
    """Tell whether a provider has Views (private: `MeterProvider._sdk_config.views`)."""
    return bool(getattr(getattr(meter_provider, "_sdk_config", None), "views", ()))


def matching_views(meter_provider: Any, instrument: Any) -> list[ViewParts]:
    """Return what the Views of a provider that match an instrument say.

    Private: `MeterProvider._sdk_config.views`, `View._match`, `._name`, `._description`,
    `._attribute_keys`, `._aggregation`.
    """
    from opentelemetry.sdk.metrics.view import DefaultAggregation

    found = []
    for view in meter_provider._sdk_config.views:
        if view._match(instrument):
            keys, aggregation = view._attribute_keys, view._aggregation
            is_default = isinstance(aggregation, DefaultAggregation)
            found.append(
                ViewParts(
                    view._name,
                    view._description,
                    None if keys is None else frozenset(keys),
                    None if is_default else aggregation,
                )
            )
    return found


def instruments(meter_provider: Any) -> list[tuple[Any, Any]]:
    """Return every instrument of a provider with its scope.

    Private: `MeterProvider._meters`, `Meter._instrument_id_instrument`.
    """
    return [
        (scope, instrument)
        for scope, meter in list(getattr(meter_provider, "_meters", {}).items())
        for instrument in list(getattr(meter, "_instrument_id_instrument", {}).values())
    ]


def up_down_counters(meter_provider: Any) -> frozenset[tuple[str, str]]:
    """Return scope and name of a provider's up-down counters that are not observed."""
    from opentelemetry.metrics import UpDownCounter

    return frozenset(
        (scope.name, instrument.name)  # type: ignore[attr-defined]
        for scope, instrument in instruments(meter_provider)
        if isinstance(instrument, UpDownCounter)
    )


def wanted_deltas(reader: Any, meter_provider: Any) -> frozenset[tuple[Any, str]]:
    """Return scope and name of the instruments of which a reader wants deltas.

    Private: `MetricReader._instrument_class_temporality`.
    """
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    table = getattr(reader, "_instrument_class_temporality", {})
    return frozenset(
        (scope, instrument.name)
        for scope, instrument in instruments(meter_provider)
        if table.get(type(instrument)) is AggregationTemporality.DELTA
    )


def start_measuring_anew(meter_provider: Any, resource: Any) -> None:
    """Have a meter provider's instruments start from zero in a forked child.

    The child inherits what the parent has counted, and locks that a thread of the parent held.

    Private: `MeterProvider._measurement_consumer` with `._lock` and `._reader_storages`,
    `MeterProvider._sdk_config.resource`, `MetricReaderStorage.__init__`, `MeterProvider._meters`,
    `Meter._instrument_registration_lock`.

    Args:
        meter_provider: of the SDK.
        resource: the child's own.
    """
    config = meter_provider._sdk_config
    config.resource = resource
    consumer = meter_provider._measurement_consumer
    consumer._lock = threading.Lock()
    consumer._reader_storages = {
        reader: type(storage)(
            config, reader._instrument_class_temporality, reader._instrument_class_aggregation
        )
        for reader, storage in consumer._reader_storages.items()
    }
    for meter in list(meter_provider._meters.values()):
        meter._instrument_registration_lock = threading.Lock()


def metric_preferences(exporter: Any) -> tuple[Any, Any]:
    """Return the temporality and the aggregation that an exporter wants for each instrument.

    Private: `MetricExporter._preferred_temporality`, `._preferred_aggregation`.
    """
    return (
        getattr(exporter, "_preferred_temporality", None),
        getattr(exporter, "_preferred_aggregation", None),
    )


def log_records_waiting(processor: Any) -> int:
    """Return how many records wait in a queue of log records; 0 where that has moved.

    Private: `BatchLogRecordProcessor._batch_processor`, `._queue` of it.
    """
    batches = getattr(processor, "_batch_processor", None)
    return len(getattr(batches, "_queue", ()))


def give_reader_exporter(reader: Any, exporter: Any) -> None:
    """Have a periodic reader send through another exporter, in a forked child.

    Private: `PeriodicExportingMetricReader._exporter`, `._export_lock`, which a thread of the
    parent may have held.
    """
    reader._export_lock = threading.Lock()
    reader._exporter = exporter


def tracers(provider: Any) -> list[Any]:
    """Return the tracers a provider of the SDK has made (private: `TracerProvider._tracers`)."""
    made = getattr(provider, "_tracers", None)
    return list(made.values()) if isinstance(made, dict) else []
