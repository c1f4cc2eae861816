"""Makes OpenTelemetry metric points out of the registry, for one reader at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_studio.clock import Clock
from otel_studio.registry.registry import Registry
from otel_studio.registry.series import Series
from otel_studio.registry.statistics import OperationStatistics

DURATION = "otel_studio.operation.duration"
ACTIVE = "otel_studio.operation.active"
ABANDONED = "otel_studio.operation.abandoned"
CANCELLED = "otel_studio.operation.cancelled"
DESCRIPTIONS = {
    DURATION: "Duration of the operations that ended, successful and failed.",
    ACTIVE: "Operations that run now.",
    ABANDONED: "Operations that were dropped without an end.",
    CANCELLED: "Operations that were cancelled.",
}
SCOPE_NAME = "otel_studio"
_SECOND = 1e9

Labels = tuple[str, str, str | None]


def label_attributes(service: str, operation: str, error_type: str | None = None) -> dict[str, str]:
    """Return a point's attributes by their names on the wire."""
    attributes = {"studio.service": service, "studio.operation": operation}
    if error_type is not None:
        attributes["error.type"] = error_type
    return attributes


class PointMaker:
    """Makes the points of one reader; for delta temporality it remembers what it gave last.

    Args:
        registry: the source of every number.
        clock: wall-clock times of the points.
        bounds: histogram bounds in seconds.
        histogram_temporality: what the reader wants for histograms.
        counter_temporality: what the reader wants for counters.
        scope_version: version in the instrumentation scope.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        bounds: tuple[float, ...],
        histogram_temporality: AggregationTemporality,
        counter_temporality: AggregationTemporality,
        scope_version: str,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._bounds = bounds
        self._histogram_temporality = histogram_temporality
        self._counter_temporality = counter_temporality
        self._scope = InstrumentationScope(SCOPE_NAME, scope_version)
        self._began = clock.time_ns()
        self._last_time = self._began
        #: What was given last: the series or operation, its count, sum and buckets, and since
        #: when it counts. A reset makes others of the same names, which start anew.
        self._last: dict[Labels, tuple[Series, int, int, list[int], int]] = {}
        self._last_counts: dict[tuple[str, str, str], tuple[OperationStatistics, int, int]] = {}
        self._attributes: dict[Labels, dict[str, str]] = {}

    def scope_metrics(self) -> ScopeMetrics | None:
        """Return every metric of the registry now, or `None` before the first operation."""
        now = self._clock.time_ns()
        histogram: list[HistogramDataPoint] = []
        counts: dict[str, list[NumberDataPoint]] = {ABANDONED: [], CANCELLED: []}
        known: set[tuple[str, str]] = set()
        active = self._registry.active_counts()
        with self._registry.reading() as services:
            for service in list(services.values()):
                for operation in list(service.operations.values()):
                    known.add((service.name, operation.name))
                    for error_type, series in list(operation.series.items()):
                        labels = (service.name, operation.name, error_type)
                        point = self._histogram_point(labels, series, now)
                        if point is not None:
                            histogram.append(point)
                    for name, count in (
                        (ABANDONED, operation.abandoned),
                        (CANCELLED, operation.cancelled),
                    ):
                        if count:
                            counts[name].append(self._count_point(name, operation, count, now))
        # An operation that has run before and does not run now is 0, not absent.
        running = [
            NumberDataPoint(self._labels(*key, None), self._began, now, active.get(key, 0))
            for key in sorted(known | active.keys())
        ]
        self._last_time = now
        metrics = []
        if histogram:
            metrics.append(
                Metric(
                    DURATION,
                    DESCRIPTIONS[DURATION],
                    "s",
                    Histogram(histogram, self._histogram_temporality),
                )
            )
        if running:
            metrics.append(
                Metric(
                    ACTIVE,
                    DESCRIPTIONS[ACTIVE],
                    "{operation}",
                    Sum(running, AggregationTemporality.CUMULATIVE, is_monotonic=False),
                )
            )
        metrics.extend(
            Metric(
                name,
                DESCRIPTIONS[name],
                "{operation}",
                Sum(points, self._counter_temporality, is_monotonic=True),
            )
            for name, points in counts.items()
            if points
        )
        return ScopeMetrics(self._scope, metrics, "") if metrics else None

    def _labels(self, service: str, operation: str, error_type: str | None) -> dict[str, str]:
        key = (service, operation, error_type)
        made = self._attributes.get(key)
        if made is None:
            made = self._attributes[key] = label_attributes(service, operation, error_type)
        return made

    def _histogram_point(
        self, labels: Labels, series: Series, now: int
    ) -> HistogramDataPoint | None:
        count, total, buckets = series.count, series.total, series.buckets.copy()
        before = self._last.get(labels)
        start = self._start(before, series)
        self._last[labels] = (series, count, total, buckets, start)
        minimum, maximum = series.minimum, series.maximum
        if self._histogram_temporality is AggregationTemporality.DELTA:
            start = self._last_time
            if before is not None and before[0] is series:
                if before[1] == count:
                    return None
                count, total = count - before[1], total - before[2]
                buckets = [b - a for a, b in zip(before[3], buckets, strict=True)]
                # The extremes since the last collection are not known; those of all time
                # bound them, and OTLP requires none.
                minimum = maximum = None
        return HistogramDataPoint(
            attributes=self._labels(*labels),
            start_time_unix_nano=start,
            time_unix_nano=now,
            count=count,
            sum=total / _SECOND,
            bucket_counts=buckets,
            explicit_bounds=self._bounds,
            min=None if minimum is None else minimum / _SECOND,  # type: ignore[arg-type]
            max=None if maximum is None else maximum / _SECOND,  # type: ignore[arg-type]
            exemplars=[
                Exemplar(
                    {},
                    (span._end - span._start) / _SECOND,
                    span.end_time,
                    span._span_id,
                    span._trace_id,
                )
                for span in series.exemplars
                if span is not None and span._flags & 1 and span.end_time >= start
            ],
        )

    def _start(self, before: tuple[Any, ...] | None, counted: object) -> int:
        """Return since when a cumulative series counts: the last collection, if reset since."""
        if before is None:
            return self._began
        began: int = before[-1]
        return began if before[0] is counted else self._last_time

    def _count_point(
        self, name: str, operation: OperationStatistics, count: int, now: int
    ) -> NumberDataPoint:
        key = (name, operation.service, operation.name)
        before = self._last_counts.get(key)
        start = self._start(before, operation)
        self._last_counts[key] = (operation, count, start)
        if self._counter_temporality is AggregationTemporality.DELTA:
            start = self._last_time
            if before is not None and before[0] is operation:
                count -= before[1]
        return NumberDataPoint(
            self._labels(operation.service, operation.name, None), start, now, count
        )


def merged(data: Any, scope: ScopeMetrics | None, resource: Callable[[], Any]) -> Any:
    """Return metrics data with one more scope in it.

    Args:
        data: what the SDK collected, `None` when no instrument has a point.
        scope: ours, `None` for nothing.
        resource: gives the resource, where `data` has none.
    """
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics

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
