"""Batches of each signal, as the SDK hands them to an exporter, of a size that a test chooses."""

from __future__ import annotations

from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

from otel_studio.exporters.otlp import (
    build_log_exporter,
    build_metric_exporter,
    build_span_exporter,
)

RESOURCE = Resource({"service.name": "shop"})
SCOPE = InstrumentationScope("orders")


def built(signal: str, protocol: str) -> Any:
    """Return the exporter of a signal."""
    build: dict[str, Any] = {
        "traces": build_span_exporter,
        "metrics": build_metric_exporter,
        "logs": build_log_exporter,
    }
    return build[signal](protocol)


def batch_of(signal: str, sizes: list[int]) -> Any:
    """Return a batch with an item of about each size, in bytes; each has its number."""
    if signal == "traces":
        return [_span(number, size) for number, size in enumerate(sizes)]
    if signal == "logs":
        return [_record(number, size) for number, size in enumerate(sizes)]
    points = [_point(number, size) for number, size in enumerate(sizes)]
    data = Histogram(points, AggregationTemporality.CUMULATIVE)
    metric = Metric("orders.duration", "how long", "s", data)
    return MetricsData([ResourceMetrics(RESOURCE, [ScopeMetrics(SCOPE, [metric], "")], "")])


def _span(number: int, size: int) -> ReadableSpan:
    return ReadableSpan(
        f"s{number}",
        SpanContext(1, number + 1, is_remote=False),
        resource=RESOURCE,
        attributes={"number": number, "text": "x" * size},
        start_time=1,
        end_time=2,
        instrumentation_scope=SCOPE,
    )


def _record(number: int, size: int) -> ReadableLogRecord:
    record = LogRecord(
        timestamp=1,
        severity_number=SeverityNumber.INFO,
        body="x" * size,
        attributes={"number": number},
    )
    return ReadableLogRecord(record, RESOURCE, SCOPE)


def _point(number: int, size: int) -> HistogramDataPoint:
    return HistogramDataPoint(
        attributes={"number": number, "text": "x" * size},
        start_time_unix_nano=1,
        time_unix_nano=2,
        count=1,
        sum=1.0,
        bucket_counts=[1],
        explicit_bounds=[],
        min=1.0,
        max=1.0,
    )


def numbers_of(items: list[Any]) -> list[int]:
    """Return the numbers of items that were received."""
    return [
        attribute.value.int_value
        for item in items
        for attribute in item.attributes
        if attribute.key == "number"
    ]
