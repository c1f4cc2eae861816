"""The algebra of the registry's readings: what adds, subtracts, stands, and begins anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import otel_studio
from forked import in_forked_child
from otel_studio.base.clock import ManualClock
from otel_studio.base.sketch import Sketch
from otel_studio.registry.kept import Kept, order_of
from otel_studio.registry.operation import Bounds, Operation
from otel_studio.registry.reading import (
    ProcessMoment,
    RegistryReading,
    ServicePart,
    ServiceReading,
)
from otel_studio.registry.series import Series
from otel_studio.spans.ended_run import duration_of
from registry_world import (
    BATCHES,
    SAMPLED_BY_HALVES,
    SMALL,
    Step,
    counted,
    counted_of,
    numbers_in,
    run,
    world,
)

#: A busy machine is no failure.
UNTIMED = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def readings_of(first: list[Step], more: list[Step], reset: int) -> list[RegistryReading]:
    """Return two readings of one registry, its windows, and one after a service was reset."""
    with world(**SMALL, **SAMPLED_BY_HALVES) as studio:
        then = studio.registry.reading()
        run(studio, first)
        between = studio.registry.reading()
        run(studio, more)
        now = studio.registry.reading()
        found = [between, now, between - then, now - between, now - then]
        name = f"service-{reset}"
        if name in now.services:
            studio.registry.reset(name)
            run(studio, first)
            found += [studio.registry.reading(), studio.registry.reading() - now]
    return found


@st.composite
def several(draw: st.DrawFn, size: int) -> list[RegistryReading]:
    """Readings of two processes, any of them windows; those of one process share epochs."""
    pool = [
        reading
        for _process in range(2)
        for reading in readings_of(draw(BATCHES), draw(BATCHES), draw(st.integers(0, 1)))
    ]
    return [draw(st.sampled_from(pool)) for _ in range(size)]


def operations(reading: RegistryReading) -> Iterator[tuple[tuple[str, str, str], Operation]]:
    for service, known in reading.services.items():
        for epoch, part in known.parts.items():
            for name, operation in part.operations.items():
                yield (service, epoch, name), operation


def samples(reading: RegistryReading) -> list[Kept]:
    """Return every run that is kept in a reading."""
    found: list[Kept | None] = []
    for _, one in operations(reading):
        found += [*one.recent, *one.slowest, one.last_failed]
        found += [run for series in one.series.values() for run in series.exemplars]
    for known in reading.services.values():
        for part in known.parts.values():
            for group in part.groups.values():
                found += [group.latest, group.told]
    return [run for run in found if run is not None]


@UNTIMED
@given(several(3))
def test_neither_order_nor_grouping_of_a_sum_matters(chosen: list[RegistryReading]) -> None:
    """Equal in everything: counts, last runs, slowest runs, exemplars, groups, last values."""
    a, b, c = chosen
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + RegistryReading() == a == RegistryReading() + a


@UNTIMED
@given(several(3))
def test_what_was_added_can_be_taken_away(chosen: list[RegistryReading]) -> None:
    """(a + b) - a counts what b does, also where both are windows of one beginning."""
    a, b, c = chosen
    assert counted((a + b) - a) == counted(b)
    assert counted((a + b) - b) == counted(a)
    assert counted((a + b + c) - a - b) == counted((a + b + c) - (b + a)) == counted(c)
    assert counted(a - a) == {}


@UNTIMED
@given(several(2))
def test_every_run_is_in_a_sum(chosen: list[RegistryReading]) -> None:
    """A sum has the counts of both, and the sketch of both: no run is missing, none there twice."""
    a, b = chosen
    for name in ("count", "errors", "total", "cancelled", "abandoned", "label_overflow"):
        sums = [
            sum(getattr(one, name) for _, one in operations(reading)) for reading in (a + b, a, b)
        ]
        assert sums[0] == sums[1] + sums[2]
    for reading in (a + b, a - b if b is a else a + b + a):
        for _, one in operations(reading):
            assert one.sketch.count == one.count
            assert sum(series.count for series in one.series.values()) == one.count
            for series in one.series.values():
                assert sum(series.buckets) == series.count
    assert sum(numbers_in([list(m.active.values()) for m in (a + b).processes.values()])) == 0


@UNTIMED
@given(several(2))
def test_parts_of_a_sum_are_those_of_both(chosen: list[RegistryReading]) -> None:
    """Whole services, error groups and seconds of both, whatever epochs they count in."""
    a, b = chosen

    def total(reading: RegistryReading) -> dict[Any, int]:
        found: dict[Any, int] = {}
        for service, part in reading.wholes():
            rows = [("count", part.count), ("errors", part.errors), ("over", part.overflowed)]
            rows += [(("group", *key), group.count) for key, group in part.groups.items()]
            rows += [(("second", second), count) for second, count in part.ended.items()]
            for name, number in rows:
                found[service, name] = found.get((service, name), 0) + number
        for moment in reading.processes.values():
            found["folded"] = found.get("folded", 0) + moment.folded
        return {name: number for name, number in found.items() if number}

    both, one, other = total(a + b), total(a), total(b)
    assert both == {
        name: one.get(name, 0) + other.get(name, 0) for name in one.keys() | other.keys()
    }


@UNTIMED
@given(several(2))
def test_the_last_value_is_the_later_one(chosen: list[RegistryReading]) -> None:
    """What runs at the moment of a sum is what ran at the later moment of each process."""
    a, b = chosen
    for epoch, moment in (a + b).processes.items():
        given_moments = [r.processes[epoch] for r in (a, b) if epoch in r.processes]
        assert moment.taken_ns == max(one.taken_ns for one in given_moments)
        assert moment.unix_ns == max(one.unix_ns for one in given_moments)
        assert moment.active in [one.active for one in given_moments]


@UNTIMED
@given(several(2))
def test_samples_of_a_sum_are_the_last_and_the_slowest_of_both(
    chosen: list[RegistryReading],
) -> None:
    """In one order: by their ends, and by their durations; never more than are kept."""
    a, b = chosen
    givens = [dict(operations(reading)) for reading in (a, b)]
    for where, one in operations(a + b):
        both = [given[where] for given in givens if where in given]
        if len(both) == 1:  # as it was folded, which of equal ends is first, too
            assert one == both[0]
            continue
        recent = {id(run): run for given in both for run in given.recent}
        assert list(one.recent) == sorted(recent.values(), key=order_of)[-3:]
        slowest = {id(run): run for given in both for run in given.slowest}
        durations = sorted(map(duration_of, slowest.values()), reverse=True)[:2]
        assert list(map(duration_of, one.slowest)) == durations
        failed = [given.last_failed for given in both if given.last_failed is not None]
        assert one.last_failed == max(failed, key=order_of, default=None)


@UNTIMED
@given(BATCHES, BATCHES, st.floats(0, 100))
def test_a_window_is_the_fold_of_what_ran_in_it(
    before: list[Step], inside: list[Step], gap: float
) -> None:
    """Now less then has the figures that a registry has which saw nothing else."""

    def by_place(reading: RegistryReading) -> dict[Any, Any]:
        return {
            (where[0][0], *where[1:]) if isinstance(where[0], tuple) else where[1:]: figures
            for where, figures in counted(reading).items()
        }

    settings = {**SAMPLED_BY_HALVES, "recent_runs_per_operation": 3}
    with world(**settings) as studio:
        run(studio, before)
        studio.clock.advance(gap)  # type: ignore[attr-defined]
        moment = studio.clock.monotonic_ns(), studio.clock.time_ns()
        then = studio.registry.reading()
        run(studio, inside)
        window = studio.registry.reading() - then
    clock = ManualClock()
    clock.advance((moment[0] - clock.monotonic_ns()) / 1e9)
    with world(clock, **settings) as studio:
        run(studio, inside)
        alone = studio.registry.reading()
    assert by_place(window) == by_place(alone)

    def told(runs: Any) -> list[Any]:
        return [(run._name, run._end - run._start) for run in runs]

    expected = {(where[0], where[2]): one for where, one in operations(alone)}
    for where, one in operations(window):
        other = expected[where[0], where[2]]
        assert told(one.recent) == told(other.recent)
        assert set(told(one.slowest)) <= set(told(samples(alone)))
        assert one.minimum is None or other.minimum is not None
        if one.count:
            assert one.minimum is not None
            assert one.maximum is not None
            assert other.minimum is not None
            assert other.maximum is not None
            assert one.minimum == pytest.approx(other.minimum, rel=1 / 64)
            assert one.maximum == pytest.approx(other.maximum, rel=1 / 64)
            assert one.minimum <= other.minimum <= other.maximum <= one.maximum


@UNTIMED
@given(BATCHES, BATCHES, st.integers(0, 1), st.booleans())
def test_nothing_is_negative_across_a_reset_or_a_restart(
    before: list[Step], after: list[Step], service: int, restarted: bool
) -> None:
    """What began anew counts from zero: all that it counted is in the window, and no less."""
    with world(**SMALL) as studio:
        run(studio, before)
        then = studio.registry.reading()
        name = f"service-{service}"
        if not restarted:
            if name in then.services:
                studio.registry.reset(name)
            run(studio, after)
            now = studio.registry.reading()
    if restarted:
        with world(**SMALL) as studio:
            run(studio, after)
            now = studio.registry.reading()
    window = now - then
    assert all(number >= 0 for number in numbers_in(counted(window)))
    if restarted:
        assert counted(window) == counted(now)
        assert samples(window) == samples(now)
    elif name in then.services:
        assert counted(RegistryReading({name: window.services[name]})) == counted(
            RegistryReading({name: now.services[name]})
        )


@UNTIMED
@given(BATCHES, BATCHES)
def test_samples_of_a_window_ran_in_it(before: list[Step], inside: list[Step]) -> None:
    """No run that was kept before is a sample of what came since; no trace id either."""
    with world(**SMALL, **SAMPLED_BY_HALVES) as studio:
        run(studio, before)
        then = studio.registry.reading()
        run(studio, inside)
        now = studio.registry.reading()
    known, window = {id(run) for run in samples(then)}, now - then
    ended = max((order_of(run) for run in samples(then)), default=(0, 0, 0))
    for sample in samples(window):
        assert id(sample) not in known
        assert order_of(sample) > ended
    ids = {
        row
        for service in then.services.values()
        for part in service.parts.values()
        for group in part.groups.values()
        for row in group.trace_ids
    }
    for service in window.services.values():
        for part in service.parts.values():
            for group in part.groups.values():
                assert not ids.intersection(group.trace_ids)
                assert group.latest is not None
                assert group.first_seen is None or (group.first_seen > 0)


def test_extremes_of_a_window_come_from_its_sketch_and_say_so() -> None:
    """The slowest run of all is not the slowest of the window."""
    with world() as studio:
        run(studio, [Step(0, 0, "ok", 300), Step(0, 0, "ok", 1)])
        then = studio.registry.reading()
        run(studio, [Step(0, 0, "ok", 20), Step(0, 0, "ok", 30)])
        now = studio.registry.reading()
    (_, whole), (_, window) = next(operations(now)), next(operations(now - then))
    assert whole.exact_extremes
    assert (whole.minimum, whole.maximum) == (1_000_000, 300_000_000)
    assert not window.exact_extremes
    assert window.minimum == pytest.approx(20_000_000, rel=1 / 64)
    assert window.maximum == pytest.approx(30_000_000, rel=1 / 64)
    (_, both) = next(operations((now - then) + now))
    assert not both.exact_extremes
    for series in window.series.values():
        assert (series.minimum, series.maximum) == (None, None)
        (added,) = (series + series,)
        assert (added.minimum, added.maximum) == (None, None)


def test_seconds_that_are_no_longer_kept_are_gone_from_a_window() -> None:
    """After more than a minute a rate has no second below zero."""
    with world() as studio:
        run(studio, [Step(0, 0, "ok", 1)] * 5)
        then = studio.registry.reading()
        run(studio, [Step(0, 0, "ok", 1, gap_seconds=90.0)])
        window = studio.registry.reading() - then
    ((_, part),) = window.wholes()
    assert list(part.ended.values()) == [1]


def test_a_process_that_is_configured_anew_counts_from_zero() -> None:
    """Also what no reset clears: the runs that were folded."""
    with world() as studio:
        run(studio, [Step(0, 0, "ok", 1)] * 3)
        then = studio.registry.reading()
    with world() as studio:
        run(studio, [Step(0, 0, "ok", 1)])
        now = studio.registry.reading()
    assert sum(moment.folded for moment in (now - then).processes.values()) == 1
    assert sum(moment.folded for moment in (now + then).processes.values()) == 4


def test_a_forked_child_counts_from_zero() -> None:
    """Its services and its process have epochs of their own: with its parent's they add up."""
    with world() as studio:
        run(studio, [Step(0, 0, "ok", 1)] * 3)
        then = studio.registry.reading()

        def in_child() -> list[int]:
            run(studio, [Step(0, 0, "ok", 1)])
            now = studio.registry.reading()
            window, both = now - then, now + then
            return [dict(part.wholes())["service-0"].count for part in (now, window, both)] + [
                sum(m.folded for m in reading.processes.values()) for reading in (window, both)
            ]

        assert in_forked_child(in_child) == [1, 1, 4, 1, 4]


