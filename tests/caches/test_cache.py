"""Recording into a cache, and what the query gives back."""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import threading
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.base.clock import ManualClock, SystemClock
from otel_studio.base.forking import watch
from otel_studio.caches import Cache, CacheReading, CacheRegistry
from otel_studio.caches.account import FOLD_AT


def test_empty_cache_has_no_figures(previews: Cache, report) -> None:
    """Counts are zero, and everything without a source is None or empty."""
    record = report()
    assert (record.cache, record.service_name) == ("previews", "preview-service")
    assert (record.hits, record.misses, record.sets, record.evictions) == (0, 0, 0, 0)
    for field in (
        "hit_rate",
        "hit_rate_last_minute",
        "hit_rate_last_hour",
        "hit_rate_last_day",
        "average_response_time_ms",
        "p50_response_time_ms",
        "p99_response_time_ms",
        "entries",
        "max_entries",
        "current_memory_usage_mb",
        "peak_memory_usage_mb",
        "fragmentation_ratio",
    ):
        assert getattr(record, field) is None, field
    assert record.top_accessed_keys == []
    assert record.slow_operations == []
    assert record.predicted_hit_rates == []
    assert json.loads(record.to_json())["hit_rate"] is None


def test_hits_misses_sets_and_evictions_are_counted(
    previews: Cache, report, clock: ManualClock
) -> None:
    """One query gives counts, rates by period, reasons, entries, bytes and the peak."""
    previews.miss("a")
    previews.set("a", size=3_000_000)
    previews.hit("a")
    previews.hit("a")
    previews.set("b", size=1_000_000)
    previews.evict("b", reason="expired")
    previews.set("c", size=500_000)
    previews.evict("a")
    record = report()
    assert (record.hits, record.misses, record.sets, record.evictions) == (2, 1, 3, 2)
    assert record.evictions_by_reason == {"expired": 1, "size": 1}
    assert record.hit_rate == record.hit_rate_last_minute == pytest.approx(2 / 3)
    assert record.entries == 1
    assert record.current_memory_usage_mb == 0.5
    assert record.peak_memory_usage_mb == 4.0
    assert not record.size_is_estimate
    clock.advance(120)
    previews.miss("z")
    record = report()
    assert record.hit_rate_last_minute == 0.0
    assert record.hit_rate_last_hour == record.hit_rate_last_day == 0.5


def test_response_times_of_the_last_hour(previews: Cache, report, clock: ManualClock) -> None:
    """Average and percentiles are over hits and misses of the last hour, then gone."""
    for milliseconds in range(1, 101):
        previews.hit("a", duration=milliseconds / 1e3)
    previews.miss("b", duration=0.1495)
    record = report()
    assert record.average_response_time_ms == pytest.approx((5050 + 149.5) / 101)
    assert record.p50_response_time_ms == pytest.approx(51, rel=0.01)
    assert record.p99_response_time_ms == pytest.approx(100, rel=0.01)
    clock.advance(3 * 3600)
    record = report()
    assert record.average_response_time_ms is None
    assert record.p95_response_time_ms is None
    assert record.slow_operations == []


def test_slowest_accesses_are_kept(previews: Cache, report, clock: ManualClock) -> None:
    """The twenty slowest of the hour come back slowest first, with key, outcome and time."""
    for n in range(5_000):
        previews.hit(f"fast-{n}", duration=0.000_01)
    previews.miss("slow.png", duration=2.5)
    clock.advance(60)
    previews.hit("slower.png", duration=3.0)
    slow = report().slow_operations
    assert len(slow) == 20
    assert (slow[0].operation, slow[0].key, slow[0].duration_ms) == ("hit", "slower.png", 3000.0)
    assert (slow[1].operation, slow[1].key, slow[1].duration_ms) == ("miss", "slow.png", 2500.0)
    assert slow[1].timestamp == "2023-11-14T22:13:20.000000Z"
    assert slow[0].timestamp == "2023-11-14T22:14:20.000000Z"


def test_wall_clock_steps_change_no_rate(previews: Cache, report, clock: ManualClock) -> None:
    """An administrator who sets the clock back a day moves timestamps, not windows."""
    previews.hit("a", duration=0.001)
    previews.fold()
    clock.set_wall(1_600_000_000)
    clock.advance(30)
    previews.miss("b", duration=0.002)
    record = report()
    assert record.hit_rate_last_minute == 0.5
    assert [access.timestamp[:4] for access in record.slow_operations] == ["2020", "2023"]


