"""What the server says of itself: memory, fragmentation, evictions; and a server that is down."""

from __future__ import annotations

import contextlib
import gc
import time
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from otel_studio_instrumentation_redis import RedisCacheInstrumentor
from otel_studio_instrumentation_redis.figures import reading_of

from otel_studio.base.clock import ManualClock, SystemClock
from otel_studio.base.guard import forget_said, internal_errors
from otel_studio.caches import CacheRegistry

from parts import wait_until
from redis_server import RedisServer, close_cluster


@pytest.fixture
def caches() -> Any:
    forget_said()
    registry = CacheRegistry(ManualClock())
    RedisCacheInstrumentor().instrument(caches=registry)
    yield registry
    RedisCacheInstrumentor().uninstrument()
    registry.poll()


def test_figures_are_those_of_info(bench) -> None:
    """Memory, fragmentation and keys are what INFO says; nothing of them before it is asked."""
    with contextlib.closing(redis.Redis.from_url(bench.url)) as client:
        for n in range(100):
            client.set(n, bytes(10_000))
        client.get(1)
        (before,) = bench.caches.get_cache_performance_metrics(bench.name)
        assert before.current_memory_usage_mb is None
        assert before.entries is None
        record = bench.record()
        memory = client.info("memory")
        assert record.current_memory_usage_mb == pytest.approx(
            memory["used_memory"] / 1_000_000, rel=0.2
        )
        assert record.current_memory_usage_mb > 1.0
        unused = 1 - memory["used_memory"] / memory["used_memory_rss"]
        assert record.fragmentation_ratio == pytest.approx(unused, abs=0.2)
        assert record.entries == 100
        client.flushall()
        record = bench.record()
        assert record.entries == 0
        assert record.peak_memory_usage_mb > record.current_memory_usage_mb


@pytest.mark.parametrize(
    ("used", "held", "share"),
    [(100, 103, 1 - 100 / 103), (100, 90, 0.0), (100, 0, None), (None, 100, None)],
)
def test_fragmentation_is_a_share(used: int | None, held: int, share: float | None) -> None:
    """Of what the server holds; a server that has just begun holds less than it will use."""
    info = {"redis_version": "7.0.0", "used_memory_rss": held}
    if used is not None:
        info["used_memory"] = used
    assert reading_of([info]).fragmentation == share


