"""An explicit-bucket histogram of durations, filled in batches."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any


class Series:
    """Count, sum, extremes and bucket counts of the runs that share one set of labels.

    A value that equals a bound belongs to that bound's bucket, as OpenTelemetry and
    Prometheus (`le`) define it.

    Args:
        bucket_count: the number of bounds plus one.
    """

    __slots__ = ("buckets", "count", "exemplars", "maximum", "minimum", "total")

    def __init__(self, bucket_count: int) -> None:
        self.count = 0
        self.total = 0
        self.minimum: int | None = None
        self.maximum: int | None = None
        self.buckets = [0] * bucket_count
        #: The latest run of each bucket, for exemplars and the latency samples; the latest sampled
        #: one where there is any, for its trace can be looked up.
        self.exemplars: list[Any] = [None] * bucket_count

    def add_sorted(self, durations: Sequence[int], bounds: Sequence[int]) -> bool:
        """Count durations that are in ascending order.

        Args:
            durations: nanoseconds, ascending, at least one.
            bounds: the bucket bounds in nanoseconds, ascending.

        Returns:
            whether one of the buckets that they fall between has no exemplar yet.
        """
        size = len(durations)
        self.count += size
        self.total += sum(durations)
        low, high = durations[0], durations[-1]
        if self.minimum is None or low < self.minimum:
            self.minimum = low
        if self.maximum is None or high > self.maximum:
            self.maximum = high
        buckets = self.buckets
        # From the bucket of the smallest to that of the largest: usually two or three.
        first = index = bisect_left(bounds, low)
        last = bisect_left(bounds, high, index)
        done = 0
        while index < last:
            upto = bisect_right(durations, bounds[index], done)
            buckets[index] += upto - done
            done = upto
            index += 1
        buckets[last] += size - done
        return None in self.exemplars[first : last + 1]