@UNTIMED
@given(st.data())
def test_processes_with_other_bounds_add_up_to_what_both_tell(data: st.DataObject) -> None:
    """The buckets of a sum are those of the bounds that all have: every count stays exact."""
    choices = [(0.001, 0.01, 0.1), (0.001, 0.05, 0.1), (0.002, 0.1), (0.3,)]
    found = []
    for _ in range(3):
        bounds = data.draw(st.sampled_from(choices))
        steps = data.draw(
            st.lists(
                st.builds(
                    Step,
                    st.just(0),
                    st.just(0),
                    st.sampled_from(("ok", "error")),
                    st.integers(0, 300),
                ),
                min_size=1,
                max_size=5,
            )
        )
        with world(histogram_bounds=bounds) as studio:
            run(studio, steps)
            part = studio.registry.reading().services["service-0"].whole()
            found.append((part.operations["operation-0"], steps))
    (a, _), (b, _), (c, _) = found
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert counted_of(a + b - a)["sketch"] == counted_of(b)["sketch"]
    total, every = a + b + c, [step for _, steps in found for step in steps]
    for index, bound in enumerate(total.bounds.buckets_ns):
        below = sum(sum(one.buckets[: index + 1]) for one in total.series.values())
        assert below == sum(step.milliseconds * 1_000_000 <= bound for step in every)


