"""The laws of the instruments' reading, each over readings of several processes and kinds."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from otel_studio.base import codec
from otel_studio.metrics.histogram_parts import ExponentialPart, HistogramPart
from otel_studio.metrics.instrument_points import (
    Count,
    ExponentialHistogram,
    Histogram,
    Last,
    Latest,
    Level,
    MachineCount,
)
from otel_studio.metrics.instruments_reading import Instrument, InstrumentsReading, PointKey

counts = st.integers(1, 1 << 40)
epochs = st.sampled_from(["p1-100", "p1-200", "p2-100"])
processes = st.sampled_from(["p1", "p2"])
latest = st.builds(Latest, st.integers(0, 5), st.integers(-5, 5) | st.floats(allow_nan=False))
BOUNDS = ((1.0, 2.0), (5.0,))


@st.composite
def histogram_parts(draw: Any, bounds: tuple[float, ...]) -> HistogramPart:
    buckets = draw(
        st.lists(st.integers(0, 9), min_size=len(bounds) + 1, max_size=len(bounds) + 1).filter(any)
    )
    low, high = sorted((draw(counts), draw(counts)))
    return HistogramPart(7, sum(buckets), draw(counts), bounds, tuple(buckets), low, high)


@st.composite
def exponential_parts(draw: Any, scales: st.SearchStrategy[int]) -> ExponentialPart:
    buckets = st.dictionaries(st.integers(-40, 40), st.integers(1, 9), max_size=5)
    positive, negative, zeros = draw(buckets), draw(buckets), draw(st.integers(1, 9))
    count = sum(positive.values()) + sum(negative.values()) + zeros
    low, high = sorted((draw(counts), draw(counts)))
    return ExponentialPart(
        7, count, draw(counts), draw(scales), zeros, positive, negative, low, high
    )


@st.composite
def histograms(draw: Any) -> Histogram:
    keys = draw(st.lists(st.tuples(epochs, st.sampled_from(BOUNDS)), min_size=1, unique=True))
    return Histogram({f"{epoch}-{bounds}": draw(histogram_parts(bounds)) for epoch, bounds in keys})


def exponentials(scales: st.SearchStrategy[int]) -> st.SearchStrategy[ExponentialHistogram]:
    parts = st.dictionaries(epochs, exponential_parts(scales), min_size=1)
    return st.builds(ExponentialHistogram, parts)


GROUPS: dict[str, Any] = {
    "counter": st.builds(Count, st.dictionaries(epochs, counts, min_size=1)),
    "histogram": histograms(),
    "exponential_histogram": exponentials(st.just(3)),
}
ORDERS: dict[str, Any] = {
    "gauge": st.builds(Last, latest),
    "up_down_counter": st.builds(Level, st.dictionaries(processes, latest, min_size=1)),
}


def readings(kinds: dict[str, Any]) -> st.SearchStrategy[InstrumentsReading]:
    keys = st.builds(
        PointKey,
        st.sampled_from(["app", "lib"]),
        st.just("name"),
        st.sampled_from(sorted(kinds)),
        st.sampled_from([(), (("a", 1),), (("a", "x"), ("b", ("y", "z")))]),
    )

    @st.composite
    def build(draw: Any) -> InstrumentsReading:
        points = {key: draw(kinds[key.kind]) for key in draw(st.sets(keys, max_size=5))}
        instruments = {
            (key.scope, key.name): Instrument("1", "s", draw(st.sampled_from(["x", "y"])))
            for key in points
        }
        return InstrumentsReading(draw(st.integers(0, 9)), instruments, points)

    return build()


groups = readings(GROUPS)
everything = readings(
    {**GROUPS, **ORDERS, "exponential_histogram": exponentials(st.integers(0, 5))}
)


def without_extremes(reading: InstrumentsReading) -> Any:
    """The points but for what no difference can know."""

    def plain(points: Any) -> Any:
        if not isinstance(points, Histogram | ExponentialHistogram):
            return points
        return {
            epoch: dataclasses.replace(part, minimum=None, maximum=None)
            for epoch, part in points.parts.items()
        }

    return {key: plain(points) for key, points in reading.points.items()}


@given(groups, groups)
def test_what_was_added_comes_back_by_subtracting(
    a: InstrumentsReading, b: InstrumentsReading
) -> None:
    """(a + b) - a == b: counts, sums and buckets of every epoch and bounds."""
    assert without_extremes((a + b) - a) == without_extremes(b)
    assert without_extremes((a + b) - b) == without_extremes(a)


@given(everything, everything, everything)
def test_order_and_grouping_change_nothing(
    a: InstrumentsReading, b: InstrumentsReading, c: InstrumentsReading
) -> None:
    """A + b == b + a, and (a + b) + c == a + (b + c), for every kind."""
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)


@given(everything)
def test_nothing_changes_nothing(a: InstrumentsReading) -> None:
    """A reading of no points is the neutral one, and no one differs from itself."""
    nothing = InstrumentsReading()
    assert a + nothing == nothing + a == a
    assert without_extremes(a - nothing) == without_extremes(a)
    left = (a - a).points
    assert all(key.kind in ORDERS for key in left)


@given(groups, groups)
def test_windows_that_follow_one_another_add_up(
    first: InstrumentsReading, grown: InstrumentsReading
) -> None:
    """(c - b) + (b - a) == c - a."""
    a, b = first, first + grown
    c = b + grown
    assert without_extremes((c - b) + (b - a)) == without_extremes(c - a)


KEY = PointKey("app", "name", "counter", ())


def reading(points: Any) -> InstrumentsReading:
    return InstrumentsReading(points={KEY: points})


def only(found: InstrumentsReading) -> Any:
    return found.points[KEY]


def test_two_processes_add_and_a_restart_counts_from_zero() -> None:
    """Each beginning is a part of its own; what is gone leaves nothing negative."""
    then = reading(Count({"p1-1": 100, "p2-1": 50}))
    now = reading(Count({"p1-2": 7, "p2-1": 51}))
    assert only(then).value == 150
    window = only(now - then)
    assert window.parts == {"p1-2": 7, "p2-1": 1}
    assert window.value == 8
    assert not (now - now).points


def test_a_counter_that_fell_began_anew() -> None:
    """A callback that reports less than before is no negative count."""
    assert only(reading(Count({"p": 3})) - reading(Count({"p": 10}))).value == 3


def test_levels_add_over_processes_and_the_later_stands_within_one() -> None:
    """An up-down counter of two workers is their sum; a difference is the later value."""
    before = reading(Level({"p1": Latest(1, 5), "p2": Latest(1, 7)}))
    after = reading(Level({"p1": Latest(2, 4)}))
    assert only(before).value == 12
    assert only(before + after).value == only(after + before).value == 11
    assert only(after - before).value == 4


def test_a_gauge_is_the_later_one() -> None:
    """Whichever way round they are added, and in a difference."""
    before, after = reading(Last(Latest(1, 9.0))), reading(Last(Latest(2, 1.0)))
    assert only(before + after).value == only(after + before).value == 1.0
    assert only(after - before).value == 1.0


def test_what_describes_the_machine_is_never_added() -> None:
    """Two workers see one machine; over time its counter has a difference, also across a boot."""
    one, two = reading(MachineCount(Latest(1, 100))), reading(MachineCount(Latest(2, 130)))
    assert only(one + two).value == only(two + one).value == 130
    assert only(two - one).value == 30
    assert only(reading(MachineCount(Latest(3, 10))) - two).value == 10


def part(bounds: tuple[float, ...], start: int, **changes: Any) -> HistogramPart:
    made = HistogramPart(start, 3, 6.0, bounds, (1,) * (len(bounds) + 1), 1.0, 3.0)
    return dataclasses.replace(made, **changes)


def test_histograms_of_other_bounds_stay_apart() -> None:
    """What cannot be added is not; the bounds that began last stand for the whole."""
    old, new = part((1.0, 2.0), 1), part((5.0, 6.0), 2)
    both = only(reading(Histogram({"e-old": old})) + reading(Histogram({"e-new": new})))
    assert both.by_bounds() == {(1.0, 2.0): old, (5.0, 6.0): new}
    assert both.latest == new
    assert Histogram({}).latest is None
    added = only(reading(Histogram({"a": old})) + reading(Histogram({"b": old})))
    assert (added.latest.count, added.latest.buckets) == (6, (2, 2, 2))


def test_extremes_are_known_or_none() -> None:
    """Of two together they are the outer ones; of a difference, and with one, they are unknown."""
    one, two = part((1.0, 2.0), 1), part((1.0, 2.0), 1, minimum=0.5, maximum=2.0)
    assert ((one + two).minimum, (one + two).maximum) == (0.5, 3.0)
    more = one + two
    assert ((more - one).minimum, (more - one).maximum) == (None, None)
    assert (one + (more - one)).minimum is None
    empty = part((1.0, 2.0), 1, count=0, buckets=(0, 0, 0), minimum=None, maximum=None)
    assert (one + empty).minimum == (empty + one).minimum == 1.0


@given(exponential_parts(st.integers(-2, 4)), exponential_parts(st.integers(-2, 4)))
def test_exponential_histograms_meet_at_the_coarser_scale(
    a: ExponentialPart, b: ExponentialPart
) -> None:
    """No value is lost on the way, and the difference is the other one at that scale."""
    scale = min(a.scale, b.scale)
    both = a + b
    assert both.scale == scale
    assert sum(both.positive.values()) == sum(a.positive.values()) + sum(b.positive.values())
    expected = dataclasses.replace(b.at_scale(scale), minimum=None, maximum=None)
    assert both - a == expected


def test_a_bucket_becomes_the_one_that_holds_it() -> None:
    """Bucket i of a scale lies within bucket i >> 1 of the next coarser one, below zero too."""
    made = ExponentialPart(1, 4, 4, 1, 0, {-3: 1, -2: 1, 0: 1, 3: 1}, {}, None, None)
    assert made.at_scale(0).positive == {-2: 1, -1: 1, 0: 1, 1: 1}
    assert made.at_scale(-1).positive == {-1: 2, 0: 2}


@given(everything)
def test_the_codec_brings_a_reading_back(a: InstrumentsReading) -> None:
    """Every kind, keys and attributes included."""
    assert codec.decode(codec.encode(a), InstrumentsReading) == a
