"""The caches as OpenTelemetry instruments, through the SDK and the Prometheus exporter."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_studio.base.figures import one_collection
from otel_studio.caches import Cache, CacheReading, CacheRegistry


def points_of(reader: InMemoryMetricReader) -> dict[str, dict[tuple[str, ...], Any]]:
    """Return the value by metric name and by the attributes that differ within a cache."""
    data = reader.get_metrics_data()
    found: dict[str, dict[tuple[str, ...], Any]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    attributes = dict(point.attributes)
                    assert attributes.pop("studio.cache") == "previews"
                    assert attributes.pop("studio.service") == "preview-service"
                    found.setdefault(metric.name, {})[tuple(attributes.values())] = point.value
    return found


def test_figures_are_observed_with_their_attributes(previews: Cache, caches: CacheRegistry) -> None:
    """One counter with the operation as attribute, gauges for the rest, nothing without source."""
    reader = InMemoryMetricReader()
    caches.register_instruments(MeterProvider([reader]).get_meter("otel_studio.caches"))
    previews.miss("a", duration=0.004)
    assert "otel_studio.cache.entries" not in points_of(reader)
    previews.set("a", size=4096)
    previews.hit("a", duration=0.002)
    previews.set("b", size=4096)
    previews.evict("b", reason="expired")
    previews.attach(lambda: CacheReading(fragmentation=0.25))
    found = points_of(reader)
    assert found.pop("otel_studio.cache.predicted_hit_ratio")[("1",)] == 0.5
    assert found == {
        "otel_studio.cache.operations": {
            ("hit",): 1,
            ("miss",): 1,
            ("set",): 2,
            ("eviction",): 1,
        },
        "otel_studio.cache.evictions": {("expired",): 1},
        "otel_studio.cache.hit_ratio": {("minute",): 0.5, ("hour",): 0.5, ("day",): 0.5},
        "otel_studio.cache.entries": {(): 1},
        "otel_studio.cache.memory.usage": {(): 4096},
        "otel_studio.cache.memory.peak": {(): 8192},
        "otel_studio.cache.fragmentation": {(): 0.25},
        "otel_studio.cache.response_time": {(): pytest.approx(0.003)},
    }


def test_two_readers_see_the_same(previews: Cache, caches: CacheRegistry) -> None:
    """A collection changes nothing: the second reader gets what the first got."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    caches.register_instruments(MeterProvider(readers).get_meter("otel_studio.caches"))
    previews.hit("a")
    assert points_of(readers[0]) == points_of(readers[1]) == points_of(readers[0])


def test_one_collection_takes_one_reading(previews: Cache, caches: CacheRegistry) -> None:
    """All instruments of a collection are of one moment: a backend is asked once for them."""
    asked = []

    def read() -> CacheReading:
        asked.append(1)
        return CacheReading(entries=len(asked), memory_bytes=len(asked) * 100)

    previews.attach(read)
    reader = InMemoryMetricReader()
    caches.register_instruments(MeterProvider([reader]).get_meter("otel_studio.caches"))
    for collections in (1, 2):
        with one_collection():
            found = points_of(reader)
        assert len(asked) == collections
        assert found["otel_studio.cache.entries"] == {(): collections}
        assert found["otel_studio.cache.memory.usage"] == {(): collections * 100}


def test_prometheus_exposes_valid_series(previews: Cache, caches: CacheRegistry) -> None:
    """The Prometheus exporter writes every metric with its labels, and no unit twice."""
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus")
    from prometheus_client import REGISTRY, generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    reader = exporter.PrometheusMetricReader()
    provider = MeterProvider([reader])
    caches.register_instruments(provider.get_meter("otel_studio.caches"))
    previews.hit("a", duration=0.002)
    previews.set("a", size=1)
    text = generate_latest(REGISTRY).decode()
    provider.shutdown()
    samples = {
        sample.name: sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("studio_cache") == "previews"
    }
    assert {
        "otel_studio_cache_operations_total",
        "otel_studio_cache_hit_ratio",
        "otel_studio_cache_predicted_hit_ratio",
        "otel_studio_cache_entries",
        "otel_studio_cache_memory_usage_bytes",
        "otel_studio_cache_response_time_seconds",
    } <= set(samples)
