"""What logs keep is bounded in bytes: the records of a run, the runs that wait for a report."""

from __future__ import annotations

import gc
import logging
import threading
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult

import otel_studio
from otel_studio.base import limited
from otel_studio.logs import level_counts
from otel_studio.logs.level_counts import LevelCounts
from otel_studio.logs.run_reports import RateLimits
from otel_studio.logs.runs import RunRecords
from otel_studio.logs.sized_queue import SizedQueue
from otel_studio.spans.ended_run import KeptLog
from otel_studio.spans.light_run import LightRun
from otel_studio.spans.span import StudioSpan
from otel_studio.testing.isolation import isolated


def record(length: int, name: str = "a") -> KeptLog:
    return KeptLog(1, "INFO", name, "x" * length, None)


def test_the_oldest_records_of_a_run_go_when_all_hold_too_much() -> None:
    """The last one stays, whatever it holds; what goes is counted."""
    limited.forget_limited()
    records = RunRecords(100, 10_000)
    with isolated(), otel_studio.service("shop").operation("pay"):
        run = _current()
        for number in range(20):
            records.add(run, record(2_000, str(number)))
        assert [kept.logger for kept in run._records] == ["15", "16", "17", "18", "19"]
        records._max_bytes = 1_000
        records.add(run, record(50_000, "large"))
        assert [kept.logger for kept in run._records] == ["large"]
    assert limited.limited["log_records"] == 20


def test_short_records_are_kept_by_their_number_alone() -> None:
    """As ever: the last so many."""
    records = RunRecords(3, 10)
    with isolated(), otel_studio.service("shop").operation("pay"):
        run = _current()
        for number in range(5):
            records.add(run, record(5, str(number)))
        assert [kept.logger for kept in run._records] == ["2", "3", "4"]


def test_levels_of_any_name_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the combinations that are told apart, as many levels again; then all count together."""
    limited.forget_limited()
    monkeypatch.setattr(level_counts, "MAX_COMBINATIONS", 5)
    counts = LevelCounts()
    for number in range(100):
        counts.add("shop", "pay", f"LEVEL {number}")
    found = counts.reading().counts
    assert sum(found.values()) == 100
    assert len(found) == 11
    assert found["__other__", "__other__", "__other__"] == 90
    assert limited.limited["log_counts"] == 95


def test_a_report_that_waits_holds_little_of_its_run() -> None:
    """Its times, ids and error: what the record says, and not what the run carried."""
    with isolated() as s:
        with otel_studio.service("shop").operation("pay") as op:
            op.set_attribute("body", "b" * 100_000)
            op.fail("refused")
        with otel_studio.service("shop").operation("pay") as op:
            op.fail("refused")
        large, small = s.spans
    rates = RateLimits(10)
    reports = [rates.admit(run, logging.ERROR) for run in (large, small)]  # type: ignore[arg-type]
    runs = [None if report is None else report.run for report in reports]
    assert type(runs[0]) is LightRun
    assert runs[0]._trace_id == large._trace_id  # type: ignore[attr-defined]
    assert type(runs[1]) is StudioSpan


def _current() -> Any:
    from opentelemetry import trace

    return trace.get_current_span()


class _Exporter:
    """Can be held; keeps how long the bodies were."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.lengths: list[int] = []

    def export(self, batch: Any) -> Any:
        self.gate.wait(20)
        self.lengths += [len(one.log_record.body) for one in batch]
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        self.gate.set()


def test_large_records_that_wait_for_export_are_bounded_in_bytes() -> None:
    """One that finds no room is dropped and counted; small ones pass; sent ones make room."""
    limited.forget_limited()
    exporter = _Exporter()
    queue = SizedQueue(exporter, 200_000)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(queue)
    logger = provider.get_logger("a")
    for length in (80_000, 80_000, 80_000, 10):
        logger.emit(LogRecord(body="x" * length))
    assert limited.limited["log_export_queue"] == 1
    assert queue.bytes_waiting > 160_000
    exporter.gate.set()
    assert provider.force_flush(5_000)
    assert exporter.lengths == [80_000, 80_000, 10]
    gc.collect()
    assert queue.bytes_waiting == 0
    logger.emit(LogRecord(body="x" * 150_000))
    assert provider.force_flush(5_000)
    assert exporter.lengths[-1] == 150_000
    provider.shutdown()


def test_the_room_of_logs_bounds_its_queues() -> None:
    """By the setting for export queues."""
    with isolated(logging=True, logs_exporter="console", max_export_bytes=70_000) as s:
        logs = s.studio.logs
        assert logs is not None
        assert logs._export is not None
        several: Any = logs._export.provider._multi_log_record_processor
        sizes = [
            one._max_bytes for one in several._log_record_processors if type(one) is SizedQueue
        ]
        assert sizes == [70_000]
