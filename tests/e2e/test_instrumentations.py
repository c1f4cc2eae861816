"""`opentelemetry-instrument` turns the instrumentation packages on; what they say was counted here.

The program under test knows nothing of OTel Studio but the queries that the test asks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conversing_process import ConversingProcess

from child_process import http_get
from parts import free_port, need, unavailable, wait_until
from redis_server import RedisServer

PROGRAM = """
import functools, random, subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import cachetools, diskcache, redis
from opentelemetry import trace

thumbnails = cachetools.LRUCache(maxsize=20)

@functools.lru_cache(maxsize=30)
def square(number):
    return number * number

def read_through(read, write, keys):
    # Counts what the program itself finds and misses.
    counts = Counter()
    for key in keys:
        found = read(key)
        counts["misses" if found is None else "hits"] += 1
        if found is None:
            write(key)
    return counts

def keys(seed, number):
    chance = random.Random(seed)
    return [f"key {min(int(chance.expovariate(0.05)), 80)}" for _ in range(number)]

def use_cachetools(number):
    return read_through(
        thumbnails.get, lambda key: thumbnails.__setitem__(key, key.upper()), keys(1, number)
    )

def use_functools(number):
    for key in keys(2, number):
        square(int(key.split()[1]))
    info = square.cache_info()
    return {"hits": info.hits, "misses": info.misses, "entries": info.currsize}

def use_diskcache(folder, number):
    with diskcache.Cache(folder) as cache:
        return read_through(cache.get, lambda key: cache.set(key, key.upper()), keys(3, number))

def use_redis(url, number):
    with redis.Redis.from_url(url) as client:
        server = lambda: client.info("stats")
        before = server()
        counts = read_through(client.get, lambda key: client.set(key, "v", ex=600), keys(4, number))
        after = server()
    for name in ("hits", "misses"):
        counts[f"server's {name}"] = after[f"keyspace_{name}"] - before[f"keyspace_{name}"]
    return counts

def fail(number):
    raise ValueError(number)

def use_pool(number):
    with trace.get_tracer("shop").start_as_current_span("order"):
        with ThreadPoolExecutor(2, thread_name_prefix="resize") as pool:
            done = [pool.submit(square, n) for n in range(number)]
            done += [pool.submit(fail, n) for n in range(3)]
    return sum(future.exception() is not None for future in done)

def encode(ffmpeg, *arguments):
    return subprocess.run([ffmpeg, "-v", "error", *arguments], stderr=subprocess.DEVNULL).returncode

def ask(query, *arguments):
    from otel_studio import api
    answer = getattr(api, query)(*arguments)
    return [record.to_dict() for record in answer] if isinstance(answer, list) else answer

def instrumentors():
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
    return sorted(
        kind.__module__ for kind in BaseInstrumentor.__subclasses__()
        if kind().is_instrumented_by_opentelemetry
    )
