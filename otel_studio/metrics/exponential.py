"""The buckets of an exponential histogram out of a sketch of durations.

A sketch's bucket is narrower than one of scale 5, so each maps to one by its middle: a duration is
counted in its own bucket or, within the sketch's 0.8%, in the one beside it. A percentile is then
within 1.9% of the exact one: 0.8% of the sketch, and 1.1% of half a bucket of scale 5.

Format: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

from opentelemetry.sdk.metrics.export import Buckets

from otel_studio.base.sketch import Sketch, bucket_middle

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


def buckets_of(
    sketch: Sketch, max_buckets: int = MAX_BUCKETS, max_scale: int = SCALE
) -> tuple[int, int, Buckets]:
    """Return scale, count of zeros and buckets of the durations of a sketch.

    Args:
        sketch: in nanoseconds.
        max_buckets: from the first that is filled to the last, at least 2.
        max_scale: the finest scale that is wanted.

    Returns:
        the finest scale at which they are no more than that, at most `SCALE`.
    """
    zeros = sketch.counts.get(0, 0)
    filled: dict[int, int] = {}
    for key, count in sketch.counts.items():
        if key:
            index = index_of(key)
            filled[index] = filled.get(index, 0) + count
    scale = min(SCALE, max_scale)
    if not filled:
        return scale, zeros, Buckets(0, [])
    first, last = min(filled), max(filled)
    while (last >> (SCALE - scale)) - (first >> (SCALE - scale)) >= max_buckets:
        scale -= 1
    shift = SCALE - scale
    offset = first >> shift
    counts = [0] * ((last >> shift) - offset + 1)
    for index, count in filled.items():
        counts[(index >> shift) - offset] += count
    return scale, zeros, Buckets(offset, counts)
