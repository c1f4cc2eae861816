"""A mergeable quantile sketch of durations with a guaranteed relative error."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

#: Buckets per power of two. A value is at most half a bucket from its bucket's middle:
#: the relative error is at most 1 / (2 * 64) = 0.8%.
_BITS = 6
_MASK = (1 << _BITS) - 1
_SHIFT = _BITS + 1
#: The keys up to some hours in nanoseconds, as objects that all sketches share.
_SHARED = tuple(range(2_560))


class Sketch:
    """Counts of durations in log-linear buckets: 64 equal buckets in every power of two.

    Integer arithmetic only, after the bucket layout of HdrHistogram (Gil Tene): values
    below 128 are exact, larger ones have a relative error of at most 0.8%. Two sketches
    merge without loss. A quantile is the middle of its bucket. A sketch of durations between
    1 µs and 1 h has at most 2,048 buckets.

    Example:
        >>> sketch = Sketch()
        >>> sketch.add_many(range(1, 1001))
        >>> sketch.quantile(0.5)
        501.5
    """

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or ())

    def add(self, value: int) -> None:
        """Count one value.

        Args:
            value: nanoseconds (or any other non-negative integer).
        """
        shift = value.bit_length() - _SHIFT
        key = value if shift <= 0 else (value >> shift) + (shift << _BITS)
        counts = self.counts
        counts[key] = counts.get(key, 0) + 1

    def add_many(self, values: Iterable[int]) -> None:
        """Count many values; several times cheaper per value than `add`.

        Args:
            values: nanoseconds, not negative.
        """
        counted = Counter(
            [v if (s := v.bit_length() - _SHIFT) <= 0 else (v >> s) + (s << _BITS) for v in values]
        )
        self._add_counts(counted)

    def _add_counts(self, others: Mapping[int, int]) -> None:
        counts = self.counts
        for key, count in others.items():
            counts[key] = counts.get(key, 0) + count

    def add_sorted(self, values: Sequence[int]) -> None:
        """Count many values in ascending order: one step per bucket, not per value.

        Args:
            values: nanoseconds, ascending, not negative.
        """
        counts = self.counts
        position, size = 0, len(values)
        while position < size:
            value = values[position]
            shift = value.bit_length() - _SHIFT
            if shift <= 0:
                key = last = value
            else:
                key = value >> shift
                last = ((key + 1) << shift) - 1
                key += shift << _BITS
            following = bisect_right(values, last, position)
            known = counts.get(key)
            if known is None:
                counts[_SHARED[key] if key < len(_SHARED) else key] = following - position
            else:
                counts[key] = known + following - position
            position = following

    def copy(self) -> Sketch:
        """Return a sketch of the same values."""
        made = Sketch.__new__(Sketch)
        made.counts = self.counts.copy()
        return made

    def to_plain(self) -> dict[int, int]:
        """Return the counts by bucket, as the codec writes them."""
        return self.counts

    @classmethod
    def from_plain(cls, counts: dict[int, int]) -> Sketch:
        """Return the sketch of counts by bucket."""
        return cls(counts)

    def merge(self, other: Sketch) -> None:
        """Add another sketch's counts to this one."""
        self._add_counts(other.counts)

    def take_away(self, earlier: Sketch) -> None:
        """Take the counts of an earlier sketch of the same values out of this one."""
        counts = self.counts
        for key, count in earlier.counts.items():
            left = counts.get(key, 0) - count
            if left:
                counts[key] = left
            else:
                counts.pop(key, None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sketch):
            return NotImplemented
        return self.counts == other.counts

    __hash__ = None  # type: ignore[assignment]  # it grows

    @property
    def count(self) -> int:
        """How many values were added."""
        return sum(self.counts.values())

    def quantile(self, q: float) -> float | None:
        """Return the value at a quantile, `None` for an empty sketch.

        Args:
            q: between 0 and 1; the value returned is that of rank `ceil(q * count)`.
        """
        return self.quantiles((q,))[0]

    def quantiles(self, qs: Iterable[float]) -> list[float | None]:
        """Return the values at several quantiles in one pass over the buckets.

        Args:
            qs: each between 0 and 1, in any order.
        """
        wanted = list(qs)
        for q in wanted:
            if not 0 <= q <= 1:
                raise ValueError(f"a quantile is between 0 and 1, not {q}: the median is 0.5")
        keys = sorted(self.counts)
        upto = list(accumulate(map(self.counts.__getitem__, keys)))
        if not upto or not upto[-1]:
            return [None] * len(wanted)
        total = upto[-1]
        return [
            bucket_middle(keys[bisect_left(upto, max(1, min(total, -int(-q * total // 1))))])
            for q in wanted
        ]


def bucket_edges(key: int) -> tuple[int, int]:
    """Return the lowest and the highest value of a bucket, in the unit that was added."""
    if key < 2 << _BITS:
        return key, key
    # The keys of the range with this shift are (64..127) + 64 * shift.
    shift = (key >> _BITS) - 1
    lower = (key - (shift << _BITS)) << shift
    return lower, lower + (1 << shift) - 1


def bucket_middle(key: int) -> float:
    """Return the value that stands for a bucket, in the unit that was added."""
    lowest, highest = bucket_edges(key)
    return (lowest + highest) / 2
