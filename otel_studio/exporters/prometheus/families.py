"""Makes metrics data what OpenTelemetry's Prometheus reader can write: one family for a name.

The reader fails on an exponential histogram; takes the label names of a family from the first
scope that has it and puts the values of the others under them; and repeats `HELP` and `TYPE`
where two scopes describe a name differently, which Prometheus' own tools refuse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    Sum,
)
from opentelemetry.sdk.resources import Resource

from otel_studio.base.guard import warn_once
from otel_studio.exporters.prometheus._otel_private import (
    map_unit,
    sanitize_attribute,
    sanitize_full_name,
)
from otel_studio.exporters.prometheus.labels import (
    distinct,
    with_distinct_labels,
    with_points,
)

Family = tuple[str, str]


def agreeing(data: MetricsData, taken: Container[str] = ()) -> MetricsData:
    """Return the same points, with metrics of one name alike in description and labels.

    Args:
        data: of one collection.
        taken: names of families that others write.
    """
    data = _mapped(data, lambda metric, _scope: _writable(metric))
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
    suffixes = _suffixes(families, taken)

    def alike(metric: Metric, scope: Any) -> Metric:
        family = _family(metric)
        if family in labels:
            missing = labels[family].difference(_labels(metric, scope))
            model = first[family]
            points = _with_labels(metric.data, missing)
            metric = Metric(model.name, model.description, model.unit, points)
        if family in suffixes:
            return dataclasses.replace(metric, name=metric.name + suffixes[family])
        return metric

    return _mapped(data, alike)


def _mapped(data: MetricsData, change: Callable[[Metric, Any], Metric]) -> MetricsData:
    return MetricsData(
        [
            dataclasses.replace(
                resource,
                resource=_with_distinct_attributes(resource.resource),
                scope_metrics=[
                    dataclasses.replace(
                        scope, metrics=[change(metric, scope.scope) for metric in scope.metrics]
                    )
                    for scope in resource.scope_metrics
                ],
            )
            for resource in data.resource_metrics
        ]
    )


def _with_distinct_attributes(resource: Resource) -> Resource:
    attributes = distinct(resource.attributes)
    if attributes is resource.attributes:
        return resource
    return Resource(dict(attributes), resource.schema_url)


def _writable(metric: Metric) -> Metric:
    """Return the metric in a form that the reader can write, each attribute a label of its own."""
    data = metric.data
    if isinstance(data, ExponentialHistogram):
        data = _classic(data)
    data = with_distinct_labels(data)
    return metric if data is metric.data else dataclasses.replace(metric, data=data)


def _suffixes(families: Iterable[Family], taken: Container[str]) -> dict[Family, str]:
    """Return what is put behind the names of families that another kind has already.

    Args:
        families: in the order in which they take their names.
        taken: names that are not theirs to take.
    """
    names: set[str] = set()
    found: dict[Family, str] = {}
    for kind, name in families:
        suffix = ""
        while name + suffix in names or name + suffix in taken:
            suffix += "_other"
        names.add(name + suffix)
        if suffix:
            found[kind, name] = suffix
            warn_once(
                "prometheus",
                f"name of {kind} {name}",
                "the %s %s has the name that a metric of another kind has for Prometheus, and goes "
                "out with %r behind it: rename one of the two instruments",
                kind,
                name,
                suffix,
            )
    return found


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
    return with_points(data, points)


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
