"""Every store of ours is filled far past its bound, and the memory of the process is looked at."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from program import run_program

MEASURE = """
import ctypes, gc, logging, os, sys, threading
import psutil
import otel_studio
from otel_studio import api
from otel_studio.base.limited import limited

{configure}

def megabytes():
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        pass
    return psutil.Process().memory_info().rss / 1e6

def self_metric():
    counts = {{}}
    for line in api.export_metrics_prometheus().splitlines():
        if line.startswith("otel_studio_self_size_limited_total"):
            counts[line.split('store="')[1].split('"')[0]] = float(line.split()[-1])
    return counts

{prepare}
before = megabytes()
{fill}
grown = megabytes() - before
print(f"grown {{grown:.1f}}", flush=True)
print("stores", *({stores}), flush=True)
os._exit(0)
"""


@dataclass(frozen=True)
class Store:
    """One store: how it is filled, and what the process may grow by."""

    name: str
    fill: str
    most: float
    settings: str = ""
    prepare: str = ""
    #: Under which name the self metric counts what found no room.
    counted: str = ""
    #: Whether the self metric is asked; else what is counted is looked at.
    is_asked: bool = True


STORES = (
    Store(
        "large attributes of kept runs",
        """
        service = otel_studio.service("llm")
        for number in range(30 * 100):
            with service.operation(f"chat {number % 100}") as op:
                op.set_attribute("prompt", f"{number} " + "x" * 50_000)
        api.get_all_metrics()
        """,
        45,
        counted="runs",
    ),
    Store(
        "all samples together",
        """
        service = otel_studio.service("shop")
        for number in range(3 * 2_000):
            with service.operation(f"op {number % 2_000}") as op:
                op.set_attribute("body", f"{number} " + "x" * 15_000)
        api.get_all_metrics()
        """,
        50,
        settings="max_sample_bytes=8_000_000, max_operations_per_service=2_000",
        counted="samples",
    ),
    Store(
        "error groups with long messages",
        """
        service = otel_studio.service("shop")
        for number in range(5_000):
            kind = type(f"Error{number}" + "x" * 2_000, (Exception,), {})
            with service.operation(f"op {number % 200}") as op:
                trace.get_current_span().add_event("answer", {"body": f"{number} " + "y" * 20_000})
                op.fail(kind("z" * 20_000))
        api.get_error_statistics()
        """,
        60,
        settings="max_sample_bytes=8_000_000",
        prepare="from opentelemetry import trace",
        counted="samples",
    ),
    Store(
        "services past their bound",
        """
        for number in range(20_000):
            with otel_studio.service(f"service {number}").operation("run"):
                pass
        api.get_all_metrics()
        """,
        25,
        settings="max_services=100",
        counted="services",
    ),
    Store(
        "declared services that run nothing",
        """
        for number in range(200_000):
            otel_studio.service(f"service {number}")
        api.get_all_metrics()
        """,
        15,
        settings="max_services=100",
        counted="services",
    ),
    Store(
        "tracers of distinct scopes",
        """
        from opentelemetry import trace
        for number in range(100_000):
            trace.get_tracer(f"scope {number}")
        """,
        15,
        counted="tracers",
    ),
    Store(
        "operations past their bound",
        """
        service = otel_studio.service("shop")
        for number in range(50_000):
            with service.operation(f"GET /clips/{number}"):
                pass
        api.get_all_metrics()
        """,
        20,
        settings="max_operations_per_service=200",
    ),
    Store(
        "declarations of operations",
        """
        for number in range(100_000):
            track = otel_studio.track(f"op {number}", service="s", slow_threshold=1, labels=("a",))
            track(lambda: None)()
        """,
        60,
        settings="max_operations_per_service=100",
        counted="declared",
    ),
    Store(
        "large cache keys",
        """
        cache = otel_studio.cache("previews")
        for number in range(200):
            key = (os.urandom(2_000_000), number)
            cache.miss(key)
            cache.set(key, 10)
        api.get_cache_performance_metrics()
        """,
        50,
        counted="cache_keys",
    ),
    Store(
        "spans that wait for an exporter that hangs",
        """
        service = otel_studio.service("shop")
        for number in range(6_000):
            with service.operation("pay") as op:
                op.set_attribute("body", f"{number} " + "x" * 50_000)
        api.get_all_metrics()
        """,
        60,
        settings="max_export_bytes=16_000_000",
        prepare="""
        from opentelemetry.sdk.trace.export import SpanExporter
        class Hanging(SpanExporter):
            def export(self, spans):
                threading.Event().wait()
        otel_studio.current().add_span_exporter(Hanging())
        """,
        counted="export_queue",
    ),
    Store(
        "batches that wait for a consumer that hangs",
        """
        service = otel_studio.service("shop")
        for number in range(6_000):
            with service.operation("pay") as op:
                op.set_attribute("body", f"{number} " + "x" * 50_000)
        """,
        140,
        is_asked=False,  # a query would wait for the consumer
        counted="handover",
        prepare="""
        class Hanging:
            def consume(self, spans):
                threading.Event().wait()
        otel_studio.current().tracer_provider.add_span_processor(Hanging())
        """,
    ),
    Store(
        "spans that wait to be folded",
        """
        import resource
        service = otel_studio.service("shop")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(3_000):
            with service.operation("pay") as op:
                op.set_attribute("body", f"{number} " + "x" * 300_000)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most) / 1e3
        assert peak < 150, f"it took {peak} MB meanwhile"
        """,
        40,
        settings="fold_interval=60",
    ),
    Store(
        "log records of open runs",
        """
        runs = [otel_studio.service("s").operation("run") for _ in range(1_000)]
        for run in runs:
            with run:
                for number in range(30):
                    logging.getLogger("a").warning("%d %s", number, "x" * 5_000)
                held.append(run)
        """,
        60,
        settings="logging=True, log_records_per_run=1_000, slow_threshold=0",
        prepare="""
        held = []
        logging.getLogger("a").propagate = False
        logging.getLogger("a").addHandler(logging.NullHandler())
        """,
        counted="log_records",
    ),
    Store(
        "levels and operations of log records",
        """
        for number in range(100_000):
            logging.addLevelName(50 + number, f"LEVEL {number}")
            logging.getLogger("a").log(50 + number, "hello")
            logging._levelToName.pop(50 + number)
            logging._nameToLevel.pop(f"LEVEL {number}")
        api.get_log_counts()
        """,
        25,
        settings="logging=True",
        prepare="""
        logging.getLogger("a").propagate = False
        logging.getLogger("a").addHandler(logging.NullHandler())
        """,
        counted="log_counts",
    ),
    Store(
        "names that redaction remembers",
        """
        for number in range(20_000):
            with otel_studio.service("s").operation("run") as op:
                op.set_attribute(f"{number}" + "k" * 5_000, 1)
        api.get_all_metrics()
        """,
        25,
    ),
    Store(
        "what readers and scrapes had before a reset",
        """
        for round in range(40):
            service = otel_studio.service("s")
            for number in range(500):
                with service.operation(f"{round} {number} " + "n" * 200) as op:
                    op.set_attribute("body", f"{number}" + "x" * 2_000)
            api.export_metrics_prometheus()
            otel_studio.current().meter_provider.force_flush()
            api.reset_service_metrics("s")
        """,
        35,
        prepare="""
        from opentelemetry.sdk.metrics import Histogram
        from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
        """,
    ),
)


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
@pytest.mark.timeout(120)
def test_a_store_that_is_filled_keeps_to_its_bound(store: Store, tmp_path: Path) -> None:
    """The process grows by no more than the bound, and what found no room is counted."""
    program = MEASURE.format(
        configure="otel_studio.configure("
        f"service_name='x', process=False, gpu=False, {store.settings})",
        prepare=textwrap.dedent(store.prepare),
        fill=textwrap.dedent(store.fill),
        stores="self_metric()" if store.is_asked else "limited",
    )
    ended = run_program(tmp_path, program, timeout=100)
    assert ended.code == 0, ended.logged
    lines = dict(line.partition(" ")[::2] for line in ended.printed.splitlines())
    assert float(lines["grown"]) <= store.most, f"{store.name}: {lines['grown']} MB"
    if store.counted:
        assert store.counted in lines["stores"].split(), ended.printed
