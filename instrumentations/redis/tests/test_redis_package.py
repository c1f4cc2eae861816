"""The package: entry point, pins, and redis as it was afterwards."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from otel_studio_instrumentation_redis import RedisCacheInstrumentor
from otel_studio_instrumentation_redis.package import _instruments

import otel_studio
from otel_studio.base.clock import ManualClock
from otel_studio.caches import CacheRegistry

from redis_server import RedisServer

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def state() -> dict[str, Any]:
    """Return every attribute of the classes that are followed."""
    modules = (redis.client, redis.cluster, redis.asyncio.client, redis.asyncio.cluster)
    return {
        f"{owner.__module__}.{owner.__qualname__}.{name}": value
        for module in modules
        for owner in vars(module).values()
        if isinstance(owner, type) and owner.__module__.startswith("redis")
        for name, value in vars(owner).items()
    }


def test_uninstrument_restores_every_attribute() -> None:
    """Twice on and off: each class has the very methods it had, and no new ones."""
    before = state()
    for _ in range(2):
        RedisCacheInstrumentor().instrument(caches=CacheRegistry(ManualClock()))
        assert state() != before
        RedisCacheInstrumentor().uninstrument()
        after = state()
        assert after.keys() == before.keys()
        assert [key for key in before if after[key] is not before[key]] == []


def test_nothing_is_recorded_afterwards(redis_server: RedisServer) -> None:
    """A client that was followed works on, unrecorded, also through a method held from before."""
    registry = CacheRegistry(ManualClock())
    RedisCacheInstrumentor().instrument(caches=registry)
    client = redis.Redis.from_url(redis_server.url)
    client.get("nothing")
    held = client.execute_command
    RedisCacheInstrumentor().uninstrument()
    held("GET", "nothing")
    client.get("nothing")
    (record,) = registry.get_cache_performance_metrics()
    assert record.misses == 1
    client.close()


def test_beside_another_instrumentation(redis_server: RedisServer) -> None:
    """Whoever wraps after us keeps working when we go, and we when they go."""
    registry = CacheRegistry(ManualClock())
    RedisCacheInstrumentor().instrument(caches=registry)
    seen: list[str] = []
    ours = redis.Redis.execute_command

    def spanning(client: Any, *args: Any, **options: Any) -> Any:
        seen.append(args[0])
        return ours(client, *args, **options)

    redis.Redis.execute_command = spanning  # type: ignore[method-assign]
    client = redis.Redis.from_url(redis_server.url)
    client.get("nothing")
    RedisCacheInstrumentor().uninstrument()
    client.get("nothing")
    assert seen == ["GET", "GET"]
    (record,) = registry.get_cache_performance_metrics()
    assert record.misses == 1
    redis.Redis.execute_command = ours.__wrapped__  # type: ignore[method-assign,attr-defined]
    client.close()


def test_records_into_the_current_studio(redis_server: RedisServer) -> None:
    """Without a registry of its own, it records where `otel_studio.cache` does."""
    with otel_studio.isolated():
        RedisCacheInstrumentor().instrument()
        client = redis.Redis.from_url(redis_server.url)
        try:
            client.get("nothing")
            (record,) = otel_studio.api.get_cache_performance_metrics()
            assert record.misses == 1
        finally:
            RedisCacheInstrumentor().uninstrument()
            client.close()


def test_entry_point_and_extra_say_what_the_package_says() -> None:
    """OpenTelemetry's loader finds the instrumentor and reads the same pins."""
    entry = PROJECT["entry-points"]["opentelemetry_instrumentor"]["redis_cache"]
    module, _, name = entry.partition(":")
    assert issubclass(getattr(importlib.import_module(module), name), BaseInstrumentor)
    assert tuple(PROJECT["optional-dependencies"]["instruments"]) == _instruments
    assert RedisCacheInstrumentor().instrumentation_dependencies() == _instruments