def _labelled(names: tuple[str, ...], *sets: tuple[str, ...]) -> Operation:
    one = Series(1, 5, 5, 5, (1,), (None,))
    series = {(None, values): one for values in sets}
    return Operation(
        Bounds((), 1, 1), Sketch({5: len(sets)}), len(sets), series=series, label_names=names
    )


def test_processes_with_other_labels_add_up_under_the_labels_of_all() -> None:
    """A value stays with its label; of what a process did not declare it is empty."""
    a = _labelled(("tenant", "plan"), ("acme", "free"), ("other", "paid"))
    b = _labelled(("region",), ("eu",))
    c = _labelled(("plan", "tenant"), ("free", "acme"))
    none = _labelled((), ())
    both = a + b
    assert both.label_names == ("plan", "region", "tenant")
    assert set(both.series) == {
        (None, ("free", "", "acme")),
        (None, ("paid", "", "other")),
        (None, ("", "eu", "")),
    }
    assert both == b + a
    assert (a + b) + c == a + (b + c) == (c + a) + b
    assert (a + c).series[None, ("free", "acme")].count == 2
    assert (a + none).label_names == ("tenant", "plan")
    assert a + none == none + a
    assert sum(one.count for one in (a + b + c + none).series.values()) == 5


def test_a_sum_of_a_service_never_changes_its_parts() -> None:
    """A reading that was taken stays as it is, whatever is added to it."""
    with world() as studio:
        run(studio, [Step(0, 0, "ok", 1), Step(0, 0, "error", 2)])
        reading = studio.registry.reading()
        before = counted(reading)
        for _ in range(3):
            assert counted(reading + reading) != before
        assert counted(reading) == before
        run(studio, [Step(0, 0, "ok", 1)])
        assert counted(reading) == before


