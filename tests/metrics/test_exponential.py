"""Durations as exponential histograms, where a reader prefers them."""

import math
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    InMemoryMetricReader,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

import otel_studio
from otel_studio.base import guard
from otel_studio.base.sketch import Sketch
from otel_studio.metrics.exponential import MAX_BUCKETS, SCALE, buckets_of
from otel_studio.metrics.producer import MetricProducer
from otel_studio.testing import isolated

from parts import need

DURATION = "otel_studio.operation.duration"
HOURS = 5 * 3_600 * 10**9
DURATIONS = st.lists(st.integers(0, HOURS), max_size=60)


def _reader(temporality=AggregationTemporality.CUMULATIVE):
    return InMemoryMetricReader(
        preferred_temporality={Histogram: temporality, Counter: temporality},
        preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()},
    )


def _points(reader):
    data = reader.get_metrics_data()
    found = {
        metric.name: metric.data
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    if DURATION not in found:
        return {}
    assert isinstance(found[DURATION], ExponentialHistogram)
    return {
        (p.attributes["studio.operation"], p.attributes.get("error.type")): p
        for p in found[DURATION].data_points
    }


def _at(point, scale):
    """The counts by bucket of a point at a coarser scale."""
    counts = {}
    for place, count in enumerate(point.positive.bucket_counts):
        index = (point.positive.offset + place) >> (point.scale - scale)
        counts[index] = counts.get(index, 0) + count
    return {index: count for index, count in counts.items() if count}


def _sketch(durations):
    sketch = Sketch()
    sketch.add_many(durations)
    return sketch


@given(DURATIONS)
def test_every_duration_is_in_its_bucket_or_the_one_beside_it(durations):
    """Within the sketch's 0.8% of its bounds, at most 320 buckets, and none is lost."""
    scale, zeros, positive = buckets_of(_sketch(durations))
    assert scale <= SCALE
    assert len(positive.bucket_counts) <= MAX_BUCKETS
    assert zeros == durations.count(0)
    assert zeros + sum(positive.bucket_counts) == len(durations)
    upper = [
        2.0 ** ((positive.offset + place + 1) / 2**scale)
        for place, count in enumerate(positive.bucket_counts)
        for _ in range(count)
    ]
    width = 2.0 ** (1 / 2**scale)
    for duration, bound in zip(sorted(d / 1e9 for d in durations if d), upper, strict=True):
        assert bound / width * 0.992 <= duration <= bound * 1.008


@given(
    st.lists(st.integers(1, HOURS), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99])
)
def test_percentiles_are_within_their_stated_error(durations, q):
    """At scale 5 within 1.9%: the middle of a bucket against the exact value of that rank."""
    scale, _, positive = buckets_of(_sketch(durations))
    upto = list(accumulate(positive.bucket_counts))
    rank = max(1, math.ceil(q * len(durations)))
    place = next(at for at, total in enumerate(upto) if total >= rank)
    middle = 2.0 ** ((positive.offset + place + 0.5) / 2**scale)
    exact = sorted(durations)[rank - 1] / 1e9

    assert abs(middle / exact - 1) <= (
        0.019 if scale == SCALE else 0.008 + 2.0 ** (0.5 / 2**scale) - 1
    )


def test_a_wide_span_takes_a_coarser_scale():
    """From 1 µs to 1 h are 32 powers of two: at scale 5 these are over 320 buckets."""
    scale, _, positive = buckets_of(_sketch([1_000, 10**12]))
    assert scale == SCALE - 2
    assert len(positive.bucket_counts) <= MAX_BUCKETS
    scale, _, _ = buckets_of(_sketch([10**6, 9 * 10**8]))
    assert scale == SCALE
    scale, _, _ = buckets_of(_sketch([10**6, 9 * 10**9]))
    assert scale == SCALE - 1


@pytest.mark.patient
@given(st.lists(DURATIONS, min_size=1, max_size=4))
def test_deltas_add_up_to_the_cumulative_points(batches):
    """Also where the scale changes between them, and for failures beside successes."""
    whole, delta = _reader(), _reader(AggregationTemporality.DELTA)
    deltas = []
    with isolated(metric_readers=[whole, delta]):
        shop = otel_studio.service("shop")
        for batch in batches:
            for duration in batch:
                error = ValueError() if duration % 3 == 0 else None
                shop.record_operation("pay", duration=duration / 1e9, error=error)
            deltas.append(_points(delta))
        total = _points(whole)

    for key, point in total.items():
        parts = [found[key] for found in deltas if key in found]
        scale = min([point.scale, *(part.scale for part in parts)])
        added = {}
        for part in parts:
            for index, count in _at(part, scale).items():
                added[index] = added.get(index, 0) + count
        assert added == _at(point, scale)
        assert sum(part.count for part in parts) == point.count
        assert sum(part.zero_count for part in parts) == point.zero_count
        assert sum(part.sum for part in parts) == pytest.approx(point.sum)
    assert {key for found in deltas for key in found} == set(total)