@pytest.mark.parametrize("duration", [-1.0, math.nan, math.inf, "fast", 10**400])
def test_duration_that_is_none_is_left_out(
    previews: Cache, report, duration: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The access counts, its duration does not, the others' do, and the log says so once."""
    previews.hit("a", duration=duration)  # type: ignore[arg-type]
    previews.hit("a", duration=duration)  # type: ignore[arg-type]
    previews.hit("a", duration=0.25)
    record = report()
    assert record.hits == 3
    assert record.average_response_time_ms == 250.0
    assert len([entry for entry in caplog.records if "duration" in entry.message]) == 1


@pytest.mark.parametrize("size", [-1, 2.5, "large"])
def test_size_that_is_none_is_left_out(previews: Cache, report, size: object) -> None:
    """The entry counts, its bytes do not."""
    previews.set("a", size=size)  # type: ignore[arg-type]
    assert report().entries == 1
    assert report().current_memory_usage_mb is None


class HostileKey:
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    def __repr__(self) -> str:
        raise RuntimeError("not printable")


def test_keys_that_cannot_be_looked_up_are_counted(previews: Cache, report) -> None:
    """Lists, and keys whose own methods raise, count like any other and reach no caller."""
    previews.hit(["a", 1])
    previews.hit(["a", 1])
    previews.hit("plain")
    previews.hit(HostileKey())
    previews.hit(HostileKey())
    previews.set(HostileKey(), size=10)
    record = report()
    assert (record.hits, record.sets) == (5, 1)
    assert record.top_accessed_keys[0].accesses == 2


def test_key_that_records_while_it_is_folded(caches: CacheRegistry) -> None:
    """A key whose hash function uses the very cache neither hangs nor loses a count."""
    cache = caches.cache("recursive")

    class Recording:
        def __hash__(self) -> int:
            for _ in range(3):
                cache.miss("inner")
            cache.fold()
            return 1

    cache.hit(Recording())
    cache.fold()
    cache.fold()
    record = cache.performance()
    assert record.hits == 1
    assert record.misses > 0
    assert record.misses % 3 == 0


def test_no_key_is_held_once_it_is_folded(caches: CacheRegistry) -> None:
    """Statistics keep text and hashes; the objects that were keys can be freed."""

    class Key:
        pass

    cache = caches.cache("objects")
    for _ in range(10):
        cache.hit(Key())
        cache.set(Key(), size=1)
    cache.fold()
    gc.collect()
    assert not [found for found in gc.get_objects() if isinstance(found, Key)]


def test_a_miss_means_that_the_entry_is_gone(previews: Cache, report) -> None:
    """An entry that expired without a word leaves the count when it is missed."""
    previews.set("a", size=10)
    previews.set("b", size=10)
    previews.miss("a")
    assert report().entries == 1
    previews.miss("b")
    assert report().entries == 0
    assert report().current_memory_usage_mb == 0.0


def test_eviction_without_a_key(previews: Cache, report) -> None:
    """Where the cache does not say what went, the size is an estimate and says so."""
    previews.set("a", size=1024)
    previews.set("b", size=1024)
    previews.evict(reason="size")
    record = report()
    assert (record.entries, record.size_is_estimate) == (1, True)


def test_clearing_takes_everything(previews: Cache, report) -> None:
    """All entries go at once: counted, gone, and no later read of them would have been a hit."""
    for key in range(10):
        previews.set(key, size=10)
    previews.clear(10)
    previews.set("new", size=5)
    previews.miss(3)
    record = report()
    assert record.evictions_by_reason == {"cleared": 10}
    assert record.entries == 1
    assert {p.size_factor: p.hit_rate for p in record.predicted_hit_rates}[4.0] == 0.0


def test_reasons_are_bounded(previews: Cache, report) -> None:
    """A reason per key does not become a series per key: the rest is `__other__`."""
    for n in range(100):
        previews.evict(n, reason=f"reason {n}")
    reasons = report().evictions_by_reason
    assert sum(reasons.values()) == 100
    assert len(reasons) == 17
    assert reasons["__other__"] == 84


def test_hit_rate_at_other_sizes(previews: Cache, report) -> None:
    """A loop over 30 keys in a cache of 20 never hits, and nearly always at twice the size."""
    previews.attach(lambda: CacheReading(entries=20, max_entries=20))
    for _ in range(50):
        for key in range(30):
            previews.miss(key)
            previews.set(key)
    rates = {p.size_factor: (p.entries, p.hit_rate) for p in report().predicted_hit_rates}
    assert rates == {0.5: (10, 0.0), 1.0: (20, 0.0), 2.0: (40, 0.98), 4.0: (80, 0.98)}


@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(["hit", "miss", "set", "evict"]), st.integers(0, 9), st.booleans()
        )
    )
)
def test_counts_do_not_depend_on_when_it_is_folded(events: list[tuple[str, int, bool]]) -> None:
    """Whatever the batches, every event is counted once, in its period."""
    clock = ManualClock()
    cache = CacheRegistry(clock).cache("any")
    for name, key, fold in events:
        getattr(cache, name)(key)
        clock.advance(0.4)
        if fold:
            cache.fold()
    names = [name for name, _, _ in events]
    record = cache.performance()
    assert (record.hits, record.misses) == (names.count("hit"), names.count("miss"))
    assert (record.sets, record.evictions) == (names.count("set"), names.count("evict"))
    reads = record.hits + record.misses
    assert record.hit_rate_last_day == (record.hits / reads if reads else None)


