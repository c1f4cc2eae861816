"""With providers of the program's own, the last interval of operations goes out by them, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from program import run_program

PROGRAM = """
    import atexit, json, sys
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import Histogram, MeterProvider
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality, MetricExporter, MetricExportResult, PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.trace import TracerProvider

    import otel_studio

    class Printed(MetricExporter):
        def export(self, data, timeout_millis=10_000, **options):
            for resource in data.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name == "otel_studio.operation.duration":
                            print(json.dumps([p.count for p in metric.data.data_points]))
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis=10_000):
            return True

        def shutdown(self, timeout_millis=30_000, **options):
            pass

    def reader():
        temporality = AggregationTemporality[TEMPORALITY]
        exporter = Printed(preferred_temporality={Histogram: temporality})
        return PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)

    def work():
        with otel_studio.service("shop").operation("pay"):
            pass

    def own_provider(**options):
        provider = MeterProvider([reader() for _ in range(READERS)], **options)
        metrics.set_meter_provider(provider)
        trace.set_tracer_provider(TracerProvider())
        return provider
"""


def _printed(folder: Path, body: str, temporality: str = "DELTA", readers: int = 1) -> list[object]:
    head = f"TEMPORALITY, READERS = {temporality!r}, {readers}\n"
    source = "\n".join(line.removeprefix("    ") for line in (PROGRAM + body).splitlines())
    ended = run_program(folder, head + source)
    assert ended.code == 0, ended.logged
    assert ended.logged == ""
    return [json.loads(line) for line in ended.printed.splitlines()]


@pytest.mark.parametrize("temporality", ["DELTA", "CUMULATIVE"])
def test_a_provider_that_was_there_before_us(tmp_path: Path, temporality: str) -> None:
    """Its own end comes after ours, and has the operations."""
    body = """
    own_provider()
    otel_studio.configure()
    work()
    """
    assert _printed(tmp_path, body, temporality) == [[1]]


def test_each_of_its_readers(tmp_path: Path) -> None:
    """Every one sends them, once."""
    body = """
    own_provider()
    otel_studio.configure()
    work()
    """
    assert _printed(tmp_path, body, readers=3) == [[1]] * 3


def test_what_runs_at_the_very_end_is_in_it(tmp_path: Path) -> None:
    """Operations of exit handlers that come after ours, before the provider's own."""
    body = """
    own_provider()
    atexit.register(work)
    otel_studio.configure()
    """
    assert _printed(tmp_path, body) == [[1]]


def test_shut_down_by_the_program_before_us(tmp_path: Path) -> None:
    """What ended until then is in it, and its end is not disturbed by ours."""
    body = """
    provider = own_provider(shutdown_on_exit=False)
    otel_studio.configure()
    work()
    provider.shutdown()
    otel_studio.shutdown()
    """
    assert _printed(tmp_path, body) == [[1]]


def test_shut_down_by_the_program_after_us(tmp_path: Path) -> None:
    """Ours sends what there is before it takes the operations away; a delta says it once."""
    body = """
    provider = own_provider(shutdown_on_exit=False)
    otel_studio.configure()
    work()
    otel_studio.shutdown()
    provider.shutdown()
    """
    assert _printed(tmp_path, body) == [[1]]


def test_force_flush_sends_by_it(tmp_path: Path) -> None:
    """What has ended goes out now, and the rest at the end."""
    body = """
    own_provider()
    otel_studio.configure()
    work()
    assert otel_studio.force_flush()
    print("0")
    work()
    """
    assert _printed(tmp_path, body) == [[1], 0, [1]]


def test_a_forked_child_sends_its_own(tmp_path: Path) -> None:
    """By the SDK's means, where the child shuts its provider down."""
    body = """
    import os
    provider = own_provider(shutdown_on_exit=False)
    otel_studio.configure()
    work()
    child = os.fork()
    if not child:
        work()
        work()
        provider.force_flush()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    provider.shutdown()
    """
    assert _printed(tmp_path, body) == [[2], [1]]
