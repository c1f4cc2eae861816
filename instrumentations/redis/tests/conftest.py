"""What the Redis tests share: a real server, and its own count of hits and misses."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis
from otel_studio_instrumentation_redis import RedisCacheInstrumentor

from otel_studio.base.clock import ManualClock
from otel_studio.base.guard import forget_said, internal_errors
from otel_studio.caches import CachePerformance, CacheRegistry

from parts import free_port, wait_until
from redis_server import RedisServer


class Bench:
    """A server, what it counted since the bench was made, and what we did."""

    def __init__(self, server: RedisServer, caches: CacheRegistry) -> None:
        self.server = server
        self.caches = caches
        self.url = server.url
        self.name = f"127.0.0.1:{server.port}"
        self.direct = redis.Redis.from_url(server.url)
        self._before = self._counts()

    def _counts(self) -> tuple[int, int]:
        stats = self.direct.info("stats")
        return int(stats["keyspace_hits"]), int(stats["keyspace_misses"])

    def by_server(self) -> tuple[int, int]:
        """Return the hits and misses that the server counted."""
        hits, misses = self._counts()
        return hits - self._before[0], misses - self._before[1]

    def by_us(self) -> tuple[int, int]:
        """Return the hits and misses that were recorded."""
        records = self.caches.get_cache_performance_metrics(self.name)
        return sum(record.hits for record in records), sum(record.misses for record in records)

    def record(self) -> CachePerformance:
        """Return the record of the server, freshly asked."""
        self.caches.poll()
        (record,) = self.caches.get_cache_performance_metrics(self.name)
        return record


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis") / "server") as server:
        yield server


@pytest.fixture(scope="session")
def cluster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A cluster of one node that has all the slots."""
    folder = tmp_path_factory.mktemp("redis") / "cluster"
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with RedisServer(folder, *options) as server:
        with contextlib.closing(redis.Redis.from_url(server.url)) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        yield server


def followed(server: RedisServer) -> Iterator[Bench]:
    forget_said()
    bench = Bench(server, CacheRegistry(ManualClock()))
    bench.direct.flushall()
    RedisCacheInstrumentor().instrument(caches=bench.caches)
    yield bench
    RedisCacheInstrumentor().uninstrument()
    bench.caches.poll()  # closes the connection of its own
    bench.direct.close()
    assert not internal_errors


@pytest.fixture
def bench(redis_server: RedisServer) -> Iterator[Bench]:
    yield from followed(redis_server)


@pytest.fixture
def cluster(cluster_server: RedisServer) -> Iterator[Bench]:
    yield from followed(cluster_server)


@pytest.fixture
def close() -> Callable[[Any], Awaitable[None]]:
    """Return what closes an asyncio client, and its connections, of any version."""

    async def close_it(client: Any) -> None:
        if hasattr(client, "aclose"):
            await client.aclose()
        elif hasattr(client, "connection_pool"):
            await client.close(close_connection_pool=True)
        else:
            await client.close()

    return close_it