def test_evictions_of_the_server(caches: CacheRegistry, tmp_path: Path) -> None:
    """What the server evicts for room, and what expires there, is counted from our first look."""
    options = ("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path / "small", *options) as server:
        client = redis.Redis.from_url(server.url)
        for n in range(2_000):
            client.set(f"before:{n}", bytes(2_000))
        evicted = [client.info("stats")["evicted_keys"]]
        assert evicted[0] > 0
        caches.poll()
        evicted.append(client.info("stats")["evicted_keys"])
        for n in range(2_000):
            client.set(f"after:{n}", bytes(2_000))
        for n in range(10):
            client.set(f"brief:{n}", "x", px=1)
        wait_until(lambda: client.info("stats")["expired_keys"] == 10)
        evicted.append(client.info("stats")["evicted_keys"])
        caches.poll()
        (record,) = caches.get_cache_performance_metrics(f"127.0.0.1:{server.port}")
        evicted.append(client.info("stats")["evicted_keys"])
        assert record.evictions_by_reason["expired"] == 10
        # The server evicts at every command, also at the questions themselves.
        by_us = record.evictions_by_reason["size"]
        assert 1_000 < evicted[2] - evicted[1] <= by_us <= evicted[3] - evicted[0]
        client.close()


def test_server_that_goes_away_and_comes_back(caches: CacheRegistry, tmp_path: Path) -> None:
    """While it is down it has no figures, and the program gets its own error; then all is back."""
    with RedisServer(tmp_path / "shaky") as server:
        client = redis.Redis.from_url(server.url)
        client.set("a", 1)
        client.get("a")
        caches.poll()
        (record,) = caches.get_cache_performance_metrics()
        assert record.entries == 1
        server.stop()
        with pytest.raises(redis.ConnectionError):
            client.get("a")
        caches.poll()
        (record,) = caches.get_cache_performance_metrics()
        assert (record.hits, record.entries, record.current_memory_usage_mb) == (1, None, None)
        assert not internal_errors
        server.start()
        assert client.get("a") is None
        caches.poll()
        (record,) = caches.get_cache_performance_metrics()
        assert (record.hits, record.misses, record.entries) == (1, 1, 0)
        client.close()


def test_server_that_does_not_answer_delays_nobody(bench) -> None:
    """A query while the server hangs returns at once: it is asked on another thread."""
    with contextlib.closing(redis.Redis.from_url(bench.url)) as client:
        client.get("a")
        bench.record()
        bench.direct.execute_command("CLIENT", "PAUSE", "3000", "ALL")
        start = time.monotonic()
        bench.caches.get_cache_performance_metrics()
        assert time.monotonic() - start < 1.0
        bench.direct.execute_command("CLIENT", "UNPAUSE")


def test_asked_by_the_registrys_thread(redis_server: RedisServer) -> None:
    """With the thread running, a program's first command has the server asked soon after."""
    caches = CacheRegistry(SystemClock(), cache_poll_interval=3600)
    caches.start()
    RedisCacheInstrumentor().instrument(caches=caches)
    try:
        with contextlib.closing(redis.Redis.from_url(redis_server.url)) as client:
            client.get("a")
            wait_until(lambda: caches.get_cache_performance_metrics()[0].entries is not None)
    finally:
        RedisCacheInstrumentor().uninstrument()
        caches.stop()


def test_clients_of_one_server_are_one_cache(bench) -> None:
    """Pools, pipelines, sync and asyncio: one cache, asked over one connection."""
    clients = [redis.Redis.from_url(bench.url) for _ in range(5)]
    for client in clients:
        client.get("a")
    assert bench.record().misses == 5
    assert len(bench.caches.caches()) == 1
    connected = [client for client in bench.direct.client_list() if client["cmd"] == "info"]
    assert len(connected) == 1
    for client in clients:
        client.close()


def test_asking_ends_with_the_last_client(bench) -> None:
    """A client that the program dropped is freed, and the connection of our own is closed."""
    client = redis.Redis.from_url(bench.url)
    client.get("a")
    bench.record()
    client.close()
    del client
    gc.collect()
    assert bench.record().entries is None
    wait_until(
        lambda: not [c for c in bench.direct.client_list() if c["cmd"] == "info"],
        what="the connection to be closed",
    )
    again = redis.Redis.from_url(bench.url)
    again.get("a")
    assert bench.record().entries == 0
    assert bench.record().misses == 2
    again.close()


def test_password_socket_and_database(caches: CacheRegistry, tmp_path: Path) -> None:
    """Our connection logs in as the program's does, over a socket too; all databases count."""
    path = tmp_path / "r.sock"
    with RedisServer(tmp_path / "closed", "--unixsocket", str(path)) as server:
        with contextlib.closing(redis.Redis(port=server.port)) as first:
            first.config_set("requirepass", "secret")
        clients = [
            redis.Redis(port=server.port, password="secret", db=1),
            redis.Redis(unix_socket_path=str(path), password="secret", db=2),
        ]
        for client in clients:
            client.set("a", 1)
            client.get("a")
        caches.poll()
        records = caches.get_cache_performance_metrics()
        assert {record.cache for record in records} == {f"localhost:{server.port}", str(path)}
        assert [(record.hits, record.entries) for record in records] == [(1, 2), (1, 2)]
        for client in clients:
            client.close()


async def test_asyncio_clients_are_asked_too(bench, close) -> None:
    """The server of an asyncio client is asked over a plain connection on the thread."""
    client = redis.asyncio.Redis.from_url(bench.url)
    await client.set("a", 1)
    await client.get("a")
    assert bench.record().entries == 1
    await close(client)


def test_cluster_is_the_sum_of_its_primaries(cluster) -> None:
    """A cluster's figures come from its primaries, sync or asyncio."""
    client = redis.RedisCluster.from_url(cluster.url)
    client.set("a", 1)
    client.get("a")
    record = cluster.record()
    assert record.entries == 1
    assert record.current_memory_usage_mb > 0
    close_cluster(client)
