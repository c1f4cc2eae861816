"""Disk caches, against a count that the test keeps and the one that diskcache keeps itself."""

from __future__ import annotations

import gc
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diskcache
import pytest
from otel_studio_instrumentation_diskcache import DiskcacheInstrumentor, name_cache

from otel_studio.base.clock import ManualClock
from otel_studio.base.guard import forget_said, internal_errors
from otel_studio.caches import CachePerformance, CacheRegistry


@pytest.fixture
def caches() -> Iterator[CacheRegistry]:
    forget_said()
    registry = CacheRegistry(ManualClock())
    DiskcacheInstrumentor().instrument(caches=registry)
    yield registry
    DiskcacheInstrumentor().uninstrument()
    assert not internal_errors


def only(caches: CacheRegistry, name: str | None = None) -> CachePerformance:
    caches.poll()
    (record,) = caches.get_cache_performance_metrics(name)
    return record


KINDS: dict[str, Callable[[Path], Any]] = {
    "Cache": lambda folder: diskcache.Cache(folder, statistics=1),
    "FanoutCache": lambda folder: diskcache.FanoutCache(folder, shards=3, timeout=10, statistics=1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_use_equals_both_counts(kind: str, caches: CacheRegistry, tmp_path: Path) -> None:
    """Random calls: reads equal diskcache's statistics, the rest what the test counted."""
    cache = KINDS[kind](tmp_path / "thumbnails")
    calls = random.Random(kind)
    hits = misses = sets = deleted = cleared = 0
    for _ in range(1_500):
        key = calls.randrange(20)
        there = key in cache
        call = calls.choice(["[]", "get", "get", "more", "set", "add", "incr", "pop", "rare"])
        if call in ("[]", "get", "more"):
            hits, misses = hits + there, misses + (not there)
        if call == "[]":
            try:
                cache[key]
            except KeyError:
                assert not there
        elif call == "get":
            assert (cache.get(key, "none") == "none") is not there
        elif call == "more":
            value, expires, tag = cache.get(key, "none", expire_time=True, tag=True)
            assert (value == "none", expires, tag) == (not there, None, None)
        elif call == "set":
            cache[key] = 7
            sets += 1
        elif call == "add":
            sets += cache.add(key, 7)
        elif call == "incr":
            cache.incr(key)
            sets += 1
        elif call == "pop":
            assert (cache.pop(key, "none") == "none") is not there
            deleted += there
        elif calls.random() < 0.1:
            cleared += cache.clear()
        else:
            deleted += cache.delete(key)
    record = only(caches)
    assert (record.cache, record.service_name) == ("thumbnails", "diskcache")
    assert (record.hits, record.misses) == cache.stats() == (hits, misses)
    assert record.sets == sets
    assert record.evictions_by_reason == {"deleted": deleted, "cleared": cleared}
    assert record.entries == len(cache)
    assert record.current_memory_usage_mb == cache.volume() / 1_000_000
    assert record.average_response_time_ms is not None
    assert record.average_response_time_ms > 0
    cache.close()


def test_removals_have_their_reason(caches: CacheRegistry, tmp_path: Path) -> None:
    """expire, evict by tag and cull count what they return; a cull counts expired apart."""
    cache = diskcache.Cache(tmp_path / "pages", cull_limit=0, size_limit=200_000)
    for key in range(10):
        cache.set(key, "short", expire=-1)
    for key in range(10, 15):
        cache.set(key, "tagged", tag="group")
    assert cache.expire() == 10
    assert cache.evict("group") == 5
    for key in range(100, 140):
        cache.set(key, bytes(10_000), expire=-1 if key < 103 else None)
    culled = cache.cull()
    reasons = only(caches).evictions_by_reason
    assert reasons == {"expired": 13, "tag": 5, "size": culled - 3}
    assert culled > 3
    cache.close()


def test_store_that_makes_room(caches: CacheRegistry, tmp_path: Path) -> None:
    """What is removed while something is stored is counted by reason; the entries are right."""
    cache = diskcache.Cache(tmp_path / "pages", size_limit=300_000)
    for key in range(5):
        cache.set(key, "short", expire=-1)
    for key in range(100):
        cache.set(100 + key, bytes(20_000))
    record = only(caches)
    assert record.sets == 105
    assert record.evictions_by_reason["expired"] == 5
    assert record.evictions_by_reason["size"] > 10
    assert record.entries == len(cache) == record.sets - record.evictions
    cache.close()


def test_what_is_built_on_it(caches: CacheRegistry, tmp_path: Path) -> None:
    """Memoize and Index read through the same methods."""
    cache = diskcache.Cache(tmp_path / "squares")

    @cache.memoize()
    def square(n: int) -> int:
        return n * n

    assert [square(n) for n in (1, 1, 2, 1)] == [1, 1, 4, 1]
    record = only(caches, "squares")
    assert (record.hits, record.misses, record.sets) == (2, 2, 2)
    index = diskcache.Index.fromcache(cache)
    index["a"] = 1
    assert index["a"] == 1
    assert only(caches, "squares").hits == 3
    cache.close()


def test_stored_none_is_a_hit(caches: CacheRegistry, tmp_path: Path) -> None:
    """An entry whose value is the default is there all the same."""
    cache = diskcache.Cache(tmp_path / "nothing")
    cache["a"] = None
    assert cache.get("a") is None
    assert cache.get("b") is None
    record = only(caches)
    assert (record.hits, record.misses) == (1, 1)
    cache.close()


def test_name_given(caches: CacheRegistry, tmp_path: Path) -> None:
    """A name goes before the folder's, for all shards; anything else cannot be named."""
    cache = diskcache.FanoutCache(tmp_path / "folder", shards=2)
    name_cache(cache, "previews", service="preview-service")
    cache["a"] = 1
    record = only(caches)
    assert (record.cache, record.service_name) == ("previews", "preview-service")
    index = diskcache.Index(str(tmp_path / "index"))
    with pytest.raises(TypeError, match="Index"):
        name_cache(index, "any")
    index.cache.close()
    cache.close()


def test_threads_lose_nothing(caches: CacheRegistry, tmp_path: Path) -> None:
    """Four threads on one cache: what we count is what diskcache counts."""
    cache = diskcache.Cache(tmp_path / "shared", statistics=1)

    def work(seed: int) -> None:
        calls = random.Random(seed)
        for _ in range(100):
            key = calls.randrange(20)
            if cache.get(key, retry=True) is None:
                cache.set(key, 1, retry=True)
        cache.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = only(caches)
    assert (record.hits, record.misses) == cache.stats()
    assert record.hits + record.misses == 400
    cache.close()


def test_folder_that_is_gone(caches: CacheRegistry, tmp_path: Path) -> None:
    """A cache whose folder was deleted has no size, is not made anew, and is freed."""
    cache = diskcache.Cache(tmp_path / "gone")
    cache["a"] = 1
    assert only(caches).entries == 1
    cache.close()
    shutil.rmtree(tmp_path / "gone")
    assert only(caches).entries is None
    assert not (tmp_path / "gone").exists()
    del cache
    gc.collect()
    assert only(caches).sets == 1


def test_asking_leaves_no_connection(caches: CacheRegistry, tmp_path: Path) -> None:
    """A reading on another thread closes what it opened, and leaves the program's own open."""
    cache = diskcache.Cache(tmp_path / "any")
    cache["a"] = 1
    left: list[object] = []

    def ask() -> None:
        caches.poll()
        left.append(getattr(cache._local, "con", None))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert left == [None]
    caches.poll()
    assert cache._local.con is not None
    cache.close()
