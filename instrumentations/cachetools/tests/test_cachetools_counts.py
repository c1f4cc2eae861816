"""Every cache of cachetools, against a count that the test keeps itself."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cachetools
import cachetools.func
import pytest
from otel_studio_instrumentation_cachetools import CachetoolsInstrumentor, name_cache

from otel_studio.base.clock import ManualClock
from otel_studio.caches import CachePerformance, CacheRegistry


class Seconds:
    """A timer for caches with a time to live."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def caches() -> Iterator[CacheRegistry]:
    registry = CacheRegistry(ManualClock())
    CachetoolsInstrumentor().instrument(caches=registry)
    yield registry
    CachetoolsInstrumentor().uninstrument()


def only(caches: CacheRegistry, name: str | None = None) -> CachePerformance:
    (record,) = caches.get_cache_performance_metrics(name)
    return record


KINDS: dict[str, Callable[[], Any]] = {
    "plain": lambda: cachetools.LRUCache(30),
    "fifo": lambda: cachetools.FIFOCache(30),
    "lfu": lambda: cachetools.LFUCache(30),
    "random": lambda: cachetools.RRCache(30),
    "ttl": lambda: cachetools.TTLCache(30, ttl=50, timer=Seconds()),
    "own class": lambda: Doubled(30),
    "sized": lambda: cachetools.LRUCache(300, getsizeof=lambda value: 10),
}
if hasattr(cachetools, "TLRUCache"):
    KINDS["tlru"] = lambda: cachetools.TLRUCache(
        30, ttu=lambda key, value, now: now + 50, timer=Seconds()
    )


class Doubled(cachetools.LRUCache):
    """A class of the program's own, with methods that call their base."""

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)


@pytest.mark.parametrize("kind", KINDS)
def test_any_use_equals_the_tests_own_count(kind: str, caches: CacheRegistry) -> None:
    """Thousands of random calls: hits, misses, sets, evictions and entries are the true ones."""
    cache = KINDS[kind]()
    name_cache(cache, "mine", service="test")
    random_calls = random.Random(kind)
    hits = misses = sets = removed = cleared = 0
    for _ in range(5_000):
        key = random_calls.randrange(60)
        there = key in cache
        before = len(cache)
        call = random_calls.choice(["[]", "get", "get", "set", "set", "setdefault", "pop", "rare"])
        if call == "[]":
            hits, misses = hits + there, misses + (not there)
            try:
                cache[key]
            except KeyError:
                assert not there
        elif call == "get":
            hits, misses = hits + there, misses + (not there)
            assert (cache.get(key, "none") == "none") is not there
        elif call == "set":
            cache[key] = "value"
            sets += 1
            removed += before + (not there) - len(cache)
        elif call == "setdefault":
            cache.setdefault(key, "value")
            sets += not there
            removed += before + (not there) - len(cache)
        elif call == "pop":
            cache.pop(key, None)
            removed += there
        elif random_calls.random() < 0.1:
            cache.clear()
            cleared += before
        elif before and random_calls.random() < 0.5:
            cache.popitem()
            removed += 1
        elif there:
            del cache[key]
            removed += 1
    record = only(caches, "mine")
    assert (record.hits, record.misses, record.sets) == (hits, misses, sets)
    assert record.evictions == removed + cleared
    assert record.evictions_by_reason["cleared"] == cleared
    assert record.entries == len(cache)
    assert min(hits, misses, sets, removed, cleared) > 0


def test_time_to_live(caches: CacheRegistry) -> None:
    """An entry whose time is up is a miss, and leaves as expired."""
    timer = Seconds()
    cache = cachetools.TTLCache(10, ttl=5, timer=timer)
    name_cache(cache, "sessions")
    cache["a"] = 1
    assert cache["a"] == 1
    timer.now = 6
    assert cache.get("a") is None
    cache["b"] = 2
    record = only(caches, "sessions")
    assert (record.hits, record.misses, record.sets) == (1, 1, 2)
    assert record.evictions_by_reason == {"expired": 1}


def test_asking_changes_nothing(caches: CacheRegistry) -> None:
    """A query from another thread removes nothing from a cache whose entries have expired."""
    timer = Seconds()
    cache = cachetools.TTLCache(10, ttl=5, timer=timer)
    name_cache(cache, "sessions")
    cache["a"] = 1
    timer.now = 6
    assert only(caches, "sessions").entries == 1
    assert cachetools.Cache.__len__(cache) == 1
    assert len(cache) == 0
    assert only(caches, "sessions").entries == 0


def test_memoized_function_is_called_after_itself(caches: CacheRegistry) -> None:
    """`cached` with and without lock: calls are hits and misses under the function's name."""

    @cachetools.cached(cachetools.LRUCache(2))
    def square(n: int) -> int:
        return n * n

    @cachetools.cached(cachetools.LRUCache(2), lock=threading.Lock())
    def cube(n: int) -> int:
        return n**3

    for function in (square, cube):
        for n in (1, 1, 2, 3, 1):
            function(n)
    for function in (square, cube):
        record = only(caches, function.__qualname__)
        assert record.service_name == __name__
        assert (record.hits, record.misses, record.sets) == (1, 4, 4)
        assert record.evictions_by_reason == {"size": 2}
        assert (record.entries, record.max_entries) == (2, 2)


