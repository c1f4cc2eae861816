"""A wrapped mapping does what the mapping does, and records it."""

from __future__ import annotations

import gc
from collections import OrderedDict, defaultdict
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.base.clock import ManualClock
from otel_studio.caches import Cache, CacheRegistry


class Bounded(OrderedDict[Any, Any]):
    """Drops the oldest entry by itself past three."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > 3:
            self.popitem(last=False)


class SlowMapping(dict[Any, Any]):
    """Takes a quarter of a second to look something up."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def __getitem__(self, key: Any) -> Any:
        self.clock.advance(0.25)
        return super().__getitem__(key)


def test_reads_and_writes_are_recorded(previews: Cache, report) -> None:
    """`[]`, get and setdefault are hits or misses; what is stored has the sizer's bytes."""
    mapping = previews.wrap({}, sizer=len)
    with pytest.raises(KeyError):
        mapping["a"]
    mapping["a"] = b"1234"
    assert mapping["a"] == b"1234"
    assert mapping.get("a") == b"1234"
    assert mapping.get("b") is None
    assert mapping.get("b", 7) == 7
    assert mapping.setdefault("c", b"12") == b"12"
    assert mapping.setdefault("c", b"34") == b"12"
    assert "a" in mapping
    assert sorted(mapping) == ["a", "c"]
    record = report()
    assert (record.hits, record.misses, record.sets) == (3, 4, 2)
    assert record.entries == 2
    assert record.current_memory_usage_mb == 6 / 1_000_000


def test_removals_are_evictions_with_a_reason(previews: Cache, report) -> None:
    """del, pop and popitem delete, clear clears; a pop of nothing is nothing."""
    mapping = previews.wrap(dict.fromkeys("abcdef"))
    del mapping["a"]
    mapping.pop("b")
    assert mapping.pop("b", 5) == 5
    with pytest.raises(KeyError):
        mapping.pop("b")
    mapping.popitem()
    mapping.clear()
    record = report()
    assert record.evictions_by_reason == {"deleted": 3, "cleared": 3}
    assert (record.hits, record.misses, record.entries) == (0, 0, 0)


def test_mapping_that_evicts_by_itself(previews: Cache, report) -> None:
    """What a bounded mapping drops on its own counts as evicted to make room."""
    mapping = previews.wrap(Bounded(), sizer=lambda value: value)
    for n in range(10):
        mapping[n] = 100
    mapping[9] = 100
    record = report()
    assert (record.sets, record.entries) == (11, 3)
    assert record.evictions_by_reason == {"size": 7}
    assert record.size_is_estimate
    assert record.current_memory_usage_mb == 300 / 1_000_000


def test_mapping_that_makes_entries(previews: Cache, report) -> None:
    """An entry that `[]` makes is a miss and a set, not a hit; get makes none."""
    mapping = previews.wrap(defaultdict(list))
    mapping["a"].append(1)
    assert mapping["a"] == [1]
    assert mapping.get("b") is None
    record = report()
    assert (record.hits, record.misses, record.sets) == (1, 2, 1)


def test_response_times_are_those_of_the_mapping(
    previews: Cache, report, clock: ManualClock
) -> None:
    """What a slow mapping takes is the access's duration."""
    slow = SlowMapping(clock)
    slow.setdefault("a", 1)
    mapping = previews.wrap(slow)
    assert mapping["a"] == 1
    assert report().average_response_time_ms == 250.0


def test_bytes_are_measured_without_a_word(previews: Cache, report) -> None:
    """By default the stored object is measured with what it holds; `None` switches that off."""
    mapping = previews.wrap({})
    mapping["a"] = [bytes(1_000_000), bytes(2_000_000)]
    assert report().current_memory_usage_mb == pytest.approx(3.0, rel=0.001)
    silent = previews.wrap({}, sizer=None)
    del mapping["a"]
    silent["b"] = bytes(1_000_000)
    assert report().current_memory_usage_mb == 0.0
    assert report().peak_memory_usage_mb == pytest.approx(3.0, rel=0.001)


def test_failing_sizer_costs_only_the_size(previews: Cache, report) -> None:
    """A sizer that raises never reaches who stores; the entry has no bytes."""

    def failing(value: object) -> int:
        raise RuntimeError("cannot say")

    mapping = previews.wrap({}, sizer=failing)
    mapping["a"] = 1
    assert mapping["a"] == 1
    assert report().current_memory_usage_mb is None


def test_errors_of_the_mapping_pass_through(previews: Cache, report) -> None:
    """A key that the mapping refuses raises as it would, and is no access."""
    mapping = previews.wrap({})
    with pytest.raises(TypeError):
        mapping[[1]]  # type: ignore[index]
    assert (report().hits, report().misses) == (0, 0)


def test_mapping_is_not_kept_alive(previews: Cache, report) -> None:
    """A wrapped mapping that nobody holds is freed, and its entries with it."""
    mapping: MutableMapping[str, int] = previews.wrap({})
    mapping["a"] = 1
    assert report().entries == 1
    del mapping
    gc.collect()
    assert report().entries is None
    assert previews._account.state.answers == {}
    assert report().sets == 1


def test_caches_of_one_name_add_up(previews: Cache, report) -> None:
    """Three mappings that hold the same key have three entries; their bytes are an estimate."""
    mappings = [previews.wrap({}, sizer=len) for _ in range(3)]
    for mapping in mappings:
        mapping["a"] = b"1234"
    record = report()
    assert (record.entries, record.size_is_estimate) == (3, True)
    assert record.current_memory_usage_mb == record.peak_memory_usage_mb == 12 / 1_000_000


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["get", "set", "del", "pop", "setdefault", "clear", "update"]),
            st.integers(0, 5),
        )
    )
)
def test_wrapped_mapping_is_the_mapping(steps: list[tuple[str, int]]) -> None:
    """Any calls leave a wrapped and a bare dict equal, and sets less evictions are the entries."""
    cache = CacheRegistry(ManualClock()).cache("any")
    bare: dict[int, int] = {}
    inner: dict[int, int] = {}
    wrapped = cache.wrap(inner)
    for n, (step, key) in enumerate(steps):
        for mapping in (bare, wrapped):
            if step == "get":
                mapping.get(key)
            elif step == "set":
                mapping[key] = n
            elif step == "del" and key in mapping:
                del mapping[key]
            elif step == "pop":
                mapping.pop(key, None)
            elif step == "setdefault":
                mapping.setdefault(key, n)
            elif step == "clear":
                mapping.clear()
            elif step == "update":
                mapping.update({key: n, key + 1: n})
        assert wrapped == bare
        assert dict(wrapped) == inner
    assert cache.performance().entries == len(bare)
    cache.fold()
    assert cache._account.state.statistics.ledger.entries == len(bare)
