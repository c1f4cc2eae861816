"""Histograms of one beginning: with chosen bounds, and with powers for bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from otel_studio.base.reading import add_counts, subtract_counts


@dataclasses.dataclass(frozen=True, slots=True)
class HistogramPart:
    """What was recorded since one beginning, in buckets.

    Attributes:
        start: of the counting, in nanoseconds since 1970.
        count: of the values.
        total: their sum.
        bounds: upper ends of the buckets but the last.
        buckets: counts; one more than bounds.
        minimum: the least value; of a difference unknown, as of nothing: `None`.
        maximum: the greatest, likewise.
    """

    start: int
    count: int
    total: int | float
    bounds: tuple[float, ...]
    buckets: tuple[int, ...]
    minimum: int | float | None
    maximum: int | float | None

    def __add__(self, other: HistogramPart) -> HistogramPart:
        minimum, maximum = _extremes(self, other)
        return HistogramPart(
            max(self.start, other.start),
            self.count + other.count,
            self.total + other.total,
            self.bounds,
            tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True)),
            minimum,
            maximum,
        )

    def __sub__(self, earlier: HistogramPart) -> HistogramPart:
        if not earlier.count or earlier.count > self.count:
            return self
        return HistogramPart(
            self.start,
            self.count - earlier.count,
            self.total - earlier.total,
            self.bounds,
            tuple(a - b for a, b in zip(self.buckets, earlier.buckets, strict=True)),
            None,
            None,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ExponentialPart:
    """What was recorded since one beginning, in buckets whose bounds are powers.

    Attributes:
        start: of the counting, in nanoseconds since 1970.
        count: of the values.
        total: their sum.
        scale: bucket `i` ends at `2 ** ((i + 1) * 2 ** -scale)`.
        zeros: how many values were zero.
        positive: counts by bucket; what has none is left out.
        negative: likewise, of the values below zero without their sign.
        minimum: the least value; of a difference unknown, as of nothing: `None`.
        maximum: the greatest, likewise.
    """

    start: int
    count: int
    total: int | float
    scale: int
    zeros: int
    positive: Mapping[int, int]
    negative: Mapping[int, int]
    minimum: int | float | None
    maximum: int | float | None

    def at_scale(self, scale: int) -> ExponentialPart:
        """Return the same values in fewer, wider buckets.

        Args:
            scale: its own, or a lower one.
        """
        if scale >= self.scale:
            return self
        shift = self.scale - scale
        return dataclasses.replace(
            self,
            scale=scale,
            positive=_shifted(self.positive, shift),
            negative=_shifted(self.negative, shift),
        )

    def __add__(self, other: ExponentialPart) -> ExponentialPart:
        scale = min(self.scale, other.scale)
        one, two = self.at_scale(scale), other.at_scale(scale)
        minimum, maximum = _extremes(self, other)
        return ExponentialPart(
            max(self.start, other.start),
            self.count + other.count,
            self.total + other.total,
            scale,
            self.zeros + other.zeros,
            add_counts(one.positive, two.positive),
            add_counts(one.negative, two.negative),
            minimum,
            maximum,
        )

    def __sub__(self, earlier: ExponentialPart) -> ExponentialPart:
        if not earlier.count or earlier.count > self.count:
            return self
        scale = min(self.scale, earlier.scale)
        now, then = self.at_scale(scale), earlier.at_scale(scale)
        return ExponentialPart(
            self.start,
            self.count - earlier.count,
            self.total - earlier.total,
            scale,
            self.zeros - earlier.zeros,
            subtract_counts(now.positive, then.positive),
            subtract_counts(now.negative, then.negative),
            None,
            None,
        )


def _extremes(
    one: HistogramPart | ExponentialPart, two: HistogramPart | ExponentialPart
) -> tuple[int | float | None, int | float | None]:
    """Return the extremes of both together: unknown where those of either are."""
    if not one.count or not two.count:
        known = one if one.count else two
        return known.minimum, known.maximum
    if one.minimum is None or two.minimum is None or one.maximum is None or two.maximum is None:
        return None, None
    return min(one.minimum, two.minimum), max(one.maximum, two.maximum)


def _shifted(buckets: Mapping[int, int], shift: int) -> dict[int, int]:
    counts: dict[int, int] = {}
    for index, count in buckets.items():
        counts[index >> shift] = counts.get(index >> shift, 0) + count
    return counts