def test_extremes_sums_and_exemplars_are_exact():
    """They come from the registry, not out of buckets; labels and failures have their own point."""
    reader = _reader()
    with isolated(metric_readers=[reader], sampler="always_on"):
        shop = otel_studio.service("shop")
        for duration in (0.25, 0.5, 4.0):
            shop.record_operation("pay", duration=duration)
        shop.record_operation("pay", duration=1.0, error=KeyError("x"))
        points = _points(reader)

    fine, failed = points["pay", None], points["pay", "KeyError"]
    assert (fine.count, fine.sum, fine.min, fine.max) == (3, 4.75, 0.25, 4.0)
    assert (failed.count, failed.sum, failed.min, failed.max) == (1, 1.0, 1.0, 1.0)
    assert {exemplar.value for exemplar in fine.exemplars} == {0.25, 0.5, 4.0}
    assert all(exemplar.trace_id for exemplar in fine.exemplars)


def _decoded(data):
    """The points of durations in OTLP's bytes, by operation."""
    encoded = encode_metrics(data).SerializeToString() if data else b""
    return {
        point.attributes[1].value.string_value: (metric.exponential_histogram, point)
        for resource in ExportMetricsServiceRequest.FromString(encoded).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == DURATION
        for point in metric.exponential_histogram.data_points
    }


@pytest.mark.patient
@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["pay", "ship"]), st.integers(0, HOURS)), min_size=1),
    st.sampled_from([AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA]),
)
def test_otlp_reads_what_was_counted(runs, temporality):
    """OpenTelemetry's encoder takes the points, and its messages say the same when decoded."""
    reader = _reader(temporality)
    is_delta = temporality is AggregationTemporality.DELTA
    with isolated(metric_readers=[reader]):
        shop = otel_studio.service("shop")
        for turn in (1, 2):
            for name, duration in runs:
                shop.record_operation(name, duration=duration / 1e9)
            found = _decoded(reader.get_metrics_data())
            for name in {name for name, _ in runs}:
                durations = [duration for other, duration in runs if other == name]
                times = 1 if is_delta else turn
                metric, point = found[name]
                assert metric.aggregation_temporality == (1 if is_delta else 2)
                assert point.count == len(durations) * times
                assert point.sum == pytest.approx(sum(durations) / 1e9 * times)
                assert point.zero_count == durations.count(0) * times
                scale, _, positive = buckets_of(_sketch(durations))
                assert (point.scale, point.positive.offset) == (scale, positive.offset)
                assert list(point.positive.bucket_counts) == [
                    count * times for count in positive.bucket_counts
                ]
                # Those of a difference are not known, and are left out.
                knows = not is_delta or turn == 1
                assert (point.HasField("min"), point.HasField("max")) == (knows, knows)
                if knows:
                    assert (point.min, point.max) == (min(durations) / 1e9, max(durations) / 1e9)


def test_prometheus_goes_on_beside_such_a_reader(monkeypatch):
    """`/metrics` keeps its classic buckets; a reader decides for itself."""
    need("promtool")
    reader = _reader()
    with isolated(metric_readers=[reader]) as s:
        otel_studio.service("shop").record_operation("pay", duration=0.5)
        metrics.get_meter("mine").create_histogram("sizes").record(3)
        assert _points(reader)
        text = s.studio.prometheus_text()
    assert "otel_studio_operation_duration_seconds_bucket{" in text
    assert "sizes_bucket{" in text


def test_a_reader_that_comes_late_gets_explicit_bounds_and_is_told(caplog):
    """Operations that ran before it keep one sketch, not one of each series."""
    guard.forget_said()
    reader = _reader()
    with isolated() as s:
        shop = otel_studio.service("shop")
        shop.record_operation("pay", duration=0.5)
        provider = MeterProvider([reader], shutdown_on_exit=False)
        s.registry.reading()
        producer = MetricProducer(
            s.registry.reading, (1.0,), lambda: None, "1", s.registry.keep_series_sketches
        )
        producer.attach(reader, provider)
        shop.record_operation("pay", duration=0.5)
        data = reader.get_metrics_data()
        provider.shutdown()

    [metric] = [m for m in data.resource_metrics[0].scope_metrics[0].metrics if m.name == DURATION]
    assert isinstance(metric.data, HistogramData)
    assert [point.count for point in metric.data.data_points] == [2]
    assert "before otel_studio.configure()" in caplog.text
