"""Readings of caches: they add, subtract, and keep what each process counted apart by epochs."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from functools import reduce
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forked import in_forked_child
from otel_studio.base import codec
from otel_studio.base.clock import ManualClock
from otel_studio.base.forking import watch
from otel_studio.caches import CacheReading, CacheRegistry, CachesReading, OneCacheReading
from otel_studio.caches.heavy_hitters import HotKeys
from otel_studio.caches.reading import CachePart, CacheSizes
from otel_studio.caches.report import performance_of
from otel_studio.caches.reuse import ReuseDistances
from otel_studio.caches.slow_accesses import Access, _slowest_of
from otel_studio.caches.windows import Tallies

#: What happened once: cache, epoch, slice of time, kind, and how much of it. Few and small, so
#: that two readings meet in them.
_HAPPENED = st.tuples(*(st.integers(0, most) for most in (1, 1, 2, 5, 3)))


def part_of(rows: list[tuple[int, ...]]) -> CachePart:
    """Make a part by hand, independently of the code that is tested."""
    counts: Counter[int] = Counter()
    evictions: Counter[str] = Counter()
    windows: dict[int, tuple[int, int, int, int]] = {}
    durations: dict[int, Counter[int]] = {}
    slow: dict[int, list[Access]] = {}
    for _, _, number, kind, much in rows:
        counts[kind] += much + 1
        hits, misses, timed, timed_ns = windows.get(number, (0, 0, 0, 0))
        if kind == 0:
            windows[number] = (hits + much + 1, misses, timed, timed_ns)
        elif kind == 1:
            windows[number] = (hits, misses + 1, timed + 1, timed_ns + much)
            durations.setdefault(number, Counter())[much] += 1
            slow.setdefault(number, []).append((much, number % 2, "a" if much else None, much))
        elif kind == 3:
            evictions["size" if much else "expired"] += 1
    return CachePart(
        hits=counts[0],
        misses=counts[1],
        sets=counts[2],
        evictions=dict(evictions),
        windows=Tallies(windows, windows, windows),
        durations={number: dict(buckets) for number, buckets in durations.items()},
        slow={number: _slowest_of(accesses) for number, accesses in slow.items()},
        sizes=CacheSizes(at_ns=counts[4], entries=counts[5] or None),
    )


def parts_of(rows: list[tuple[int, ...]]) -> dict[str, CachePart]:
    epochs = sorted({row[1] for row in rows})
    return {f"epoch-{n}": part_of([row for row in rows if row[1] == n]) for n in epochs}


def reading_of(rows: list[tuple[int, ...]]) -> CachesReading:
    caches = {}
    for number in sorted({row[0] for row in rows}):
        parts = parts_of([row for row in rows if row[0] == number])
        caches["service", f"cache-{number}"] = OneCacheReading(f"cache-{number}", "service", parts)
    return CachesReading(len(rows), caches)


_PARTS = st.lists(_HAPPENED, max_size=40).map(part_of)
READINGS = st.lists(_HAPPENED, max_size=10).map(reading_of)


def counted(reading: CachesReading) -> dict[tuple[str, str, str], Any]:
    """Return the figures that form a group, of each part that counted anything."""
    found = {}
    for (service, cache), one in reading.caches.items():
        for epoch, part in one.parts.items():
            figures = (
                part.hits,
                part.misses,
                part.sets,
                part.evictions,
                part.windows,
                part.durations,
            )
            if figures != (0, 0, 0, {}, Tallies(), {}):
                found[service, cache, epoch] = figures
    return found


@given(READINGS, READINGS)
def test_what_was_added_can_be_taken_away(a: CachesReading, b: CachesReading) -> None:
    """(a + b) - a is b, and (a + b) - b is a: in counts, slices and buckets of sketches."""
    assert counted((a + b) - a) == counted(b)
    assert counted((a + b) - b) == counted(a)


@given(READINGS, READINGS, READINGS)
def test_order_and_grouping_do_not_matter(
    a: CachesReading, b: CachesReading, c: CachesReading
) -> None:
    """Sums are equal in all their figures, sizes and slowest accesses included."""
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert counted((a + b + c) - a - b) == counted((a + b + c) - b - a) == counted(c)
    assert counted((a + b + c) - (a + b)) == counted(c)


@given(READINGS, READINGS)
def test_a_sum_counts_both(a: CachesReading, b: CachesReading) -> None:
    """Hits of the sum are the hits of both, cache by cache; so are slices and buckets."""
    both = a + b
    assert set(both.caches) == {*a.caches, *b.caches}
    for key, one in both.caches.items():
        parts = [
            part
            for reading in (a, b)
            if key in reading.caches
            for part in reading.caches[key].parts.values()
        ]
        assert sum(p.hits for p in one.parts.values()) == sum(p.hits for p in parts)
        for window in ("minute", "hour", "day"):
            sums = [
                sum(tally[0] for p in group for tally in getattr(p.windows, window).values())
                for group in (one.parts.values(), parts)
            ]
            assert sums[0] == sums[1]
        buckets = [
            sum((Counter(b) for p in group for b in p.durations.values()), Counter())
            for group in (one.parts.values(), parts)
        ]
        assert buckets[0] == buckets[1]


@given(READINGS, READINGS)
def test_what_began_anew_counts_from_zero(now: CachesReading, then: CachesReading) -> None:
    """A part of another epoch is left as it is by a difference, and takes nothing away."""
    begun = CachesReading(
        now.at_ns,
        {
            key: dataclasses.replace(
                one, parts={f"later {epoch}": part for epoch, part in one.parts.items()}
            )
            for key, one in now.caches.items()
        },
    )
    assert begun - then == begun


@given(READINGS, READINGS)
def test_sizes_are_those_of_the_later_reading(a: CachesReading, b: CachesReading) -> None:
    """A sum has the sizes of the later one, a difference those of now."""
    for key, one in (a + b).caches.items():
        for epoch, part in one.parts.items():
            given_sizes = [
                reading.caches[key].parts[epoch].sizes
                for reading in (a, b)
                if key in reading.caches and epoch in reading.caches[key].parts
            ]
            assert part.sizes in given_sizes
            assert part.sizes.at_ns == max(sizes.at_ns for sizes in given_sizes)
    for key, one in (a - b).caches.items():
        for epoch, part in one.parts.items():
            assert part.sizes == a.caches[key].parts[epoch].sizes


@given(_PARTS, _PARTS)
def test_slow_accesses_of_a_difference_are_those_in_between(now: CachePart, then: CachePart):
    """What was among the slowest then is not there a second time, and the slowest come first."""
    for number, accesses in (now - then).slow.items():
        assert not Counter(accesses) - (
            Counter(now.slow[number]) - Counter(then.slow.get(number, ()))
        )
    for number, accesses in (now + then).slow.items():
        everything = (*now.slow.get(number, ()), *then.slow.get(number, ()))
        slowest = sorted((access[0] for access in everything), reverse=True)[:20]
        assert [access[0] for access in accesses] == slowest


_KEYS = st.lists(st.sampled_from("abcdefghij"), max_size=40)


def hot_keys(keys: list[str], before: HotKeys | None = None) -> HotKeys:
    """Count keys one by one, with room for so few that most are forgotten."""
    found = HotKeys() if before is None else before
    for key in keys:
        found = found.counting({key: 1}, kept=1)
    return found


@given(first=_KEYS, more=_KEYS, other=_KEYS)
def test_top_keys_stay_within_their_stated_error(
    first: list[str], more: list[str], other: list[str]
) -> None:
    """In a sum and in a difference, estimate - error <= true <= estimate; others are <= floor."""
    then = hot_keys(first)
    now = hot_keys(more, then)
    for found, true in (
        (now + hot_keys(other), Counter(first + more + other)),
        (hot_keys(other) + now, Counter(first + more + other)),
        (now - then, Counter(more)),
        ((now - then) + hot_keys(other), Counter(more + other)),
    ):
        rows = {key: (estimate, error) for key, estimate, error in found.top(100)}
        for key in "abcdefghij":
            estimate, error = rows.get(key, (found.floor, found.floor))
            assert estimate - error <= true[key] <= estimate


def test_top_keys_of_many_processes_are_bounded() -> None:
    """A sum of many readings has no more keys than one reading may have."""
    readings = [HotKeys().counting({f"{n}-{k}": 1 for k in range(150)}) for n in range(100)]
    total = reduce(add, readings)
    assert len(total) <= 1_000


_DISTANCES = st.builds(
    ReuseDistances,
    by_distance=st.dictionaries(st.integers(0, 200), st.integers(1, 50).map(float)),
    cold=st.integers(0, 50).map(float),
    fadings=st.integers(0, 40),
).map(lambda d: dataclasses.replace(d, reads=d.cold + sum(d.by_distance.values())))


@given(_DISTANCES, _DISTANCES)
def test_predictions_of_what_is_left_are_those_of_the_other(
    a: ReuseDistances, b: ReuseDistances
) -> None:
    """The hit rates of (a + b) - a are those of b, unless a is so much later that b has faded."""
    sizes = (0, 1, 10, 128, 200, 10_000)
    assert (a + b).hit_rates(sizes) == pytest.approx((b + a).hit_rates(sizes), nan_ok=False)
    left = (a + b) - a
    if not b.reads:
        assert left.hit_rates(sizes) == [None] * len(sizes)
    elif a.fadings - b.fadings < 10:
        assert left.hit_rates(sizes) == pytest.approx(b.hit_rates(sizes), abs=0.01)


@given(before=st.integers(0, 30), between=st.integers(0, 30), gap=st.integers(0, 7200))
def test_a_window_is_what_was_recorded_in_it(before: int, between: int, gap: int) -> None:
    """Now less then has the reads, stores and durations in between, and nothing else."""
    clock = ManualClock()
    caches = CacheRegistry(clock)
    cache = caches.cache("previews")
    for n in range(before):
        cache.miss(n, duration=0.001)
    then = caches.reading()
    clock.advance(gap)
    for n in range(between):
        cache.hit(n, duration=0.002)
        cache.set(n)
    window = caches.reading() - then
    (one,) = window.caches.values()
    record = performance_of(one, window.at_ns)
    assert (record.hits, record.misses, record.sets) == (between, 0, between)
    assert record.hit_rate_last_hour == (1.0 if between else None)
    assert record.average_response_time_ms == (pytest.approx(2.0) if between else None)
    assert sum(key.accesses for key in record.top_accessed_keys) == min(between, 20)


def test_a_reading_does_not_change(caches: CacheRegistry) -> None:
    """What is recorded after a reading was taken is not in it, though they share what is equal."""
    cache = caches.cache("previews")

    def use(n: int) -> None:
        cache.miss(n, duration=0.001 * n)
        cache.set(n, size=10)
        cache.hit(n, duration=0.002)
        cache.evict(n, reason="expired")

    for n in range(50):
        use(n)
    reading = caches.reading()
    before = repr(reading)
    for n in range(3_000):
        use(n)
    caches.reading()
    assert repr(reading) == before


def test_two_processes_add_up() -> None:
    """The record of a sum has the counts, rates, keys and entries of both processes."""
    clock = ManualClock()
    registries = [CacheRegistry(clock), CacheRegistry(clock)]
    for number, caches in enumerate(registries):
        cache = caches.cache("previews")
        for n in range(10):
            cache.set(n, size=100)
            cache.hit("hot", duration=0.001 * (number + 1))
        cache.miss(f"only in {number}", duration=1.0 + number)
    total = registries[0].reading() + registries[1].reading()
    (one,) = total.caches.values()
    record = performance_of(one, total.at_ns)
    assert (record.hits, record.misses, record.sets) == (20, 2, 20)
    assert record.hit_rate_last_minute == 20 / 22
    assert (record.entries, record.current_memory_usage_mb) == (20, 0.002)
    assert record.top_accessed_keys[0].accesses == 20
    assert [slow.key for slow in record.slow_operations[:2]] == ["only in 1", "only in 0"]
    assert [prediction.entries for prediction in record.predicted_hit_rates] == [10, 20, 40, 80]
    # Each process had its peak by itself: what both held at once is not known.
    assert record.size_is_estimate
    assert record.peak_memory_usage_mb == 0.002


def test_a_server_that_processes_share_is_counted_once() -> None:
    """What a backend outside of the processes holds is the last that was said of it."""
    clock = ManualClock()
    total = CachesReading()
    for entries, memory in ((7, 5_000_000), (9, 4_000_000)):
        caches = CacheRegistry(clock)
        caches.cache("server").attach(
            lambda entries=entries, memory=memory: CacheReading(
                entries=entries, memory_bytes=memory, fragmentation=0.5
            ),
            remote=True,
        )
        caches.poll()
        total += caches.reading()
        clock.advance(10)
    (one,) = total.caches.values()
    record = performance_of(one, total.at_ns)
    assert (record.entries, record.current_memory_usage_mb) == (9, 4.0)
    assert (record.peak_memory_usage_mb, record.fragmentation_ratio) == (5.0, 0.5)
    assert record.predicted_hit_rates == []


def test_each_beginning_has_an_epoch_of_its_own(caches: CacheRegistry) -> None:
    """Two caches, two registries and a forked child never share the part that they count in."""
    watch(caches)
    cache = caches.cache("previews")
    cache.hit("a")

    def epochs() -> list[str]:
        return [epoch for one in caches.reading().caches.values() for epoch in one.parts]

    (own,) = epochs()
    other = CacheRegistry(ManualClock())
    other.cache("previews")
    ((others,),) = [one.parts for one in other.reading().caches.values()]
    assert others != own
    then = caches.reading()

    def in_child() -> list[Any]:
        cache.miss("b")
        window = caches.reading() - then
        (one,) = window.caches.values()
        record = performance_of(one, window.at_ns)
        return [*epochs(), record.hits, record.misses, os.getpid()]

    childs, hits, misses, _ = in_forked_child(in_child)
    assert childs != own
    assert (hits, misses) == (0, 1)
    assert epochs() == [own]


@given(READINGS)
def test_the_codec_brings_a_reading_back(reading: CachesReading) -> None:
    """Another process reads exactly what this one wrote."""
    assert codec.decode(codec.encode(reading), CachesReading) == reading