"""

PACKAGES = ("cachetools", "diskcache", "executors", "ffmpeg", "functools", "redis")

pytestmark = pytest.mark.slow


class Program(ConversingProcess):
    """The program, started by OpenTelemetry's own command."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        super().__init__(
            folder,
            PROGRAM,
            {
                "OTEL_PYTHON_DISTRO": "otel_studio",
                "OTEL_METRICS_EXPORTER": "prometheus",
                "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.port),
            },
            starter=(need("opentelemetry-instrument"), sys.executable),
        )

    def cache(self, name_part: str) -> dict[str, object]:
        """Return the figures of the one cache with this in its name."""
        caches = self.call("ask", "get_cache_performance_metrics")
        (found,) = [cache for cache in caches if name_part in cache["cache"]]
        return dict(found)

    def operations(self, service: str) -> dict[str, dict[str, object]]:
        services = {s["service_name"]: s for s in self.call("ask", "get_all_metrics")}
        return dict(services[service]["operation_metrics"]) if service in services else {}

    def samples(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return a metric's values on `/metrics` by its own labels."""
        status, text = http_get(self.port, "/metrics")
        assert status == 200
        return {
            tuple(
                sorted((k, v) for k, v in sample.labels.items() if not k.startswith("otel_scope"))
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    for library in ("cachetools", "diskcache", "redis"):
        pytest.importorskip(library)
    installed = {
        entry.module.removeprefix("otel_studio_instrumentation_")
        for entry in entry_points(group="opentelemetry_instrumentor")
    }
    missing = set(PACKAGES) - installed
    if missing:
        unavailable(f"instrumentations/{min(missing)} is not installed: run `make venv`")
    with Program(tmp_path) as program:
        yield program


def test_the_command_turns_every_package_on(program: Program) -> None:
    """Each installed package whose library is there is on, and the log has no complaint."""
    on = program.call("instrumentors")
    assert {f"otel_studio_instrumentation_{name}" for name in PACKAGES} <= set(on)
    assert "Traceback" not in program.output()
    assert "Failed" not in program.output()


def test_caches_of_the_process_are_as_the_program_counts_them(program: Program) -> None:
    """Cachetools and lru_cache: hits, misses, entries and evictions, in the query and the page."""
    counted = program.call("use_cachetools", 3_000)
    found = program.cache("thumbnails")
    assert {name: found[name] for name in ("hits", "misses")} == counted
    assert (found["sets"], found["evictions"]) == (counted["misses"], counted["misses"] - 20)
    assert (found["entries"], found["max_entries"]) == (20, 20)

    info = program.call("use_functools", 2_000)
    found = program.cache("square")
    assert {name: found[name] for name in ("hits", "misses", "entries")} == info
    assert found["max_entries"] == 30

    operations = program.samples("otel_studio_cache_operations_total")
    by_kind = {
        dict(labels)["studio_cache_operation"]: value
        for labels, value in operations.items()
        if dict(labels)["studio_cache"].endswith("thumbnails")
    }
    assert (by_kind["hit"], by_kind["miss"]) == (counted["hits"], counted["misses"])


def test_a_cache_on_disk_is_as_the_program_counts_it(program: Program, tmp_path: Path) -> None:
    """diskcache: hits, misses and sets."""
    counted = program.call("use_diskcache", str(tmp_path / "disk"), 400)
    found = program.cache("disk")
    assert {name: found[name] for name in ("hits", "misses")} == counted
    assert found["sets"] == counted["misses"]


def test_a_redis_server_counts_the_same(program: Program, tmp_path: Path) -> None:
    """Hits and misses equal the server's own and the program's; memory comes from the server."""
    with RedisServer(tmp_path / "redis", "--maxmemory", "50mb") as server:
        counted = program.call("use_redis", server.url, 1_000)
        found = program.cache(str(server.port))
        assert (found["hits"], found["misses"]) == (counted["hits"], counted["misses"])
        assert (found["hits"], found["misses"]) == (
            counted["server's hits"],
            counted["server's misses"],
        )
        wait_until(
            lambda: program.cache(str(server.port))["current_memory_usage_mb"] is not None,
            20,
            "the server's memory",
        )


def test_tasks_of_a_pool_are_children_of_who_submitted_them(program: Program) -> None:
    """Counts by outcome in the registry and on the page; their traces are the submitter's."""
    assert program.call("use_pool", 40) == 3
    operations = program.operations("executors")
    assert (operations["square"]["count"], operations["square"]["errors"]) == (40, 0)
    assert (operations["fail"]["count"], operations["fail"]["errors"]) == (3, 3)
    runs = program.call("ask", "get_recent_operations", "executors")
    (order,) = program.call("ask", "get_recent_operations", "shop")
    assert {run["trace_id"] for run in runs} == {order["trace_id"]}
    counts = {
        dict(labels)["executor_outcome"]: value
        for labels, value in program.samples("otel_studio_executor_task_count_total").items()
        if dict(labels)["executor_name"] == "resize"
    }
    assert {outcome: n for outcome, n in counts.items() if n} == {"completed": 40, "failed": 3}


def test_encodes_are_counted_with_their_frames(program: Program, tmp_path: Path) -> None:
    """Two real encodes and one that fails: operations, outcomes and frames."""
    ffmpeg = str(need("ffmpeg"))
    source = ("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=2")
    for name in ("a.mp4", "b.mp4"):
        assert program.call("encode", ffmpeg, *source, "-y", str(tmp_path / name)) == 0
    assert program.call("encode", ffmpeg, "-i", "none.mov", "-y", str(tmp_path / "c.mp4")) != 0
    wait_until(
        lambda: program.operations("ffmpeg").get("encode", {}).get("count") == 3,
        10,
        "three encodes",
    )
    encode = program.operations("ffmpeg")["encode"]
    assert (encode["errors"], encode["active"]) == (1, 0)
    frames = program.samples("otel_studio_ffmpeg_frames_total")
    assert sum(frames.values()) == 100
