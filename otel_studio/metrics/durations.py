"""The data of a metric of durations, in the form in which a reader gets it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Histogram,
    HistogramDataPoint,
    NumberDataPoint,
    Sum,
)

from otel_studio.base.guard import warn_once
from otel_studio.base.sketch import Sketch, bucket_middle
from otel_studio.metrics.exponential import MAX_BUCKETS, SCALE, buckets_of
from otel_studio.metrics.streams import Stream
from otel_studio.registry.series import Series, at_bounds
from otel_studio.spans.ended_run import duration_of

_SECOND: Final = 1e9
_Found = Sequence[tuple[dict[str, str], "Durations"]]


class Durations(NamedTuple):
    """The runs of one series, and since when they count, in nanoseconds since 1970."""

    series: Series
    start: int

    def __add__(self, other: Durations) -> Durations:  # type: ignore[override]
        return Durations(self.series + other.series, min(self.start, other.start))


def data_of(
    stream: Stream,
    found: _Found,
    bounds: tuple[float, ...],
    now: int,
    temporality: AggregationTemporality,
) -> Any:
    """Return the data of a metric.

    Args:
        stream: as which it goes out.
        found: the durations by attributes.
        bounds: of their own buckets, in seconds.
        now: until when they count, in nanoseconds since 1970.
        temporality: of the points.
    """
    if stream.form == "sum":
        return Sum(_sums(found, now), temporality, is_monotonic=True)
    wished = stream
    if stream.needs_sketches(bounds) and any(one.series.sketch is None for _, one in found):
        warn_once(
            "metrics",
            f"buckets of {stream.name}",
            "%s goes out with the bounds of the setting histogram_bounds: its reader, who wants "
            "other buckets, came after the first operations; add it to the MeterProvider before "
            "otel_studio.configure()",
            stream.name,
        )
        wished = Stream(stream.name, stream.description)
    if wished.form == "exponential":
        return ExponentialHistogram(_exponential(wished, found, now), temporality)
    return Histogram(_explicit(wished, found, bounds, now), temporality)


def _sums(found: _Found, now: int) -> list[NumberDataPoint]:
    return [
        NumberDataPoint(attributes, one.start, now, one.series.total / _SECOND)
        for attributes, one in found
    ]


def _explicit(
    stream: Stream, found: _Found, bounds: tuple[float, ...], now: int
) -> list[HistogramDataPoint]:
    wanted = bounds if stream.buckets.bounds is None else stream.buckets.bounds
    return [
        HistogramDataPoint(
            bucket_counts=_counts(one.series, bounds, wanted),
            explicit_bounds=wanted,
            **_common(stream, attributes, one, now),
        )
        for attributes, one in found
    ]


def _counts(series: Series, bounds: tuple[float, ...], wanted: tuple[float, ...]) -> list[int]:
    """Return how many durations are in each bucket.

    Where the registry has all of the wanted bounds this is exact; else a duration within a
    sketch's 0.8% of a bound may be on its other side.
    """
    if wanted == bounds:
        return list(series.buckets)
    wanted_ns = _nanoseconds(wanted)
    if set(wanted).issubset(bounds):
        return list(at_bounds(series, _nanoseconds(bounds), wanted_ns).buckets)
    counts = [0] * (len(wanted) + 1)
    for key, count in (series.sketch or Sketch()).counts.items():
        counts[bisect_left(wanted_ns, bucket_middle(key))] += count
    return counts


def _nanoseconds(bounds: tuple[float, ...]) -> list[int]:
    return [round(bound * _SECOND) for bound in bounds]


def _exponential(stream: Stream, found: _Found, now: int) -> list[ExponentialHistogramDataPoint]:
    wanted = stream.buckets
    max_buckets = MAX_BUCKETS if wanted.max_size is None else max(2, wanted.max_size)
    max_scale = SCALE if wanted.max_scale is None else wanted.max_scale
    points = []
    for attributes, one in found:
        sketch = one.series.sketch or Sketch()
        scale, zeros, positive = buckets_of(sketch, max_buckets, max_scale)
        points.append(
            ExponentialHistogramDataPoint(
                scale=scale,
                zero_count=zeros,
                positive=positive,
                negative=Buckets(0, []),
                flags=0,
                **_common(stream, attributes, one, now),
            )
        )
    return points


def _common(
    stream: Stream, attributes: dict[str, str], durations: Durations, now: int
) -> dict[str, Any]:
    """Return what points of every kind of histogram have."""
    series, start = durations
    # Those since the last collection are not known, and OTLP requires none.
    extremes = (series.minimum, series.maximum) if stream.buckets.has_extremes else (None, None)
    minimum, maximum = (None if one is None else one / _SECOND for one in extremes)
    return {
        "attributes": attributes,
        "start_time_unix_nano": start,
        "time_unix_nano": now,
        "count": series.count,
        "sum": series.total / _SECOND,
        "min": minimum,
        "max": maximum,
        "exemplars": _exemplars(series, start),
    }


def _exemplars(series: Series, start: int) -> list[Exemplar]:
    return [
        Exemplar({}, duration_of(run) / _SECOND, run.end_time or 0, run._span_id, run._trace_id)
        for run in series.exemplars
        if run is not None and run._flags & 1 and (run.end_time or 0) >= start
    ]
