"""The registry: caches by name, bounded, polled on a thread of its own."""

from __future__ import annotations

import threading

import pytest

from forked import in_forked_child
from otel_studio.base.clock import ManualClock, SystemClock
from otel_studio.base.forking import Room, watch
from otel_studio.base.guard import internal_errors
from otel_studio.caches import CacheReading, CacheRegistry

from parts import wait_until


def polling_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "otel-studio-caches"]


def test_same_name_is_the_same_cache(caches: CacheRegistry) -> None:
    """A cache is one object by service and name, from whatever thread it is asked for."""
    found: list[object] = []

    def ask() -> None:
        found.append(caches.cache("previews", service="a"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert caches.cache("previews", service="b") is not found[0]
    assert len(caches.get_cache_performance_metrics("previews")) == 2


@pytest.mark.parametrize("name", ["", None, 7])
def test_name_is_text(caches: CacheRegistry, name: object) -> None:
    """Anything else is refused in one sentence."""
    with pytest.raises(ValueError, match="needs a name"):
        caches.cache(name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a service needs a name"):
        caches.cache("x", service=name)  # type: ignore[arg-type]


def test_caches_are_bounded(clock: ManualClock) -> None:
    """A cache per user does not become a series per user: later ones share `__other__`."""
    caches = CacheRegistry(clock, max_caches=3)
    for n in range(10):
        caches.cache(f"user-{n}").hit("a")
    records = caches.get_cache_performance_metrics()
    assert [record.cache for record in records] == ["__other__", "user-0", "user-1", "user-2"]
    assert records[0].hits == 7
    assert caches.overflowed == 7


def test_unknown_name_gives_nothing(caches: CacheRegistry) -> None:
    """A query for a cache that is not there is empty."""
    assert caches.get_cache_performance_metrics("nobody") == []


def test_keys_can_be_hashed_or_dropped(clock: ManualClock) -> None:
    """With `hash` or `drop` no text of a key comes out of any query."""
    for policy in ("hash", "drop"):
        cache = CacheRegistry(clock, cache_keys=policy).cache("users")
        for _ in range(3):
            cache.hit("alice@example.com", duration=2.0)
        record = cache.performance()
        assert "alice" not in record.to_json()
        assert len(record.top_accessed_keys) == (policy == "hash")
        assert (record.slow_operations[0].key is None) == (policy == "drop")
    with pytest.raises(ValueError, match="plain, hash, drop"):
        CacheRegistry(clock, cache_keys="secret")


def test_thread_polls_backends_and_stops() -> None:
    """The thread asks remote backends at intervals, survives their failures, and ends."""
    caches = CacheRegistry(SystemClock(), cache_poll_interval=0.01)
    answers = iter([ConnectionError("down"), CacheReading(entries=1), CacheReading(entries=2)])

    def read() -> CacheReading:
        answer = next(answers, CacheReading(entries=3))
        if isinstance(answer, Exception):
            raise answer
        return answer

    caches.cache("server").attach(read, remote=True)
    caches.start()
    caches.start()
    assert len(polling_threads()) == 1
    wait_until(lambda: caches.cache("server").performance().entries == 3)
    caches.stop()
    caches.stop()
    assert polling_threads() == []
    assert internal_errors["asking the backend of cache server"] == 1


def test_stop_does_not_wait_for_a_backend_that_hangs() -> None:
    """A server that never answers delays the end by the timeout at most."""
    caches = CacheRegistry(SystemClock(), cache_poll_interval=0.001)
    asked, answer = threading.Event(), threading.Event()

    def read() -> None:
        asked.set()
        answer.wait(30)

    caches.cache("server").attach(read, remote=True)
    caches.start()
    asked.wait(30)
    (thread,) = polling_threads()
    caches.stop(timeout=0.01)
    assert thread.is_alive()
    answer.set()
    thread.join()


def test_registry_is_a_room(caches: CacheRegistry) -> None:
    """It starts, stops and is told of forks as every part of a Studio."""
    assert isinstance(caches, Room)


@pytest.mark.parametrize("polled", [True, False])
def test_child_polls_where_its_parent_did(polled: bool) -> None:
    """The hook starts no thread: the first query does, in a child whose parent had started one."""
    caches = CacheRegistry(SystemClock(), cache_poll_interval=3600)
    watch(caches)
    asked = threading.Event()
    caches.cache("server").attach(asked.set, remote=True)
    if polled:
        caches.start()
        wait_until(asked.is_set)

    def in_child() -> list[bool]:
        found = [bool(polling_threads())]
        caches.cache("server").attach(lambda: CacheReading(entries=5), remote=True)
        caches.get_cache_performance_metrics()
        if polled:
            wait_until(lambda: caches.cache("server").performance().entries == 5)
        return [*found, bool(polling_threads())]

    assert in_forked_child(in_child) == [False, polled]
    caches.stop()
