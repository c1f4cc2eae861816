"""The public face as type checkers see it; it is checked, never run."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, assert_type

import otel_studio
from otel_studio import api
from otel_studio.api import (
    ActiveCount,
    ActiveOperation,
    ErrorStatistics,
    LatencyBucket,
    MemoryThresholds,
    Run,
    ServiceSummary,
    SlowOperation,
)
from otel_studio.queries import Queries

# Tracking keeps every signature


@otel_studio.track
def bare(path: str, width: int = 640) -> bytes:
    return path.encode() * width


assert_type(bare("a"), bytes)
assert_type(bare("a", width=3), bytes)


@otel_studio.track(
    "generate_preview",
    service="preview-service",
    attributes={"codec": "av1"},
    capture_args=("path",),
    expected=(FileNotFoundError,),
    slow_threshold=0.5,
    labels=("tenant", "plan"),
)
async def generate(path: str, buffer: bytearray) -> int:
    return len(path) + len(buffer)


generated: Coroutine[Any, Any, int] = generate("a", bytearray())


@otel_studio.track()
def walk(upto: int) -> Iterator[int]:
    yield upto


assert_type(walk(3), Iterator[int])


@otel_studio.track("stream", expected=KeyError, labels="tenant")
async def stream(upto: int) -> AsyncIterator[str]:
    yield str(upto)


assert_type(stream(3), AsyncIterator[str])


class Shop:
    @otel_studio.track
    def method(self, item: str) -> int:
        return len(item)

    @classmethod
    @otel_studio.track
    def class_below(cls) -> Shop:
        return cls()

    @otel_studio.track(service="shop")
    @classmethod
    def class_above(cls, name: str) -> str:
        return name

    @staticmethod
    @otel_studio.track
    def static_below(value: int) -> int:
        return value

    @otel_studio.track
    @staticmethod
    def static_above(value: int) -> str:
        return str(value)

    @property
    @otel_studio.track
    def label(self) -> str:
        return "shop"


assert_type(Shop().method("a"), int)
assert_type(Shop.class_below(), Shop)
assert_type(Shop.class_above("a"), str)
assert_type(Shop.static_below(1), int)
assert_type(Shop.static_above(1), str)
assert_type(Shop().label, str)


@otel_studio.instrument
class Job:
    def __init__(self, name: str) -> None:
        self.name = name

    def run(self) -> bool:
        return bool(self.name)


assert_type(Job("a"), Job)
assert_type(Job("a").run(), bool)

half: functools.partial[bytes] = functools.partial(bare, "a")
assert_type(otel_studio.track(half)(), bytes)
handler: Callable[[int], str] = otel_studio.track(lambda number: f"number {number}")

# Services and runs

cache = otel_studio.service("cache-service")
assert_type(cache, otel_studio.Service)


@cache.track("clear", attributes={"size": 3}, expected=KeyError)
def clear(force: bool) -> None: ...


assert_type(clear(force=True), None)


@cache.track
def bare_of_service(path: str, width: int = 640) -> bytes:
    return path.encode() * width


assert_type(bare_of_service("a", width=3), bytes)


@cache.track(
    "read",
    attributes={"codec": "av1"},
    capture_args=("path",),
    expected=(FileNotFoundError,),
    slow_threshold=0.5,
    labels=("tenant", "plan"),
)
async def read(path: str) -> int:
    return len(path)


being_read: Coroutine[Any, Any, int] = read("a")


class Cached:
    @cache.track
    def method(self, item: str) -> int:
        return len(item)

    @cache.track(labels="tenant")
    @classmethod
    def class_above(cls, name: str) -> str:
        return name


assert_type(Cached().method("a"), int)
assert_type(Cached.class_above("a"), str)

with cache.operation("clear_all", attributes={"size": 1}, expected=KeyError) as op:
    assert_type(op, otel_studio.OperationRun)
    op.set_attribute("entries", 42)
    op.set_attributes({"a": 1, "b": ["x", "y"]})
    op.fail("disk is read-only")
    op.fail(ValueError())
    assert_type(op.trace_id, str)


async def use() -> None:
    async with cache.operation("clear_all") as operation:
        assert_type(operation, otel_studio.OperationRun)


tracker = cache.start_operation("get", attributes={"key": "a"})
assert_type(tracker, otel_studio.Tracker)
tracker.set_attribute("hit", True)
tracker.set_attributes({"a": 1, "b": ["x", "y"]})
assert_type(tracker.trace_id, str)
tracker.complete()
tracker.fail(ValueError("no"))
cache.record_operation("get", duration=0.012, error=None)
cache.record_operation("get", 1, "no room", attributes={"key": "a"})

current = otel_studio.current_operation()
assert_type(current, otel_studio.OperationRun | None)

# Instrumented things keep their types

assert_type(otel_studio.instrument(Shop(), service="shop", include="get_*"), Shop)
assert_type(otel_studio.instrument(Shop), type[Shop])
assert_type(otel_studio.instrument({"shop": Shop()}), dict[str, Shop])
assert_type(otel_studio.instrument([1], exclude=("_*",)), list[int])

# Running, and asking

studio = otel_studio.configure(service_name="media-backend", traces_exporter=("otlp",))
assert_type(studio, otel_studio.Studio)
assert_type(otel_studio.current(), otel_studio.Studio | None)
assert_type(otel_studio.force_flush(), bool)
assert_type(otel_studio.force_flush(timeout=2.0), bool)
assert_type(otel_studio.shutdown(), bool)
assert_type(api.get_all_metrics(), list[ServiceSummary])
assert_type(api.get_service_metrics("cache-service"), ServiceSummary | None)
assert_type(api.get_all_metrics()[0].operation_metrics["get"].p95_duration_ms, float | None)
assert_type(api.export_metrics("csv"), str)
assert_type(api.export_metrics_prometheus(), str)
assert_type(api.get_active_operations_count(), ActiveCount)
assert_type(api.get_active_operations(), list[ActiveOperation])
assert_type(api.get_recent_operations(service="a", outcome="error", limit=5), list[Run])
assert_type(api.get_error_statistics(), ErrorStatistics)
assert_type(api.get_slow_operations(limit=3, by="p95"), list[SlowOperation])
assert_type(api.get_latency_buckets("cache-service", "get"), list[LatencyBucket])
assert_type(api.set_memory_alert_thresholds({"max_memory_mb": 500}), MemoryThresholds)
api.set_memory_alert_thresholds({"max_process_utilization": 0.9, "max_fragmentation": None})
assert_type(api.get_encode_performance_metrics(), api.EncodePerformance)

queries = Queries(studio)
assert_type(queries.get_all_metrics(), list[ServiceSummary])
assert_type(queries.get_recent_operations(outcome="ok", limit=5), list[Run])
assert_type(queries.set_memory_alert_thresholds({"max_memory_mb": None}), MemoryThresholds)

with otel_studio.isolated(service_name="test") as isolated:
    assert_type(isolated, otel_studio.Isolated)
    isolated.assert_operation("cache-service", "get", count=1, outcome="ok")

# What must not pass

otel_studio.track(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue,reportArgumentType]
otel_studio.track(labels=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue,reportArgumentType]
api.set_memory_alert_thresholds({"max_memory_mb": "1"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
cache.track(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue,reportArgumentType]
cache.track("a", service="b")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
cache.track("a", slow="1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
bare(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
cache.record_operation("get", "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
otel_studio.configure(no_such=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
