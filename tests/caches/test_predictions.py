"""The hit rates predicted for a cache are those of its own reads, at the size that it can hold."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.base.clock import ManualClock
from otel_studio.caches import Cache, CacheReading, CacheRegistry

READ, CLEAR, FOLD = range(3)


class Lru:
    """A least-recently-used cache of the program's, which tells of all that it does."""

    def __init__(self, cache: Cache, capacity: int, evicts_first: bool) -> None:
        self.cache, self.capacity, self.evicts_first = cache, capacity, evicts_first
        self.held: OrderedDict[int, None] = OrderedDict()
        self.hits = self.reads = 0

    def read(self, key: int) -> None:
        self.reads += 1
        if key in self.held:
            self.held.move_to_end(key)
            self.hits += 1
            self.cache.hit(key)
            return
        self.cache.miss(key)
        gone = None
        if len(self.held) >= self.capacity:
            gone, _ = self.held.popitem(last=False)
        if gone is not None and self.evicts_first:
            self.cache.evict(gone, reason="size")
        self.cache.set(key, size=100)
        self.held[key] = None
        if gone is not None and not self.evicts_first:
            self.cache.evict(gone, reason="size")

    def clear(self) -> None:
        self.cache.clear(len(self.held))
        self.held.clear()


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([READ] * 12 + [CLEAR, FOLD]), st.integers(0, 12)),
        min_size=1,
        max_size=200,
    ),
    capacity=st.integers(2, 8),
    evicts_first=st.booleans(),
)
def test_the_rate_at_its_own_size_is_the_observed_one(
    steps: list[tuple[int, int]], capacity: int, evicts_first: bool
) -> None:
    """Whatever was cleared in between, and however the events were batched."""
    lru = Lru(CacheRegistry(ManualClock()).cache("c", service="s"), capacity, evicts_first)
    most = 0
    for step, key in steps:
        if step == READ:
            lru.read(key)
        elif step == CLEAR:
            lru.clear()
        else:
            lru.cache.fold()
        most = max(most, len(lru.held))
    predicted = {p.size_factor: p for p in lru.cache.performance().predicted_hit_rates}
    if not lru.reads:
        assert predicted == {}
        return
    assert predicted[1.0].entries == most
    if most == capacity:
        assert predicted[1.0].hit_rate == pytest.approx(lru.hits / lru.reads)


def test_the_sizes_are_what_the_cache_can_hold(previews: Cache, report) -> None:
    """Not what a clear, or expiry, has left in it."""
    for key in range(40):
        previews.miss(key)
        previews.set(key, size=1)
    previews.clear(40)
    previews.miss("later")
    previews.set("later", size=1)
    assert [one.entries for one in report().predicted_hit_rates] == [20, 40, 80, 160]
    for key in range(30):
        previews.set(key, size=1)
    for key in range(30):
        previews.evict(key, reason="expired")
    assert [one.entries for one in report().predicted_hit_rates] == [20, 40, 80, 160]


def test_what_a_backend_held_at_most_counts_where_it_has_no_limit(previews: Cache, report) -> None:
    """Its limit goes before, where it has one."""
    held, limit = [30], [None]
    previews.attach(lambda: CacheReading(entries=held[0], max_entries=limit[0]))
    previews.miss("a")
    assert [one.entries for one in report().predicted_hit_rates] == [15, 30, 60, 120]
    held[0] = 2
    assert [one.entries for one in report().predicted_hit_rates] == [15, 30, 60, 120]
    limit[0] = 100
    assert [one.entries for one in report().predicted_hit_rates] == [50, 100, 200, 400]
