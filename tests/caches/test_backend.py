"""Figures that a cache's backend reports when asked."""

from __future__ import annotations

import threading

from otel_studio.base.clock import ManualClock, SystemClock
from otel_studio.base.guard import internal_errors
from otel_studio.caches import Cache, CacheReading, CacheRegistry


def test_counts_of_a_backend_enter_the_windows(previews: Cache, report, clock: ManualClock) -> None:
    """What the backend counted since it was last asked belongs to the time of the question."""
    counts = {"hits": 10, "misses": 0}
    previews.attach(lambda: CacheReading(**counts, evictions={"maxmemory": 2}))
    assert report().hit_rate_last_minute == 1.0
    clock.advance(120)
    counts.update(hits=10, misses=30)
    record = report()
    assert (record.hits, record.misses, record.evictions) == (10, 30, 2)
    assert record.hit_rate_last_minute == 0.0
    assert record.hit_rate_last_hour == 0.25
    assert report().misses == 30


def test_counts_from_before_are_left_out_when_asked(previews: Cache, report) -> None:
    """A server that ran for a year does not bring its year into this process's figures."""
    total = [1_000_000]
    previews.attach(lambda: CacheReading(hits=total[0]), from_now=True)
    assert report().hits == 0
    total[0] += 5
    assert report().hits == 5


def test_counts_that_fall_start_anew(previews: Cache, report) -> None:
    """After the backend was cleared or restarted, what it counts from there is added."""
    total = [100]
    previews.attach(lambda: CacheReading(misses=total[0]))
    assert report().misses == 100
    total[0] = 7
    assert report().misses == 107


def test_sizes_of_backends_add_up(previews: Cache, report) -> None:
    """Two backends of one cache: sums, the highest fragmentation, no limit where one has none."""
    mb = 1_000_000
    previews.attach(lambda: CacheReading(entries=2, max_entries=5, memory_bytes=mb))
    assert report().max_entries == 5
    previews.attach(lambda: CacheReading(entries=3, memory_bytes=2 * mb, fragmentation=0.5))
    record = report()
    assert (record.entries, record.max_entries) == (5, None)
    assert (record.current_memory_usage_mb, record.peak_memory_usage_mb) == (3.0, 3.0)
    assert record.fragmentation_ratio == 0.5
    assert not record.size_is_estimate


def test_peak_is_the_most_that_was_reported(previews: Cache, report) -> None:
    """Memory that was given back stays in the peak."""
    used = [8 * 1_000_000]
    previews.attach(lambda: CacheReading(memory_bytes=used[0]))
    report()
    used[0] = 1_000_000
    assert (report().current_memory_usage_mb, report().peak_memory_usage_mb) == (1.0, 8.0)


def test_failing_backend_leaves_no_figure(previews: Cache, report) -> None:
    """While it raises there is no size, the failure is counted, and then it is back."""
    failing = [False]

    def read() -> CacheReading:
        if failing[0]:
            raise ConnectionError("refused")
        return CacheReading(entries=4)

    previews.attach(read)
    assert report().entries == 4
    failing[0] = True
    assert report().entries is None
    assert internal_errors["asking the backend of cache previews"] == 1
    failing[0] = False
    assert report().entries == 4


def test_remote_backend_is_not_asked_by_a_query(
    previews: Cache, caches: CacheRegistry, report
) -> None:
    """A backend that takes I/O is asked by `poll` alone; queries show its last answer."""
    asked = []

    def read() -> CacheReading:
        asked.append(threading.current_thread())
        return CacheReading(entries=9, fragmentation=0.2)

    previews.attach(read, remote=True)
    previews.set("a", size=1)
    assert report().entries is None
    assert asked == []
    caches.poll()
    assert report().entries == 9
    assert len(asked) == 1


def test_new_remote_backend_is_asked_at_once() -> None:
    """Whoever attaches a server need not wait for the next interval."""
    caches = CacheRegistry(SystemClock(), cache_poll_interval=3600)
    caches.start()
    try:
        asked = threading.Event()
        caches.cache("server").attach(asked.set, remote=True)
        assert asked.wait(30)
    finally:
        caches.stop()


def test_backend_that_is_gone_is_forgotten(previews: Cache, report) -> None:
    """None ends a backend: its counts stay, its sizes go."""
    readings = [CacheReading(hits=3, entries=1), None]
    previews.attach(lambda: readings.pop(0))
    assert report().entries == 1
    record = report()
    assert (record.hits, record.entries) == (3, None)
    assert report().hits == 3


def test_two_that_ask_at_once_count_once(previews: Cache) -> None:
    """Concurrent queries add a backend's growth exactly once."""
    total = [0]
    previews.attach(lambda: CacheReading(hits=total[0]))

    def ask() -> None:
        for _ in range(200):
            total[0] = 1_000
            previews.performance()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert previews.performance().hits == 1_000
