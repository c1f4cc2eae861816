"""Each private name of OpenTelemetry that is touched is still where it was."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, InMemoryLogRecordExporter
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    InMemoryMetricReader,
)
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import SpanProcessor, Tracer, TracerProvider, sampling
from opentelemetry.sdk.trace.sampling import Decision

from otel_studio.base import otel_private, otel_sdk_private

MOVED = "a new OpenTelemetry release moved {}: otel_studio/base/otel_private.py must follow it"


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (context_api, "_RUNTIME_CONTEXT"),
        (context_api, "_SUPPRESS_INSTRUMENTATION_KEY"),
        (trace_api, "_TRACER_PROVIDER"),
        (trace_api, "_TRACER_PROVIDER_SET_ONCE"),
        (metrics_api._internal, "_METER_PROVIDER_SET_ONCE"),
        (metrics_api._internal, "_METER_PROVIDER"),
        (context_api._RUNTIME_CONTEXT, "_current_context"),
        (sampling.ALWAYS_ON, "_decision"),
        (sampling.ParentBased(sampling.ALWAYS_ON), "_root"),
        (sampling.ParentBased(sampling.ALWAYS_ON), "_remote_parent_sampled"),
        (sampling.ParentBased(sampling.ALWAYS_ON), "_remote_parent_not_sampled"),
        (sampling.ParentBased(sampling.ALWAYS_ON), "_local_parent_sampled"),
        (sampling.ParentBased(sampling.ALWAYS_ON), "_local_parent_not_sampled"),
        (InMemoryMetricReader(), "_collect"),
        (InMemoryMetricReader(), "_set_collect_callback"),
        (InMemoryMetricReader(), "_instrument_class_temporality"),
        (InMemoryMetricReader(), "_instrument_class_aggregation"),
        (MeterProvider(shutdown_on_exit=False)._sdk_config, "views"),
        (MeterProvider(shutdown_on_exit=False), "_meters"),
        (MeterProvider(shutdown_on_exit=False).get_meter("m"), "_instrument_id_instrument"),
        (View(instrument_name="i"), "_match"),
        (View(instrument_name="i"), "_name"),
        (View(instrument_name="i"), "_description"),
        (View(instrument_name="i"), "_attribute_keys"),
        (View(instrument_name="i"), "_aggregation"),
        (TracerProvider(shutdown_on_exit=False), "_tracers"),
        (TracerProvider(shutdown_on_exit=False), "_active_span_processor"),
        (TracerProvider(shutdown_on_exit=False)._active_span_processor, "_span_processors"),
        (TracerProvider(shutdown_on_exit=False)._active_span_processor, "_lock"),
        (TracerProvider(shutdown_on_exit=False), "_tracers_lock"),
        (TracerProvider(shutdown_on_exit=False), "_disabled"),
        (TracerProvider(shutdown_on_exit=False), "_span_limits"),
        (TracerProvider(shutdown_on_exit=False), "_apply_tracer_configurator"),
        (TracerProvider(shutdown_on_exit=False), "_update_resource"),
        (Tracer, "_set_resource"),
        (Tracer, "_set_tracer_config"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_private_name_is_there(owner: Any, name: str) -> None:
    """The attribute exists under its name; what SDK 1.43 lacks, the provider makes up for."""
    if name in ("_update_resource", "_set_resource") and not hasattr(owner, name):
        return
    assert hasattr(owner, name), MOVED.format(f"{owner!r}.{name}")


def test_the_parts_of_samplers_are_found() -> None:
    """Root, delegates and static decisions are read as they were given."""
    parent_based = sampling.ParentBased(sampling.ALWAYS_OFF)
    assert otel_sdk_private.parent_based_parts(parent_based) == (
        sampling.ALWAYS_OFF,
        sampling.ALWAYS_ON,
        sampling.ALWAYS_OFF,
        sampling.ALWAYS_ON,
        sampling.ALWAYS_OFF,
    )
    assert otel_sdk_private.static_decision(sampling.ALWAYS_OFF) is Decision.DROP
    assert otel_sdk_private.static_decision(parent_based) is None


def test_the_processors_of_a_tracer_provider_are_found() -> None:
    """Whether a provider has any is read from the place they are kept."""
    provider = TracerProvider(shutdown_on_exit=False)
    assert not otel_sdk_private.has_span_processors(provider)
    provider.add_span_processor(SpanProcessor())
    assert otel_sdk_private.has_span_processors(provider)


def test_the_readers_of_a_meter_provider_are_found() -> None:
    """A reader's callback and temporality are read from the place they are kept."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    assert otel_sdk_private.metric_readers(provider) == [reader]
    assert otel_sdk_private.collect_callback(reader) is not None
    assert otel_sdk_private.histogram_temporality(reader) is AggregationTemporality.CUMULATIVE
    assert otel_sdk_private.counter_temporality(reader) is AggregationTemporality.CUMULATIVE


def test_exporters_of_metrics_still_say_what_they_want() -> None:
    """`MetricExporter` keeps both preferences under their names."""
    exporter = ConsoleMetricExporter(preferred_temporality={Counter: AggregationTemporality.DELTA})
    temporality, _ = otel_sdk_private.metric_preferences(exporter)
    assert temporality[Counter] is AggregationTemporality.DELTA
    assert hasattr(exporter, "_preferred_aggregation"), "_preferred_aggregation has moved"


def test_a_queue_of_log_records_still_tells_how_many_wait() -> None:
    """`BatchLogRecordProcessor._batch_processor._queue` holds them."""
    exporter = InMemoryLogRecordExporter()
    processor = BatchLogRecordProcessor(exporter, schedule_delay_millis=3_600_000)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    provider.get_logger("l").emit(LogRecord(body="waits"))
    assert otel_sdk_private.log_records_waiting(processor) == 1
    provider.shutdown()
    assert otel_sdk_private.log_records_waiting(processor) == 0


def test_the_context_functions_are_the_variables_own() -> None:
    """With the standard runtime context, get, set and reset are the ContextVar's methods."""
    get, set_, reset = otel_private.context_functions()
    token = set_(context_api.Context({"a": 1}))
    assert context_api.get_current() == {"a": 1}
    reset(token)
    assert get() == context_api.get_current()
