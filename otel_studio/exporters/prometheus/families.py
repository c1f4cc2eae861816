"""Makes metrics data what OpenTelemetry's Prometheus reader can write: one family for a name.

The reader fails on an exponential histogram; takes the label names of a family from the first
scope that has it and puts the values of the others under them; and repeats `HELP` and `TYPE`
where two scopes describe a name differently, which Prometheus' own tools refuse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    Sum,
)

from otel_studio.exporters.prometheus._otel_private import (
    map_unit,
    sanitize_attribute,
    sanitize_full_name,
)

Family = tuple[str, str]


def agreeing(data: MetricsData) -> MetricsData:
    """Return the same points, with metrics of one name alike in description and labels.

    Args:
        data: of one collection.
    """
    families: dict[Family, list[tuple[Metric, frozenset[str]]]] = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found = (metric, frozenset(_labels(metric, scope.scope)))
                families.setdefault(_family(metric), []).append(found)
    first = {family: metrics[0][0] for family, metrics in families.items()}
    labels = {
        family: frozenset(chain.from_iterable(names for _, names in metrics))
        for family, metrics in families.items()
        if len(metrics) > 1
    }

    def alike(metric: Metric, scope: Any) -> Metric:
        if isinstance(metric.data, ExponentialHistogram):
            metric = dataclasses.replace(metric, data=_classic(metric.data))
        family = _family(metric)
        if family not in labels:
            return metric
        missing = labels[family].difference(_labels(metric, scope))
        model = first[family]
        return Metric(model.name, model.description, model.unit, _with_labels(metric.data, missing))

    return MetricsData(
        [
            dataclasses.replace(
                resource,
                scope_metrics=[
                    dataclasses.replace(
                        scope, metrics=[alike(metric, scope.scope) for metric in scope.metrics]
                    )
                    for scope in resource.scope_metrics
                ],
            )
            for resource in data.resource_metrics
        ]
    )


def _family(metric: Metric) -> Family:
    """Return what is one family for the reader: its kind, and its name with the unit."""
    name = sanitize_full_name(metric.name)
    data = metric.data
    if isinstance(data, Histogram | ExponentialHistogram):
        kind = "histogram"
    elif isinstance(data, Sum) and (
        data.is_monotonic or data.aggregation_temporality is AggregationTemporality.DELTA
    ):
        kind = "counter"
        name = name.removesuffix("_total")
    else:
        kind = "gauge"
    unit = map_unit(metric.unit or "")
    return kind, name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}"


def _labels(metric: Metric, scope: Any) -> Iterator[str]:
    """Yield the labels that the reader would give a metric, but for those that all have."""
    for key in scope.attributes or ():
        yield sanitize_attribute(f"otel_scope_{key}")
    for point in metric.data.data_points:
        for key in point.attributes or ():
            yield sanitize_attribute(key)


def _with_labels(data: Any, missing: frozenset[str]) -> Any:
    """Return the data with more labels, empty ones: the reader fills them in at each point."""
    if not missing or not data.data_points:
        return data
    first, *rest = data.data_points
    attributes = {**(first.attributes or {}), **dict.fromkeys(sorted(missing), "")}
    points = [dataclasses.replace(first, attributes=attributes), *rest]
    if isinstance(data, Sum):
        return Sum(points, data.aggregation_temporality, data.is_monotonic)
    if isinstance(data, Gauge):
        return Gauge(points)
    return Histogram(points, data.aggregation_temporality)


def _classic(data: ExponentialHistogram) -> Histogram:
    points = [_classic_point(point) for point in data.data_points]
    return Histogram(points, data.aggregation_temporality)


def _classic_point(point: ExponentialHistogramDataPoint) -> HistogramDataPoint:
    """Return the point with its buckets' own bounds, and the one where they begin."""
    bounds: list[float] = []
    counts: list[int] = []

    def add(bound: float, count: int) -> None:
        if bounds and bound <= bounds[-1]:  # two that no float tells apart
            counts[-1] += count
        elif bound != float("inf"):
            bounds.append(bound)
            counts.append(count)

    below, above = _filled(point.negative), _filled(point.positive)
    if below:
        add(-_bound(max(below) + 1, point.scale), 0)
        for index in range(max(below), min(below) - 1, -1):
            add(-_bound(index, point.scale), below.get(index, 0))
    if point.zero_count or below:
        add(0.0, point.zero_count)
    if above:
        add(_bound(min(above), point.scale), 0)
        for index in range(min(above), max(above) + 1):
            add(_bound(index + 1, point.scale), above.get(index, 0))
    return HistogramDataPoint(
        attributes=point.attributes,
        start_time_unix_nano=point.start_time_unix_nano,
        time_unix_nano=point.time_unix_nano,
        count=point.count,
        sum=point.sum,
        bucket_counts=[*counts, point.count - sum(counts)],
        explicit_bounds=bounds,
        min=point.min,
        max=point.max,
    )


def _filled(buckets: Any) -> dict[int, int]:
    counts: Sequence[int] = buckets.bucket_counts
    return {buckets.offset + at: count for at, count in enumerate(counts) if count}


def _bound(index: int, scale: int) -> float:
    """Return the upper bound of the bucket below an index: 2 ** (index * 2 ** -scale)."""
    try:
        return float(2.0 ** (index * 2.0**-scale))
    except OverflowError:
        return float("inf")
