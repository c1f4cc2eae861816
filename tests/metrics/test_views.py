"""Views of the program's own provider hold for the registry's metrics, as for any others."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Histogram,
    InMemoryMetricReader,
    Sum,
)
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from prometheus_client import CollectorRegistry, generate_latest

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


def _collected(*views: View, durations: Iterable[float] = ()) -> dict[str, Any]:
    """Return the metrics of the registry, by name, with such Views.

    Args:
        views: of the program's provider.
        durations: of further runs, in seconds.
    """
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
    otel_private.replace_global_meter_provider(provider)
    with overriding(Studio(load_settings({}, "/"), attach=True)):
        for name, duration in (("pay", 1.0), ("pay", 3.0), ("refund", 2.0)):
            service("shop").record_operation(name, duration=duration)
        service("shop").record_operation("pay", duration=4.0, error=KeyError("x"))
        for duration in durations:
            service("shop").record_operation("ship", duration=duration)
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


def _ship(found: dict[str, Any]) -> Any:
    [point] = [
        point
        for point in found[DURATION].data.data_points
        if point.attributes["studio.operation"] == "ship"
    ]
    return point


def _of_bounds(*bounds: float, extremes: bool = True) -> View:
    aggregation = ExplicitBucketHistogramAggregation(bounds, record_min_max=extremes)
    return View(instrument_name=DURATION, aggregation=aggregation)


def test_one_with_bounds_of_the_setting_is_exact() -> None:
    """Fewer buckets are those of the setting put together; what equals a bound is below it."""
    durations = (0.1, 0.25, 0.2500001, 1.0, 1.0000001, 9.0)
    point = _ship(_collected(_of_bounds(0.25, 1.0), durations=durations))
    assert point.explicit_bounds == (0.25, 1.0)
    assert point.bucket_counts == [2, 2, 2]
    assert (point.count, point.min, point.max) == (6, 0.1, 9.0)


@pytest.mark.patient
@settings(deadline=None)
@given(
    st.lists(st.floats(1e-6, 100), min_size=1, max_size=20),
    st.lists(st.floats(1e-5, 50), min_size=1, max_size=5, unique=True).map(sorted),
)
def test_one_with_bounds_of_its_own_is_within_the_sketchs_error(
    durations: list[float], bounds: list[float]
) -> None:
    """No run is lost, and each is on the right side of every bound that is 0.8% away from it."""
    point = _ship(_collected(_of_bounds(*bounds), durations=durations))
    assert point.explicit_bounds == tuple(bounds)
    assert sum(point.bucket_counts) == point.count == len(durations)
    below = list(accumulate(point.bucket_counts))
    for place, bound in enumerate(bounds):
        ascending = sorted(durations)
        surely = bisect_left(ascending, bound * 0.992 - 1e-9)
        perhaps = bisect_left(ascending, bound * 1.008 + 1e-9)
        assert surely <= below[place] <= perhaps


def test_one_without_extremes_has_none() -> None:
    """Where the View does not want them recorded."""
    point = _ship(_collected(_of_bounds(0.25, extremes=False), durations=[1.0]))
    assert (point.min, point.max) == (None, None)


def test_one_that_wants_fewer_or_coarser_powers_gets_them() -> None:
    """The scale is the finest that both allow; the SDK's default size is nobody's wish."""
    wide = [10.0**power for power in range(-6, 2)]

    def scale(**options: int) -> int:
        aggregation = ExponentialBucketHistogramAggregation(**options)
        point = _ship(
            _collected(View(instrument_name=DURATION, aggregation=aggregation), durations=wide)
        )
        assert sum(point.positive.bucket_counts) == len(wide)
        assert len(point.positive.bucket_counts) <= options.get("max_size", 320)
        found: int = point.scale
        return found

    assert scale() == 3
    assert scale(max_size=20) == -1
    assert scale(max_size=2) == -5
    assert scale(max_scale=1) == 1


def test_opentelemetrys_prometheus_exporter_goes_on() -> None:
    """It fails on a single exponential histogram, and gets explicit bounds."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(registry=registry)
    view = View(instrument_name=DURATION, aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    otel_private.replace_global_meter_provider(provider)
    with overriding(Studio(load_settings({}, "/"), attach=True)):
        service("shop").record_operation("pay", duration=1.0)
        text = generate_latest(registry).decode()
    provider.shutdown()
    assert "otel_studio_operation_duration_seconds_bucket{" in text


def test_a_last_value_has_no_source_and_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Said once, with what to ask for instead."""
    guard.forget_said()
    found = _collected(View(instrument_name=DURATION, aggregation=LastValueAggregation()))
    assert DURATION not in found
    assert "ask for a histogram or a sum" in caplog.text
