"""The registry's metrics as readers get them: cumulative, delta, exemplars, names."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

import otel_studio
from otel_studio.base import guard
from otel_studio.base.clock import ManualClock
from otel_studio.metrics.producer import MetricProducer
from otel_studio.testing.isolation import isolated

DURATION = "otel_studio.operation.duration"
DELTA = {Histogram: AggregationTemporality.DELTA, Counter: AggregationTemporality.DELTA}


def points(reader: InMemoryMetricReader, name: str) -> dict[tuple[str, ...], Any]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        tuple(str(value) for value in point.attributes.values()): point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }


def test_a_reader_gets_what_the_registry_counts() -> None:
    """Count, sum, buckets and error type of each operation, with no instrument recording them."""
    reader = InMemoryMetricReader()
    with isolated(clock=ManualClock(), histogram_bounds=(0.1, 1.0), metric_readers=[reader]):
        shop = otel_studio.service("shop")
        for seconds in (0.05, 0.1, 0.5, 3.0):
            shop.record_operation("pay", duration=seconds)
        shop.record_operation("pay", duration=0.2, error=KeyError("x"))
        found = points(reader, DURATION)
        assert set(found) == {("shop", "pay"), ("shop", "pay", "KeyError")}
        good = found["shop", "pay"]
        assert (good.count, good.sum, good.min, good.max) == (4, pytest.approx(3.65), 0.05, 3.0)
        assert list(good.bucket_counts) == [2, 1, 1]
        assert tuple(good.explicit_bounds) == (0.1, 1.0)
        assert dict(good.attributes) == {"studio.service": "shop", "studio.operation": "pay"}
        assert found["shop", "pay", "KeyError"].attributes["error.type"] == "KeyError"


def test_cumulative_points_add_up_and_delta_points_tell_the_difference() -> None:
    """Each reader has its own memory of what it was given."""
    cumulative, delta = InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality=DELTA)
    with isolated(clock=ManualClock(), metric_readers=[cumulative, delta]) as s:
        shop = otel_studio.service("shop")
        shop.record_operation("pay", duration=1)
        assert points(cumulative, DURATION)["shop", "pay"].count == 1
        first = points(delta, DURATION)["shop", "pay"]
        assert first.count == 1
        s.clock.advance(10)  # type: ignore[attr-defined]
        shop.record_operation("pay", duration=2)
        shop.record_operation("pay", duration=3)
        assert points(cumulative, DURATION)["shop", "pay"].count == 3
        second = points(delta, DURATION)["shop", "pay"]
        assert (second.count, second.sum) == (2, 5)
        assert sum(second.bucket_counts) == 2
        assert second.start_time_unix_nano == first.time_unix_nano
        assert points(delta, DURATION) == {}
        assert points(cumulative, DURATION)["shop", "pay"].count == 3


def test_a_reset_starts_delta_and_cumulative_again() -> None:
    """After a reset nothing negative is reported."""
    delta = InMemoryMetricReader(preferred_temporality=DELTA)
    with isolated(clock=ManualClock(), metric_readers=[delta]):
        shop = otel_studio.service("shop")
        for _ in range(5):
            shop.record_operation("pay", duration=1)
        points(delta, DURATION)
        otel_studio.api.reset_service_metrics("shop")
        shop.record_operation("pay", duration=1)
        assert points(delta, DURATION)["shop", "pay"].count == 1


def test_more_runs_after_a_reset_than_before_it_are_all_told() -> None:
    """Also where the count has overtaken what was given last: no bucket is negative."""
    cumulative, delta = InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality=DELTA)
    clock = ManualClock()
    bounds = (0.1, 1.0)
    with isolated(clock=clock, histogram_bounds=bounds, metric_readers=[cumulative, delta]):
        shop = otel_studio.service("shop")
        for _ in range(2):
            shop.record_operation("pay", duration=0.01)
        began = points(cumulative, DURATION)["shop", "pay"].start_time_unix_nano
        collected = points(delta, DURATION)["shop", "pay"].time_unix_nano
        clock.advance(10)
        otel_studio.api.reset_service_metrics("shop")
        reset = clock.time_ns()
        clock.advance(5)
        for _ in range(3):
            shop.record_operation("pay", duration=0.5)
        for reader in (cumulative, delta):
            again = points(reader, DURATION)["shop", "pay"]
            assert (again.count, list(again.bucket_counts)) == (3, [0, 3, 0])
            assert again.start_time_unix_nano == reset > collected >= began
        clock.advance(10)
        shop.record_operation("pay", duration=0.5)
        assert points(cumulative, DURATION)["shop", "pay"].start_time_unix_nano == reset
        assert points(delta, DURATION)["shop", "pay"].count == 1


def test_running_abandoned_and_cancelled_operations_have_metrics() -> None:
    """An operation that runs is 1, that has ended 0; what was dropped or cancelled is counted."""
    reader = InMemoryMetricReader()
    with isolated(clock=ManualClock(), metric_readers=[reader]):
        shop = otel_studio.service("shop")
        tracker = shop.start_operation("pay")
        assert points(reader, "otel_studio.operation.active")["shop", "pay"].value == 1
        tracker.complete()
        assert points(reader, "otel_studio.operation.active")["shop", "pay"].value == 0
        shop.start_operation("lost")
        with pytest.raises(GeneratorExit), shop.operation("stopped"):
            raise GeneratorExit
        assert points(reader, "otel_studio.operation.abandoned")["shop", "lost"].value == 1
        assert points(reader, "otel_studio.operation.cancelled")["shop", "stopped"].value == 1
        assert ("shop", "lost") not in points(reader, DURATION)


def test_exemplars_name_sampled_traces_only() -> None:
    """A bucket's exemplar is a run of that bucket; what is not exported is not named."""
    reader = InMemoryMetricReader()
    with isolated(clock=ManualClock(), histogram_bounds=(1.0,), metric_readers=[reader]) as s:
        otel_studio.service("shop").record_operation("pay", duration=3)
        (exemplar,) = points(reader, DURATION)["shop", "pay"].exemplars
        assert exemplar.value == 3
        assert exemplar.trace_id == s.spans[0].context.trace_id
        assert exemplar.span_id == s.spans[0].context.span_id
    reader = InMemoryMetricReader()
    with isolated(sampler="always_off", metric_readers=[reader]) as s:
        otel_studio.service("shop").record_operation("pay", duration=3)
        point = points(reader, DURATION)["shop", "pay"]
        assert (point.count, list(point.exemplars)) == (1, [])