@pytest.mark.patient
def test_threads_lose_nothing() -> None:
    """Eight threads that record while another queries: every event is counted, once."""
    cache = CacheRegistry(SystemClock()).cache("shared")
    done = threading.Event()

    def record(worker: int) -> None:
        for n in range(5_000):
            cache.hit((worker, n % 50), duration=0.000_001)
            cache.miss(n)
            cache.set(n % 300, size=8)

    def query() -> None:
        while not done.is_set():
            cache.performance()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        reader = threading.Thread(target=query)
        workers = [threading.Thread(target=record, args=(n,)) for n in range(8)]
        for thread in [reader, *workers]:
            thread.start()
        for thread in workers:
            thread.join()
        done.set()
        reader.join()
    finally:
        sys.setswitchinterval(interval)
    found = cache.performance()
    assert (found.hits, found.misses, found.sets) == (40_000, 40_000, 40_000)
    assert sum(key.accesses for key in found.top_accessed_keys) <= 80_000


def test_waiting_events_are_bounded(previews: Cache) -> None:
    """The caller that fills a batch folds it: no more than one batch ever waits."""
    for n in range(10 * FOLD_AT):
        previews.hit(n)
        assert len(previews._events) < FOLD_AT


def test_forked_child_starts_from_zero(previews: Cache, caches: CacheRegistry) -> None:
    """The child counts its own accesses only; the entries, which it inherited, are still there."""
    previews.set("a", size=1024)
    previews.hit("a")
    previews.fold()
    previews.hit("a")
    watch(caches)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            previews.miss("b")
            record = previews.performance()
            answer = [record.hits, record.misses, record.sets, record.entries]
            os.write(writer, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answers:
        assert json.load(answers) == [0, 1, 0, 1]
    assert previews.performance().hits == 2


def test_fork_while_another_thread_holds_the_lock(previews: Cache, caches: CacheRegistry) -> None:
    """A child that is born in the middle of a fold can record and query."""
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with previews._account._lock:
            locked.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(30)
    watch(caches)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            previews.hit("a")
            status = 0 if previews.performance().hits == 1 else 2
        finally:
            os._exit(status)
    release.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_eight_hours_in_bounded_memory_without_drift(caches: CacheRegistry, clock: ManualClock):
    """A day's third of traffic over many keys: sizes level off, and every count is right."""
    cache = caches.cache("long")
    random = Random(3)
    hits = misses = 0
    sizes = []
    for minute in range(8 * 60):
        for _ in range(60):
            key = random.randrange(1 << 40)
            if random.random() < 0.7:
                cache.hit(key % 997, duration=random.random() / 1e3)
                hits += 1
            else:
                cache.miss(key, duration=random.random() / 1e2)
                cache.set(key, size=100)
                misses += 1
            clock.advance(1)
        if minute % 60 == 59:
            record = cache.performance()
            statistics = cache._account.state.statistics
            sizes.append(
                len(statistics.hot_keys)
                + statistics.curve.followed_keys
                + sum(map(len, statistics.durations.values()))
            )
            assert (record.hits, record.misses) == (hits, misses)
    record = cache.performance()
    assert record.hit_rate_last_day == pytest.approx(hits / (hits + misses), abs=0.001)
    assert record.hit_rate_last_hour == pytest.approx(0.7, abs=0.03)
    assert record.entries == misses
    assert max(sizes) < 6_000
    assert sizes[-1] < 1.5 * sizes[3]
