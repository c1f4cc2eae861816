"""A reader that comes late gets deltas that add up to all that was counted."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricsData,
)
from opentelemetry.sdk.resources import Resource

from otel_studio.base import otel_sdk_private
from otel_studio.metrics.deltas import Deltas
from otel_studio.metrics.instruments import CollectingReader

DELTA = AggregationTemporality.DELTA
ROUNDS = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["jobs", "waiting", "level", "sizes"]),
            st.sampled_from(["a", "b"]),
            st.integers(0, 5),
        ),
        max_size=6,
    ),
    min_size=1,
    max_size=4,
)


class Program:
    """With a reader of its own that was there from the start, and one that wants deltas, late."""

    def __init__(self) -> None:
        preferred = {Counter: DELTA, Histogram: DELTA}
        self.early = InMemoryMetricReader(preferred_temporality=preferred)
        self.whole = CollectingReader()
        self.provider = MeterProvider([self.early, self.whole], shutdown_on_exit=False)
        meter = self.provider.get_meter("app")
        self.adding = {
            "jobs": meter.create_counter("jobs").add,
            "waiting": meter.create_up_down_counter("waiting").add,
            "level": meter.create_gauge("level").set,
            "sizes": meter.create_histogram("sizes").record,
        }

    def late(self, *, told: bool) -> Deltas:
        return Deltas(
            self.whole.collected,
            lambda: otel_sdk_private.wanted_deltas(self.early, self.provider),
            told=told,
        )


def _points(data: MetricsData | None) -> dict[tuple[str, Any], Any]:
    return {
        (metric.name, point.attributes["key"]): (
            getattr(metric.data, "aggregation_temporality", None),
            point.value
            if hasattr(point, "value")
            else (point.count, point.sum, tuple(point.bucket_counts)),
        )
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        # The SDK tells of a counter that nothing was added to, where it was asked to add 0.
        if metric.name != "jobs" or point.value
    }


@settings(deadline=None)
@given(ROUNDS)
def test_they_are_those_of_a_reader_from_the_start(rounds: list[Any]) -> None:
    """Counters and histograms as deltas, levels as they are, at each collection."""
    program = Program()
    late = program.late(told=False)
    for recorded in rounds:
        for name, key, value in recorded:
            program.adding[name](value, {"key": key})
        assert _points(late.collected()) == _points(program.early.get_metrics_data())


def test_what_was_told_before_is_not_told_again() -> None:
    """Deltas begin where the reader comes; a level is what it stands at."""
    program = Program()
    for _ in range(2):
        late = program.late(told=True)
        program.adding["jobs"](2, {"key": "a"})
        program.adding["waiting"](3, {"key": "a"})
        found = _points(late.collected())
        assert found["jobs", "a"] == (DELTA, 2)
    assert found["waiting", "a"] == (AggregationTemporality.CUMULATIVE, 6)


def test_what_begins_anew_counts_from_zero() -> None:
    """As in a forked child: nothing is negative."""
    program = Program()
    late = program.late(told=False)
    program.adding["jobs"](5, {"key": "a"})
    late.collected()
    otel_sdk_private.start_measuring_anew(program.provider, Resource({}))
    program.adding["jobs"](2, {"key": "a"})
    assert _points(late.collected())["jobs", "a"] == (DELTA, 2)