def test_moments_add_and_subtract() -> None:
    """Two windows of one process: what both counted, and the later last value."""
    one = ProcessMoment(1, 1, {("a", "b"): 2}, 5, 50, 1)
    two = ProcessMoment(2, 2, {("a", "b"): 3}, 7, 70, 2)
    both = ProcessMoment(2, 2, {("a", "b"): 3}, 12, 120, 3)
    assert one + two == two + one == both
    assert both - one == dataclasses.replace(two)
    assert both - two == dataclasses.replace(both, folded=5, fold_ns=50, ignored=1)


def test_a_service_without_parts_in_common_is_left_as_it_is() -> None:
    """What is gone leaves nothing; what is new counts whole."""
    old, new = ServicePart(1, 1, overflowed=3), ServicePart(2, 2, overflowed=2)
    window = ServiceReading({"new": new}) - ServiceReading({"old": old})
    assert window == ServiceReading({"new": new})
    assert (ServiceReading({"new": new}) + ServiceReading({"old": old})).whole().overflowed == 5


def test_running_operations_are_of_the_moment() -> None:
    """A window has what runs at its end; two processes together what runs in both."""
    with world() as studio:
        service = otel_studio.service("service-0")
        then = studio.registry.reading()
        with service.operation("long"), service.operation("long"):
            now = studio.registry.reading()
            assert (now - then).active() == {("service-0", "long"): 2}
            with world() as other, otel_studio.service("service-0").operation("long"):
                assert (now + other.registry.reading()).active() == {("service-0", "long"): 3}
        studio.clock.advance(1)  # type: ignore[attr-defined]
        later = studio.registry.reading()
        assert (now + later).active() == (later + now).active() == {}
