"""No thread that exports ends by what foreign code raises in it, and what was lost is counted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult

import otel_studio
from otel_studio.assembly import bounded_shutdown
from otel_studio.base import guard

#: Classes: an exception that was raised would keep what raised it alive.
ERRORS = [SystemExit, KeyboardInterrupt, RuntimeError]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    guard.forget_said()
    yield
    otel_studio.shutdown(5)
    guard.forget_said()


class Logs(InMemoryLogRecordExporter):
    error: type[BaseException] | None = None

    def export(self, batch: Any) -> Any:
        if self.error is not None:
            raise self.error
        return super().export(batch)


class Metrics(MetricExporter):
    """Waits for each collection to be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.error: type[BaseException] | None = None
        self.collected: list[Any] = []
        self.came = threading.Semaphore(0)

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **_: Any) -> Any:
        try:
            if self.error is not None:
                raise self.error
            self.collected.append(metrics_data)
            return MetricExportResult.SUCCESS
        finally:
            self.came.release()

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        pass

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True


def made(signal: str, exporter: Any) -> Any:
    return mock.patch(
        f"otel_studio.assembly.from_settings.{signal}_exporter", return_value=exporter
    )


@pytest.mark.parametrize("error", ERRORS)
def test_the_thread_of_log_records_goes_on(error: type[BaseException]) -> None:
    """The batch is lost and counted, reported once; the next one is sent by the same thread."""
    exporter = Logs()
    with made("log", exporter):
        studio = otel_studio.configure(service_name="s", logs_exporter="otlp")
    exporter.error = error
    for _ in range(2):
        logging.getLogger("app").warning("lost")
        assert studio.force_flush(5) is False
    assert studio.logs is not None
    assert studio.logs.dropped["export_failed"] >= 2
    assert guard.internal_errors["exporter Logs"] == 2
    exporter.error = None
    logging.getLogger("app").warning("sent")
    # Left to the SDK's own thread, which sends what waits when it ends.
    assert otel_studio.shutdown(5)
    assert "sent" in [one.log_record.body for one in exporter.get_finished_logs()]


@pytest.mark.parametrize("error", ERRORS)
def test_the_thread_of_metrics_goes_on_after_an_export(error: type[BaseException]) -> None:
    """The next interval is exported, and the lost one is counted in data points."""
    exporter = Metrics()
    exporter.error = error
    with made("metric", exporter):
        studio = otel_studio.configure(
            service_name="s", metrics_exporter="otlp", metric_export_interval=0.1
        )
    assert exporter.came.acquire(timeout=10)
    assert exporter.came.acquire(timeout=10)
    exporter.error = None
    while not exporter.collected:
        assert exporter.came.acquire(timeout=10)
    assert studio._metrics.dropped["export_failed"] > 0
    assert guard.internal_errors["exporter Metrics"] >= 2


@pytest.mark.parametrize("error", ERRORS[:2])
def test_the_thread_of_metrics_goes_on_after_a_callback(error: type[BaseException]) -> None:
    """What a callback of the program's raises costs the instruments, not the operations."""
    exporter = Metrics()
    with made("metric", exporter):
        studio = otel_studio.configure(
            service_name="s", metrics_exporter="otlp", metric_export_interval=0.1
        )
    with otel_studio.service("s").operation("op"):
        pass

    def callback(options: Any) -> Any:
        raise error

    studio.meter.create_observable_gauge("bad", [callback])
    while "collecting metrics" not in guard.internal_errors:
        assert exporter.came.acquire(timeout=10)
    exporter.collected.clear()
    while not exporter.collected:
        assert exporter.came.acquire(timeout=10)
    [resource] = exporter.collected[-1].resource_metrics
    names = [m.name for scope in resource.scope_metrics for m in scope.metrics]
    assert "otel_studio.operation.duration" in names


def test_a_task_of_the_end_that_leaves_its_thread_is_a_failure() -> None:
    """`SystemExit` in an exporter's shutdown is told, and printed by no thread."""

    def leave() -> None:
        raise SystemExit(3)

    assert bounded_shutdown.end_within(5, {"traces": leave}, []) is False
    assert guard.internal_errors["shutting down traces"] == 1