def test_instruments_of_the_program_are_collected_alongside() -> None:
    """The registry's scope is added to what the SDK collects, not put in its place."""
    reader = InMemoryMetricReader()
    with isolated(metric_readers=[reader]) as s:
        s.meter_provider.get_meter("mine").create_counter("orders").add(2)
        otel_studio.service("shop").record_operation("pay", duration=1)
        assert points(reader, "orders")[()].value == 2
        assert points(reader, DURATION)["shop", "pay"].count == 1


def test_a_failure_while_collecting_loses_only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the registry's part fails, the program's own metrics still go out, and it is counted."""
    guard.forget_said()
    reader = InMemoryMetricReader()
    with isolated(metric_readers=[reader]) as s:
        s.meter_provider.get_meter("mine").create_counter("orders").add(2)
        otel_studio.service("shop").record_operation("pay", duration=1)
        with monkeypatch.context() as patch:
            patch.setattr(s.registry, "_read", lambda: 1 / 0)
            assert points(reader, "orders")[()].value == 2
        assert guard.internal_errors["collecting the registry's metrics"] == 1


def test_a_foreign_reader_without_the_hook_is_said() -> None:
    """A reader that is not the SDK's is reported, and left alone."""
    guard.forget_said()
    with isolated() as s:
        producer = MetricProducer(s.registry.reading, (1.0,), lambda: None, "1", lambda: None)
        assert producer.attach(object(), None) is False
        assert sum(guard.internal_errors.values()) == 1


def test_detaching_leaves_the_reader_as_it_was() -> None:
    """After `detach` a reader collects only what it did before."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    provider.get_meter("mine").create_counter("orders").add(1)
    with isolated() as s:
        otel_studio.service("shop").record_operation("pay", duration=1)
        producer = MetricProducer(s.registry.reading, (1.0,), lambda: None, "1", lambda: None)
        producer.attach(reader, provider)
        assert set(points(reader, DURATION)) == {("shop", "pay")}
        producer.detach()
        assert points(reader, DURATION) == {}
        assert points(reader, "orders")[()].value == 1
    provider.shutdown()
