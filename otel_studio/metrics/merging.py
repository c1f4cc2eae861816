"""Makes one of the metrics data of several sources, in which each stream is there once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics.export import (
    Histogram,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)


def merged(data: Any, scope: ScopeMetrics | None, resource: Callable[[], Any]) -> Any:
    """Return metrics data with one more scope in it.

    Args:
        data: what the SDK collected, `None` when no instrument has a point.
        scope: ours, `None` for nothing.
        resource: gives the resource, where `data` has none.
    """
    if scope is None:
        return data
    if data is None or not data.resource_metrics:
        return MetricsData([ResourceMetrics(resource(), [scope], "")])
    first, *others = data.resource_metrics
    # Two groups of one scope are one: the OTLP encoder would keep the last of them alone.
    same = [group for group in first.scope_metrics if group.scope == scope.scope]
    rest = [group for group in first.scope_metrics if group.scope != scope.scope]
    metrics = [metric for group in (*same, scope) for metric in group.metrics]
    ours = ScopeMetrics(scope.scope, metrics, scope.schema_url)
    joined = ResourceMetrics(first.resource, [*rest, ours], first.schema_url)
    return MetricsData([joined, *others])


def together(one: Any, other: Any) -> Any:
    """Return the metrics data of two providers as one.

    What both have of one instrument is added up: a module may have got its instruments of one
    before the other took its place.

    Args:
        one: of one collection, `None` for nothing.
        other: likewise; its resource is that of `one`, where there is one.
    """
    if one is None or not one.resource_metrics or other is None:
        return one if other is None else other
    first, *others = one.resource_metrics
    scopes = {group.scope: group for group in first.scope_metrics}
    for resource in other.resource_metrics:
        for group in resource.scope_metrics:
            known = scopes.get(group.scope)
            scopes[group.scope] = group if known is None else _one_scope(known, group)
    joined = ResourceMetrics(first.resource, list(scopes.values()), first.schema_url)
    return MetricsData([joined, *others])


def _one_scope(one: ScopeMetrics, other: ScopeMetrics) -> ScopeMetrics:
    metrics = {metric.name: metric for metric in one.metrics}
    for metric in other.metrics:
        known = metrics.get(metric.name)
        metrics[metric.name] = metric if known is None else _one_metric(known, metric)
    return ScopeMetrics(one.scope, list(metrics.values()), one.schema_url)


def _one_metric(one: Metric, other: Metric) -> Metric:
    """Return a metric with the points of both; of a gauge, and of two kinds, the first one's."""
    data: Any = one.data
    if type(data) is not type(other.data) or type(data) not in (Sum, Histogram):
        return one
    points: dict[Any, Any] = {key_of(point): point for point in data.data_points}
    for point in other.data.data_points:
        known = points.get(key_of(point))
        points[key_of(point)] = point if known is None else one_point(known, point)
    added = dataclasses.replace(data, data_points=[*points.values()])  # type: ignore[arg-type]
    return dataclasses.replace(one, data=added)


def key_of(point: Any) -> Any:
    """Return what tells a point apart from the others of its metric: its attributes."""
    return frozenset((name, repr(value)) for name, value in (point.attributes or {}).items())


def one_point(one: Any, other: Any) -> Any:
    """Return two points of one sum or histogram, counted side by side, as one.

    Args:
        one: whose attributes it has.
        other: of the same kind; a histogram with other bounds is left out.
    """
    start = min(one.start_time_unix_nano or 0, other.start_time_unix_nano or 0)
    if hasattr(one, "value"):
        return dataclasses.replace(one, start_time_unix_nano=start, value=one.value + other.value)
    if not have_equal_bounds(one, other):
        return one
    return dataclasses.replace(
        one,
        start_time_unix_nano=start,
        count=one.count + other.count,
        sum=one.sum + other.sum,
        bucket_counts=[a + b for a, b in zip(one.bucket_counts, other.bucket_counts, strict=True)],
        min=min(one.min, other.min),
        max=max(one.max, other.max),
    )


def have_equal_bounds(one: Any, other: Any) -> bool:
    """Tell whether two points of histograms can be added up."""
    return tuple(one.explicit_bounds) == tuple(other.explicit_bounds)
