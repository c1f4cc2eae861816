"""What plain SDK exporters send arrives in a real Collector whole, over gRPC and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import Status, StatusCode

from collector import Collector
from parts import wait_until

Protocol = Literal["grpc", "http"]
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http")


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


def span_exporter(collector: Collector, protocol: Protocol) -> SpanExporter:
    if protocol == "grpc":
        return grpc_traces.OTLPSpanExporter(endpoint=collector.grpc_endpoint, insecure=True)
    return http_traces.OTLPSpanExporter(endpoint=f"{collector.http_endpoint}/v1/traces")


def metric_exporter(collector: Collector, protocol: Protocol) -> MetricExporter:
    if protocol == "grpc":
        return grpc_metrics.OTLPMetricExporter(endpoint=collector.grpc_endpoint, insecure=True)
    return http_metrics.OTLPMetricExporter(endpoint=f"{collector.http_endpoint}/v1/metrics")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_spans_arrive_whole(collector: Collector, protocol: Protocol) -> None:
    """Names, parents, status, attributes, scope and resource are read back as they were sent."""
    provider = TracerProvider(resource=Resource({"service.name": f"sender-{protocol}"}))
    provider.add_span_processor(SimpleSpanProcessor(span_exporter(collector, protocol)))
    tracer = provider.get_tracer("preview-service")
    with (
        tracer.start_as_current_span(f"outer-{protocol}", attributes={"frames": 3}) as outer,
        tracer.start_as_current_span(f"inner-{protocol}") as inner,
    ):
        inner.set_status(Status(StatusCode.ERROR, "disk is read-only"))
    provider.shutdown()

    received_outer = wait_until(lambda: collector.spans(f"outer-{protocol}"))[0]
    (received_inner,) = collector.spans(f"inner-{protocol}")
    assert received_outer.resource["service.name"] == f"sender-{protocol}"
    assert received_outer.scope == "preview-service"
    assert received_outer.attributes == {"frames": 3}
    assert received_outer.parent_id == ""
    assert received_inner.parent_id == received_outer.span_id
    assert received_inner.trace_id == f"{outer.get_span_context().trace_id:032x}"
    assert received_inner.is_error
    assert received_inner.status_message == "disk is read-only"
    assert received_inner.end_ns >= received_inner.start_ns > 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_histograms_and_sums_arrive_whole(collector: Collector, protocol: Protocol) -> None:
    """Count, sum, buckets, attributes and temporality are read back as they were sent."""
    reader = PeriodicExportingMetricReader(
        metric_exporter(collector, protocol), export_interval_millis=3_600_000
    )
    provider = MeterProvider(metric_readers=[reader])
    meter = provider.get_meter("preview-service")
    duration = meter.create_histogram(
        f"duration.{protocol}", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0]
    )
    for seconds in (0.05, 0.5, 0.5, 5.0):
        duration.record(seconds, {"operation": "generate"})
    meter.create_up_down_counter(f"active.{protocol}").add(2)
    provider.shutdown()

    (point,) = wait_until(lambda: collector.points(f"duration.{protocol}"))
    assert (point.kind, point.unit, point.temporality) == ("histogram", "s", "cumulative")
    assert point.attributes == {"operation": "generate"}
    assert point.count == 4
    assert point.sum == pytest.approx(6.05)
    assert (point.bounds, point.bucket_counts) == ([0.1, 1.0], [1, 2, 1])
    (active,) = collector.latest_points(f"active.{protocol}")
    assert active.value == 2.0


def test_a_collector_that_was_killed_comes_back_on_the_same_ports(tmp_path: Path) -> None:
    """A test may kill the Collector and start it again where its clients expect it."""
    with Collector(tmp_path) as collector:
        before = collector.grpc_endpoint
        collector.kill()
        assert not collector.is_ready()
        collector.start()
        assert collector.is_ready()
        assert collector.grpc_endpoint == before
