"""Exponential histogram points out of a sketch of durations.

A sketch's bucket is narrower than one of scale 5, so each maps to one by its middle: a duration is
counted in its own bucket or, within the sketch's 0.8%, in the one beside it. A percentile is then
within 1.9% of the exact one: 0.8% of the sketch, and 1.1% of half a bucket of scale 5.

Format: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final

from opentelemetry.sdk.metrics.export import Buckets, ExponentialHistogramDataPoint

from otel_studio.base.sketch import Sketch, bucket_middle
from otel_studio.registry.series import Series

#: The finest scale: 32 buckets in every power of two, where a sketch has 64.
SCALE: Final = 5
#: The most buckets of a point, from the first that is filled to the last.
MAX_BUCKETS: Final = 320
_SECOND: Final = 1e9


@cache
def index_of(key: int) -> int:
    """Return the bucket of scale 5, in seconds, that stands for a sketch's bucket.

    Args:
        key: of a sketch in nanoseconds, not that of 0.

    Example:
        >>> sketch = Sketch()
        >>> sketch.add(1_500_000_000)
        >>> [key] = sketch.counts
        >>> 2 ** (index_of(key) / 32) < 1.5 <= 2 ** ((index_of(key) + 1) / 32)
        True
    """
    return math.ceil(math.log2(bucket_middle(key) / _SECOND) * 2**SCALE) - 1


def buckets_of(sketch: Sketch) -> tuple[int, int, Buckets]:
    """Return scale, count of zeros and buckets of the durations of a sketch.

    Args:
        sketch: in nanoseconds.

    Returns:
        the finest scale at which they are no more than `MAX_BUCKETS`, at most `SCALE`.
    """
    zeros = sketch.counts.get(0, 0)
    filled: dict[int, int] = {}
    for key, count in sketch.counts.items():
        if key:
            index = index_of(key)
            filled[index] = filled.get(index, 0) + count
    if not filled:
        return SCALE, zeros, Buckets(0, [])
    scale = SCALE
    first, last = min(filled), max(filled)
    while (last >> (SCALE - scale)) - (first >> (SCALE - scale)) >= MAX_BUCKETS:
        scale -= 1
    shift = SCALE - scale
    offset = first >> shift
    counts = [0] * ((last >> shift) - offset + 1)
    for index, count in filled.items():
        counts[(index >> shift) - offset] += count
    return scale, zeros, Buckets(offset, counts)


def exponential_point(
    attributes: dict[str, str], series: Series, start: int, now: int, exemplars: list[Any]
) -> ExponentialHistogramDataPoint:
    """Return the point of a series that has a sketch.

    Args:
        attributes: of the point.
        series: the runs.
        start: since when they count, in nanoseconds since 1970.
        now: until when.
        exemplars: of the point.
    """
    assert series.sketch is not None
    scale, zeros, positive = buckets_of(series.sketch)
    return ExponentialHistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=start,
        time_unix_nano=now,
        count=series.count,
        sum=series.total / _SECOND,
        scale=scale,
        zero_count=zeros,
        positive=positive,
        negative=Buckets(0, []),
        flags=0,
        # Those of a difference are not known, and OTLP requires none.
        min=None if series.minimum is None else series.minimum / _SECOND,  # type: ignore[arg-type]
        max=None if series.maximum is None else series.maximum / _SECOND,  # type: ignore[arg-type]
        exemplars=exemplars,
    )
