"""Makes histograms with bounds of exponential ones, which OpenTelemetry's reader cannot write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Histogram,
    HistogramDataPoint,
)


def classic(data: ExponentialHistogram) -> Histogram:
    """Return the same histogram with its buckets' own bounds.

    Args:
        data: whose points have any scale, zeros and negative values.
    """
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
