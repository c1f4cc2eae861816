"""Makes what came since the last time of data that counts from the beginning on.

A reader of the SDK's that is added late does not know what was counted before it, and says of an
up-down counter what it never stood at; this subtracts from one that was there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterator
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    Metric,
    MetricsData,
    Sum,
)

from otel_studio.metrics.merging import key_of

#: Points by scope, metric and attributes.
_Points = dict[tuple[Any, str, Any], Any]
#: Scope and name of a metric.
Names = Container[tuple[Any, str]]


class Deltas:
    """Collects for one reader.

    Args:
        collect: gives everything, counted from the beginning on.
        wanted: gives what the reader wants as deltas.
        told: whether somebody has been told what was counted until now.
    """

    def __init__(
        self, collect: Callable[[], MetricsData | None], wanted: Callable[[], Names], *, told: bool
    ) -> None:
        self._collect = collect
        self._wanted = wanted
        self._before: _Points = _points(collect()) if told else {}

    def collected(self) -> MetricsData | None:
        """Return the deltas that are wanted, and all else as it is."""
        data = self._collect()
        if data is None:
            return None
        before, self._before = self._before, _points(data)
        wanted = self._wanted()

        def told(metric: Metric, scope: Any) -> Metric | None:
            whole: Any = metric.data
            if (scope, metric.name) not in wanted or type(whole) not in (Sum, Histogram):
                return metric
            points = [
                since
                for point in whole.data_points
                if (since := _since(point, before.get((scope, metric.name, key_of(point)))))
            ]
            if not points:
                return None
            less: Any = dataclasses.replace(
                whole,
                data_points=points,
                aggregation_temporality=AggregationTemporality.DELTA,
            )
            return dataclasses.replace(metric, data=less)

        resources = []
        for resource in data.resource_metrics:
            groups = []
            for group in resource.scope_metrics:
                made = (told(metric, group.scope) for metric in group.metrics)
                metrics = [metric for metric in made if metric is not None]
                if metrics:
                    groups.append(dataclasses.replace(group, metrics=metrics))
            resources.append(dataclasses.replace(resource, scope_metrics=groups))
        return MetricsData(resources)


def _points(data: MetricsData | None) -> _Points:
    return dict(_by_name(data)) if data is not None else {}


def _by_name(data: MetricsData) -> Iterator[tuple[tuple[Any, str, Any], Any]]:
    for resource in data.resource_metrics:
        for group in resource.scope_metrics:
            for metric in group.metrics:
                for point in metric.data.data_points:
                    yield (group.scope, metric.name, key_of(point)), point


def _since(point: Any, before: Any) -> Any | None:
    """Return a point less an earlier one, `None` where nothing has come."""
    start = point.start_time_unix_nano or 0
    # What has begun after it counts from zero, as in a forked child.
    if before is None or start > before.time_unix_nano:
        return point
    if hasattr(point, "value"):
        value = point.value - before.value
        if not value:
            return None
        return dataclasses.replace(point, value=value, start_time_unix_nano=before.time_unix_nano)
    if point.count == before.count:
        return None
    counts = zip(point.bucket_counts, before.bucket_counts, strict=True)
    return dataclasses.replace(
        point,
        count=point.count - before.count,
        sum=point.sum - before.sum,
        bucket_counts=[now - then for now, then in counts],
        start_time_unix_nano=before.time_unix_nano,
        min=None,  # not known, and OTLP requires none
        max=None,
    )