def test_functions_of_cachetools_func(caches: CacheRegistry) -> None:
    """The look-alikes of functools count what their own `cache_info` counts."""

    @cachetools.func.lru_cache(maxsize=3)
    def half(n: int) -> float:
        return n / 2

    for n in (1, 1, 2, 3, 4, 1):
        half(n)
    info = half.cache_info()
    record = only(caches)
    assert (record.hits, record.misses) == (info.hits, info.misses) == (1, 5)


def test_methods_share_the_name_of_their_place(caches: CacheRegistry) -> None:
    """Caches made by the same line belong together, however many instances there are."""

    class Session:
        def __init__(self) -> None:
            self.cache = cachetools.LRUCache(10)

        @cachetools.cachedmethod(lambda self: self.cache)
        def load(self, key: str) -> str:
            return key.upper()

    sessions = [Session() for _ in range(3)]
    for session in sessions:
        session.load("a")
        session.load("a")
    record = only(caches)
    assert record.cache.startswith("test_methods_share_the_name_of_their_place.<locals>.Session")
    assert (record.hits, record.misses, record.entries, record.max_entries) == (3, 3, 3, 30)
    del session, sessions
    gc.collect()
    assert only(caches).entries is None
    assert only(caches).hits == 3


_of_this_module = cachetools.LRUCache(5)


def test_variable_names_the_cache(caches: CacheRegistry) -> None:
    """A cache that a module holds is called after its variable, made before or after we came."""
    _of_this_module["a"] = 1
    globals()["_later"] = cachetools.TTLCache(5, ttl=10)
    globals()["_later"].get("x")
    names = {(r.service_name, r.cache) for r in caches.get_cache_performance_metrics()}
    assert names == {(__name__, "_of_this_module"), (__name__, "_later")}


def test_missing_that_loads_is_a_miss(caches: CacheRegistry) -> None:
    """A class whose `__missing__` loads the value missed it, and stored it."""

    class Loading(cachetools.LRUCache):
        def __missing__(self, key: str) -> str:
            self[key] = value = key.upper()
            return value

    cache = Loading(10)
    name_cache(cache, "loading")
    assert [cache["a"], cache["a"], cache["b"]] == ["A", "A", "B"]
    record = only(caches, "loading")
    assert (record.hits, record.misses, record.sets) == (1, 2, 2)


def test_memory_through_a_sizer(caches: CacheRegistry) -> None:
    """Bytes come from the sizer that was given, or from `sys.getsizeof`; else there are none."""
    import sys

    measured, sized, counted = (
        cachetools.LRUCache(3),
        cachetools.LRUCache(10_000, getsizeof=sys.getsizeof),
        cachetools.LRUCache(1_000, getsizeof=len),
    )
    name_cache(measured, "measured", sizer=len)
    name_cache(sized, "sized")
    name_cache(counted, "counted")
    for key in range(5):
        for cache in (measured, sized, counted):
            cache[key] = bytes(100)
    mb = 1_000_000
    assert only(caches, "measured").current_memory_usage_mb == 300 / mb
    assert only(caches, "measured").peak_memory_usage_mb == 300 / mb
    assert only(caches, "sized").current_memory_usage_mb == 5 * sys.getsizeof(bytes(100)) / mb
    assert only(caches, "sized").max_entries is None
    assert only(caches, "counted").current_memory_usage_mb is None


def test_failing_sizer_stores_all_the_same(caches: CacheRegistry) -> None:
    """What a sizer raises does not reach the program."""
    cache = cachetools.LRUCache(3)
    name_cache(cache, "any", sizer=lambda value: 1 // 0)
    cache["a"] = 1
    assert cache["a"] == 1


def test_threads_with_a_cache_each(caches: CacheRegistry) -> None:
    """Eight threads with a cache each, all called the same: nothing is lost."""

    def work() -> None:
        cache = cachetools.LRUCache(50)
        name_cache(cache, "shared")
        for n in range(2_000):
            if cache.get(n % 100) is None:
                cache[n % 100] = n

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = only(caches, "shared")
    assert record.hits + record.misses == 16_000
    assert record.sets == record.misses


def test_nothing_is_kept_alive(caches: CacheRegistry) -> None:
    """A cache that the program drops is freed, and so is what is known of it."""
    from otel_studio_instrumentation_cachetools import _book

    gc.collect()
    known = [len(held) for held in (_book._followed, _book._references, _book._origins)]
    for _ in range(100):
        cachetools.LRUCache(5)["a"] = 1
    gc.collect()
    assert [len(held) for held in (_book._followed, _book._references, _book._origins)] == known


def test_errors_pass_through(caches: CacheRegistry) -> None:
    """What cachetools raises, the program gets, and it is neither a set nor a read."""
    cache = cachetools.LRUCache(3, getsizeof=len)
    name_cache(cache, "any")
    with pytest.raises(ValueError, match="too large"):
        cache["a"] = "four"
    with pytest.raises(TypeError):
        cache[["unhashable"]]
    with pytest.raises(KeyError):
        cache.pop("a")
    with pytest.raises(KeyError):
        del cache["a"]
    record = only(caches, "any")
    assert (record.hits, record.misses, record.sets, record.evictions) == (0, 0, 0, 0)


def test_only_caches_can_be_named() -> None:
    """A dictionary is refused, with what to do instead."""
    with pytest.raises(TypeError, match="wrap"):
        name_cache({}, "any")  # type: ignore[arg-type]
