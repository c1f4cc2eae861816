"""Says which private name of OpenTelemetry's metrics SDK a new release has moved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.metrics.view import SumAggregation, View

from otel_studio.base import guard
from otel_studio.metrics import _otel_private
from otel_studio.metrics.instruments import CollectingReader

VALUES = st.sampled_from(["x", "y", 1, 1.0, True, (1,), (True,), ("x", "y"), b"x"])
RECORDED = st.lists(
    st.tuples(
        st.sampled_from(["jobs", "waiting", "sizes", "depth"]),
        st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=2) | st.none(),
        st.integers(0, 20),
    ),
    max_size=30,
)
VIEWS = [
    View(instrument_name="jobs", attribute_keys={"a"}),
    View(instrument_name="sizes", name="sizes.sum", aggregation=SumAggregation()),
    View(instrument_name="sizes", attribute_keys={"b"}),
]


def _record(provider: MeterProvider, recorded: list[Any]) -> None:
    meter = provider.get_meter("app")
    adding = {
        "jobs": meter.create_counter("jobs").add,
        "waiting": meter.create_up_down_counter("waiting").add,
        "sizes": meter.create_histogram("sizes").record,
        "depth": meter.create_gauge("depth").set,
    }
    for name, attributes, value in recorded:
        adding[name](value, attributes)


def _points(data: MetricsData | None) -> list[Any]:
    return sorted(
        (
            metric.name,
            repr(sorted((point.attributes or {}).items())),
            point.value
            if hasattr(point, "value")
            else (point.count, point.sum, tuple(point.bucket_counts)),
        )
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    )


@pytest.mark.parametrize("views", [[], VIEWS], ids=["no views", "views"])
@given(RECORDED)
def test_what_is_remembered_adds_up_as_the_sdk_does(views: list[View], recorded: list[Any]) -> None:
    """Of every kind of instrument, with attributes of every type, and whatever Views say."""
    theirs, ours = InMemoryMetricReader(), CollectingReader()
    provider = MeterProvider([theirs], views=views, shutdown_on_exit=False)
    provider.add_metric_reader(ours)
    _otel_private.remember_ways(provider, ours)
    _record(provider, recorded)
    assert _points(ours.collected()) == _points(theirs.get_metrics_data())
    _record(provider, recorded)
    assert _points(ours.collected()) == _points(theirs.get_metrics_data())


def _remembering(provider: MeterProvider) -> tuple[CollectingReader, Any]:
    reader = CollectingReader()
    provider.add_metric_reader(reader)
    _otel_private.remember_ways(provider, reader)
    return reader, provider._measurement_consumer._reader_storages[reader]  # type: ignore[attr-defined]


def test_the_ways_are_where_we_know_them() -> None:
    """`MeterProvider._measurement_consumer`, its storages, their matches and aggregations."""
    provider = MeterProvider(shutdown_on_exit=False)
    _, storage = _remembering(provider)
    counter = provider.get_meter("app").create_counter("jobs")
    counter.add(1, {"a": "x"})
    assert type(storage) is _otel_private.RememberingStorage
    assert len(storage._ways) == 1


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes beyond counts all the same, at the SDK's own cost."""
    monkeypatch.setattr(_otel_private, "_REMEMBERED", 3)
    provider = MeterProvider(shutdown_on_exit=False)
    reader, storage = _remembering(provider)
    counter = provider.get_meter("app").create_counter("jobs")
    for number in range(10):
        for _ in range(2):
            counter.add(1, {"number": number})
    assert len(storage._ways) == 3
    assert [value for *_, value in _points(reader.collected())] == [2] * 10


def test_where_a_way_cannot_be_found_the_sdk_goes_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; nothing is lost."""
    guard.forget_said()
    monkeypatch.setattr(_otel_private, "_hashed", lambda attributes: "moved")
    provider = MeterProvider(shutdown_on_exit=False)
    reader, storage = _remembering(provider)
    counter = provider.get_meter("app").create_counter("jobs")
    for _ in range(5):
        counter.add(1, {"a": "x"})
    assert storage._ways == {}
    assert [value for *_, value in _points(reader.collected())] == [5]
    assert caplog.text.count("remembering where measurements go") == 1
