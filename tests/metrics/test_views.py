"""Views of the program's own provider hold for the registry's metrics, as for any others."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Histogram,
    InMemoryMetricReader,
    Sum,
)
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)

from otel_studio.assembly.studio import Studio
from otel_studio.base import guard, otel_private
from otel_studio.lifecycle import overriding
from otel_studio.operations.services import service
from otel_studio.settings.loading import load_settings

DURATION = "otel_studio.operation.duration"
ACTIVE = "otel_studio.operation.active"


@pytest.fixture(autouse=True)
def _global_provider() -> Iterator[None]:
    before = otel_private.global_meter_provider()
    yield
    otel_private.replace_global_meter_provider(before)


def _collected(*views: View) -> dict[str, Any]:
    """Return the metrics of the registry, by name, with such Views."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
    otel_private.replace_global_meter_provider(provider)
    with overriding(Studio(load_settings({}, "/"), attach=True)):
        for name, duration in (("pay", 1.0), ("pay", 3.0), ("refund", 2.0)):
            service("shop").record_operation(name, duration=duration)
        service("shop").record_operation("pay", duration=4.0, error=KeyError("x"))
        data = reader.get_metrics_data()
    provider.shutdown()
    return {
        metric.name: metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if ".self." not in metric.name
    }


def test_one_that_drops_leaves_the_metric_out() -> None:
    """By name, by wildcard, by kind; the others stay."""
    dropped = DropAggregation()
    assert DURATION not in _collected(View(instrument_name=DURATION, aggregation=dropped))
    assert ACTIVE in _collected(View(instrument_name=DURATION, aggregation=dropped))
    by_wildcard = _collected(View(instrument_name="otel_studio.operation.*", aggregation=dropped))
    assert not {DURATION, ACTIVE} & by_wildcard.keys()
    by_kind = _collected(View(instrument_type=metrics.Histogram, aggregation=dropped))
    assert (DURATION in by_kind, ACTIVE in by_kind) == (False, True)
    assert DURATION not in _collected(View(instrument_unit="s", aggregation=dropped))
    assert ACTIVE not in _collected(View(meter_name="otel_studio", aggregation=dropped))


def test_one_that_renames_and_describes_is_followed() -> None:
    """The old name is gone."""
    found = _collected(View(instrument_name=DURATION, name="latency", description="how long"))
    assert DURATION not in found
    assert (found["latency"].description, found["latency"].unit) == ("how long", "s")
    assert isinstance(found["latency"].data, Histogram)


def test_two_for_one_metric_make_two() -> None:
    """As the SDK has it: a stream for each View."""
    found = _collected(
        View(instrument_name=DURATION, name="latency"),
        View(instrument_name=DURATION, name="time", aggregation=SumAggregation()),
    )
    assert DURATION not in found
    assert sum(point.count for point in found["latency"].data.data_points) == 4
    assert isinstance(found["time"].data, Sum)
    assert sum(point.value for point in found["time"].data.data_points) == 10


def test_one_that_keeps_fewer_attributes_adds_the_points_up() -> None:
    """Counts, sums, extremes and buckets are those of all runs together."""
    found = _collected(
        View(instrument_name="otel_studio.operation.*", attribute_keys={"error.type"})
    )
    points = {
        point.attributes.get("error.type"): point for point in found[DURATION].data.data_points
    }
    assert [*points] == [None, "KeyError"]
    fine = points[None]
    assert (fine.count, fine.sum, fine.min, fine.max) == (3, 6.0, 1.0, 3.0)
    assert sum(fine.bucket_counts) == 3
    [active] = found[ACTIVE].data.data_points
    assert (active.attributes, active.value) == ({}, 0)


def test_one_that_wants_an_exponential_histogram_gets_it() -> None:
    """Also with fewer attributes."""
    found = _collected(
        View(
            instrument_name=DURATION,
            aggregation=ExponentialBucketHistogramAggregation(),
            attribute_keys={"studio.service"},
        )
    )
    assert isinstance(found[DURATION].data, ExponentialHistogram)
    [point] = found[DURATION].data.data_points
    assert (point.count, sum(point.positive.bucket_counts), point.max) == (4, 4, 4.0)


def test_a_last_value_has_no_source_and_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Said once, with what to ask for instead."""
    guard.forget_said()
    found = _collected(View(instrument_name=DURATION, aggregation=LastValueAggregation()))
    assert DURATION not in found
    assert "ask for a histogram or a sum" in caplog.text
