"""An explicit-bucket histogram of durations: the runs that share one set of labels."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence

from otel_studio.base.frozen import draft_of
from otel_studio.base.sketch import Sketch
from otel_studio.registry.kept import Kept, is_sampled, later, without

#: Error type (`None` for runs that did not fail) and the values of the declared labels.
SeriesKey = tuple[str | None, tuple[str, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """Count, sum, extremes and bucket counts of the runs that share one set of labels.

    A value that equals a bound belongs to that bound's bucket, as OpenTelemetry and
    Prometheus (`le`) define it.

    Attributes:
        count: runs.
        total: of their durations, in nanoseconds.
        minimum: in nanoseconds; `None` without a run, and for a difference.
        maximum: likewise.
        buckets: runs by latency bucket: one more than there are bounds.
        exemplars: the latest run of each bucket; the latest sampled one where there is any, for
            its trace can be looked up.
    """

    count: int
    total: int
    minimum: int | None
    maximum: int | None
    buckets: tuple[int, ...]
    exemplars: tuple[Kept | None, ...]
    #: Of the durations, where a reader wants buckets of another kind; see `Bounds`.
    sketch: Sketch | None = None

    def __add__(self, other: Series) -> Series:
        """Return both together."""
        lows = [s.minimum for s in (self, other) if s.count]
        highs = [s.maximum for s in (self, other) if s.count]
        known = None not in lows and None not in highs
        return Series(
            self.count + other.count,
            self.total + other.total,
            min((low for low in lows if low is not None), default=None) if known else None,
            max((high for high in highs if high is not None), default=None) if known else None,
            tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True)),
            tuple(preferred(a, b) for a, b in zip(self.exemplars, other.exemplars, strict=True)),
            _merged(self.sketch, other.sketch),
        )

    def __sub__(self, earlier: Series) -> Series:
        """Return what came since an earlier reading; its extremes are not known."""
        return Series(
            self.count - earlier.count,
            self.total - earlier.total,
            None,
            None,
            tuple(a - b for a, b in zip(self.buckets, earlier.buckets, strict=True)),
            tuple(
                None if run is None else next(iter(without((run,), (before,))), None)
                for run, before in zip(self.exemplars, earlier.exemplars, strict=True)
            ),
            _less(self.sketch, earlier.sketch),
        )


def _merged(one: Sketch | None, other: Sketch | None) -> Sketch | None:
    """Return the sketch of both; unknown where that of either is."""
    if one is None or other is None:
        return None
    both = one.copy()
    both.merge(other)
    return both


def _less(now: Sketch | None, earlier: Sketch | None) -> Sketch | None:
    if now is None or earlier is None:
        return None
    since = now.copy()
    since.take_away(earlier)
    return since


def empty(bucket_count: int, *, with_sketch: bool = False) -> Series:
    """Return a series without a run.

    Args:
        bucket_count: the number of bounds plus one.
        with_sketch: whether it keeps one of its durations.
    """
    sketch = Sketch() if with_sketch else None
    return Series(0, 0, None, None, (0,) * bucket_count, (None,) * bucket_count, sketch)


_SeriesDraft = draft_of(Series)


def with_runs(
    series: Series,
    runs: Sequence[Kept],
    durations: Sequence[int],
    bounds: Sequence[int],
    *,
    samples_are_old: bool,
    keep: Callable[[Kept], Kept],
) -> Series:
    """Return a series with more runs.

    Args:
        series: so far.
        runs: in the order of their ends, at least one.
        durations: of these, in nanoseconds, ascending.
        bounds: the bucket bounds in nanoseconds, ascending.
        samples_are_old: whether every bucket takes a new exemplar; else only one without any.
        keep: returns what is kept of a run.
    """
    size = len(durations)
    low, high = durations[0], durations[-1]
    minimum, maximum = series.minimum, series.maximum
    buckets = list(series.buckets)
    # From the bucket of the smallest to that of the largest: usually two or three.
    first = index = bisect_left(bounds, low)
    last = bisect_left(bounds, high, index) if size > 1 else first
    done = 0
    while index < last:
        upto = bisect_right(durations, bounds[index], done)
        buckets[index] += upto - done
        done = upto
        index += 1
    buckets[last] += size - done
    exemplars = series.exemplars
    if samples_are_old or None in exemplars[first : last + 1]:
        exemplars = _with_exemplars(exemplars, runs, bounds, keep)
    made = _SeriesDraft()
    made.count = series.count + size
    made.total = series.total + sum(durations)
    made.minimum = low if minimum is None or low < minimum else minimum
    made.maximum = high if maximum is None or high > maximum else maximum
    made.buckets = tuple(buckets)
    made.exemplars = exemplars
    made.sketch = series.sketch
    if series.sketch is not None:
        made.sketch = series.sketch.copy()
        made.sketch.add_sorted(durations)
    made.__class__ = Series
    frozen: Series = made
    return frozen


def _with_exemplars(
    exemplars: tuple[Kept | None, ...],
    runs: Sequence[Kept],
    bounds: Sequence[int],
    keep: Callable[[Kept], Kept],
) -> tuple[Kept | None, ...]:
    """Keep the latest run of each latency bucket; one that was sampled goes before."""
    found: dict[int, Kept] = {}
    for run in reversed(runs):
        index = bisect_left(bounds, run._end - run._start)
        known = found.get(index)
        if known is None or (run._flags & 1 and not known._flags & 1):
            found[index] = run
    kept = list(exemplars)
    for index, run in found.items():
        before = kept[index]
        if run._flags & 1 or before is None or not before._flags & 1:
            kept[index] = keep(run)
    return tuple(kept)


def preferred(one: Kept | None, other: Kept | None) -> Kept | None:
    """Return the run that stands for a bucket: a sampled one before others, then the later."""
    if one is None or other is None:
        return one or other
    if is_sampled(one) != is_sampled(other):
        return one if is_sampled(one) else other
    return later(one, other)


def without_runs(series: Series) -> Series:
    """Return the counts of a series alone."""
    return dataclasses.replace(series, exemplars=(None,) * len(series.exemplars))


def at_bounds(series: Series, own: Sequence[int], fewer: Sequence[int]) -> Series:
    """Return the same runs in fewer, wider buckets.

    Args:
        series: with one bucket more than it has bounds.
        own: its bounds, ascending.
        fewer: some of them.
    """
    buckets = [0] * (len(fewer) + 1)
    exemplars: list[Kept | None] = [None] * len(buckets)
    for index, (count, run) in enumerate(zip(series.buckets, series.exemplars, strict=True)):
        home = bisect_left(fewer, own[index]) if index < len(own) else len(fewer)
        buckets[home] += count
        exemplars[home] = preferred(exemplars[home], run)
    return dataclasses.replace(series, buckets=tuple(buckets), exemplars=tuple(exemplars))


def relabelled(
    series: Mapping[SeriesKey, Series], own: Sequence[str], names: Sequence[str]
) -> dict[SeriesKey, Series]:
    """Return series under more labels; one that an operation did not declare is empty.

    Args:
        series: by error type and values.
        own: the labels of the values.
        names: these and others, in another order.
    """
    found: dict[SeriesKey, Series] = {}
    for (error_type, values), one in series.items():
        told = dict(zip(own, values, strict=False))
        key = error_type, tuple(told.get(name, "") for name in names) if values else ()
        found[key] = found[key] + one if key in found else one
    return found
