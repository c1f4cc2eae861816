"""What is known of one operation: a frozen value that a fold makes anew, and readings add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from otel_studio.base.codec import LEFT_OUT
from otel_studio.base.reading import add_parts, subtract_parts
from otel_studio.base.sketch import Sketch, bucket_edges
from otel_studio.registry.kept import Kept, last_of, latest, slowest_of, without
from otel_studio.registry.series import Series, SeriesKey, at_bounds, relabelled


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """What one operation may hold.

    Attributes:
        buckets_ns: histogram bounds, nanoseconds, ascending.
        recent_runs: latest runs kept.
        slow_samples: slowest runs kept.
        series_sketches: whether each series keeps a sketch of its own, beside the operation's.
    """

    buckets_ns: tuple[int, ...]
    recent_runs: int
    slow_samples: int
    series_sketches: bool = dataclasses.field(default=False, compare=False, metadata=LEFT_OUT)


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """Everything that is known of one operation: of all its runs, or of those in a window.

    Attributes:
        count: runs that ended: ok, error and cancelled.
        total: of their durations, in nanoseconds.
        minimum: the shortest, in nanoseconds; `None` before the first run.
        maximum: the longest, likewise.
        exact_extremes: whether these two were measured; in a difference they are the edges of
            the sketch's outermost buckets, within 0.8%.
        errors: runs that failed.
        cancelled: runs that were cancelled.
        abandoned: runs that were dropped without an end; not in `count`.
        sketch: of all durations.
        series: by error type and declared labels.
        label_names: of the declared labels.
        label_overflow: runs whose values were counted as `__other__`.
        recent: the latest runs, oldest first.
        slowest: the slowest runs, slowest first.
        last_failed: the latest run that failed.
        bounds: what it holds at most.
    """

    bounds: Bounds
    sketch: Sketch
    count: int = 0
    total: int = 0
    minimum: int | None = None
    maximum: int | None = None
    exact_extremes: bool = True
    errors: int = 0
    cancelled: int = 0
    abandoned: int = 0
    series: Mapping[SeriesKey, Series] = dataclasses.field(default_factory=dict)
    label_names: tuple[str, ...] = ()
    label_overflow: int = 0
    recent: tuple[Kept, ...] = ()
    slowest: tuple[Kept, ...] = ()
    last_failed: Kept | None = None
    #: A bucket's exemplar is looked for again only from this end on, in monotonic nanoseconds.
    next_sampling: int = dataclasses.field(default=0, compare=False, metadata=LEFT_OUT)

    def __add__(self, other: Operation) -> Operation:
        """Return both together: of two processes, or of two windows.

        Where two processes were configured differently, the buckets are those of the bounds that
        both have, and the labels those of either.
        """
        one, two = _alike(self, other)
        sketch = self.sketch.copy()
        sketch.merge(other.sketch)
        lows = [o.minimum for o in (self, other) if o.minimum is not None]
        highs = [o.maximum for o in (self, other) if o.maximum is not None]
        bounds = Bounds(
            one.bounds.buckets_ns,
            max(self.bounds.recent_runs, other.bounds.recent_runs),
            max(self.bounds.slow_samples, other.bounds.slow_samples),
        )
        return Operation(
            bounds,
            sketch,
            self.count + other.count,
            self.total + other.total,
            min(lows, default=None),
            max(highs, default=None),
            self.exact_extremes and other.exact_extremes,
            self.errors + other.errors,
            self.cancelled + other.cancelled,
            self.abandoned + other.abandoned,
            add_parts(one.series, two.series),
            one.label_names,
            self.label_overflow + other.label_overflow,
            last_of(self.recent, other.recent, bounds.recent_runs),
            slowest_of(self.slowest, other.slowest, bounds.slow_samples),
            latest(self.last_failed, other.last_failed),
        )

    def __sub__(self, earlier: Operation) -> Operation:
        """Return what came since an earlier reading; samples are those inside the window."""
        sketch = self.sketch.copy()
        sketch.take_away(earlier.sketch)
        now, then = _alike(self, earlier)
        minimum, maximum = _extremes(sketch)
        series = subtract_parts(now.series, then.series)
        failed = self.last_failed
        return Operation(
            dataclasses.replace(self.bounds, buckets_ns=now.bounds.buckets_ns),
            sketch,
            self.count - earlier.count,
            self.total - earlier.total,
            minimum,
            maximum,
            False,
            self.errors - earlier.errors,
            self.cancelled - earlier.cancelled,
            self.abandoned - earlier.abandoned,
            {key: one for key, one in series.items() if one.count},
            now.label_names,
            self.label_overflow - earlier.label_overflow,
            without(self.recent, earlier.recent),
            without(self.slowest, earlier.slowest),
            failed and next(iter(without((failed,), (earlier.last_failed,))), None),
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is counted in it."""
        return not (self.count or self.abandoned)


def _alike(one: Operation, other: Operation) -> tuple[Operation, Operation]:
    """Return both with the same bounds and labels, as nearly always they have them already."""
    bounds, names = one.bounds.buckets_ns, one.label_names or other.label_names
    if other.bounds.buckets_ns == bounds and one.label_names == other.label_names:
        return one, other
    if other.bounds.buckets_ns != bounds:
        bounds = tuple(sorted({*bounds} & {*other.bounds.buckets_ns}))
    if other.label_names not in (names, ()):
        names = tuple(sorted({*names, *other.label_names}))
    return _with(one, bounds, names), _with(other, bounds, names)


def _with(operation: Operation, bounds: tuple[int, ...], names: tuple[str, ...]) -> Operation:
    series, own = operation.series, operation.bounds
    if own.buckets_ns != bounds:
        series = {key: at_bounds(one, own.buckets_ns, bounds) for key, one in series.items()}
    if operation.label_names not in (names, ()):
        series = relabelled(series, operation.label_names, names)
    return dataclasses.replace(
        operation,
        bounds=dataclasses.replace(own, buckets_ns=bounds),
        series=series,
        label_names=names,
    )


def _extremes(sketch: Sketch) -> tuple[int | None, int | None]:
    keys = [key for key, count in sketch.counts.items() if count]
    if not keys:
        return None, None
    return bucket_edges(min(keys))[0], bucket_edges(max(keys))[1]
