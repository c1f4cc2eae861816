"""The monitor as a whole: instruments, two readers, forks, eight hours, memory by service."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from forked import in_forked_child
from otel_studio.base import guard
from otel_studio.base.clock import ManualClock, SystemClock
from otel_studio.process.instruments import FIGURES
from otel_studio.process.monitor import ProcessMonitor

import proving
from parts import wait_until

Points = dict[str, dict[tuple[tuple[str, Any], ...], Any]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def monitor(clock: ManualClock) -> Iterator[ProcessMonitor]:
    monitor = ProcessMonitor(clock)
    yield monitor
    monitor.stop()


def points_of(reader: InMemoryMetricReader) -> Points:
    data = reader.get_metrics_data()
    points: Points = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    key = tuple(sorted((point.attributes or {}).items()))
                    points.setdefault(metric.name, {})[key] = point.value  # type: ignore[union-attr]
    return points


def readers_of(monitor: ProcessMonitor, count: int = 1) -> list[InMemoryMetricReader]:
    readers = [InMemoryMetricReader() for _ in range(count)]
    monitor.register_instruments(MeterProvider(readers).get_meter("otel_studio"))
    return readers


def test_names_and_units_are_those_of_the_conventions() -> None:
    """Whatever OpenTelemetry names carries its name, unit and kind."""
    from opentelemetry.semconv._incubating.metrics import (
        cpython_metrics,
        process_metrics,
        system_metrics,
    )

    said: dict[str, tuple[str, str]] = {}
    for module in (cpython_metrics, process_metrics, system_metrics):
        lines = Path(module.__file__).read_text().splitlines()
        name = kind = ""
        for line in lines:
            if ": Final = " in line:
                name = line.partition('"')[2].rstrip('"')
            elif line.startswith("Instrument: "):
                kind = line.removeprefix("Instrument: ")
            elif line.startswith("Unit: "):
                said[name] = (kind, line.removeprefix("Unit: "))
    kinds = {"counter": "counter", "up_down_counter": "updowncounter", "gauge": "gauge"}
    conventional = [f for f in FIGURES if not f.name.startswith("otel_studio.")]
    # The oldest release that is supported lacks the newest names.
    known = [figure for figure in conventional if figure.name in said]
    assert len(known) >= len(conventional) - 1
    for figure in known:
        assert said[figure.name] == (kinds[figure.kind], figure.unit), figure.name
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)


def test_the_figures_arrive_as_points(monitor: ProcessMonitor, clock: ManualClock) -> None:
    """Each figure of the process arrives with its attributes and a plausible value."""
    (reader,) = readers_of(monitor)
    points = points_of(reader)
    assert points["process.memory.usage"][()] > 1_000_000
    assert points["process.thread.count"][()] >= 1
    assert {key[0] for key in points["process.cpu.time"]} == {
        ("cpu.mode", "user"),
        ("cpu.mode", "system"),
    }
    assert {key[0][1] for key in points["process.paging.faults"]} == {"minor", "major"}
    states = points["system.memory.usage"].values()
    assert sum(states) == points["system.memory.limit"][()]
    assert sum(points["system.memory.utilization"].values()) == pytest.approx(1)
    assert points["cpython.gc.collections"][(("cpython.gc.generation", 0),)] > 0


def test_two_readers_see_the_same_right_values(clock: ManualClock) -> None:
    """A reader each 5 s and one each 60 s agree; neither takes the other's processor time."""
    monitor = ProcessMonitor(clock)
    often, seldom = readers_of(monitor, 2)
    assert "process.cpu.utilization" not in points_of(often)
    assert "process.cpu.utilization" not in points_of(seldom)
    spent = 0
    for _ in range(12):
        clock.advance(5)
        spent += sum(number * number for number in range(20_000))
        last = points_of(often)
        assert 0 < sum(last["process.cpu.utilization"].values()) < 1
    assert points_of(seldom) == last
    assert spent


def test_one_reading_serves_a_whole_collection(monitor: ProcessMonitor, clock: ManualClock) -> None:
    """All gauges of a collection come from one reading; half a second later it is a new one."""
    first = monitor.reading()
    assert monitor.reading() is first
    clock.advance(0.49)
    assert monitor.reading() is first
    clock.advance(0.01)
    assert monitor.reading() is not first


def test_utilization_agrees_with_the_seconds_spent(clock: ManualClock) -> None:
    """Utilization times window and processors is the growth of process.cpu.time."""
    monitor = ProcessMonitor(clock)
    (reader,) = readers_of(monitor)
    before = monitor.reading().counted("cpu_user_ns")
    assert sum(number % 7 for number in range(300_000))
    clock.advance(5)
    points = points_of(reader)
    cpus = points["otel_studio.process.cpu.available"][()]
    user = points["process.cpu.utilization"][(("cpu.mode", "user"),)] * 5 * cpus
    after = points["process.cpu.time"][(("cpu.mode", "user"),)]
    assert before is not None
    assert user == pytest.approx(after - before / 1e9, abs=1e-6)


def test_what_has_no_source_leaves_no_point(tmp_path: Path, clock: ManualClock) -> None:
    """Without /proc and psutil the remaining figures arrive, and no zero stands for the rest."""
    monitor = ProcessMonitor(clock, root=str(tmp_path), psutil=lambda: None)
    (reader,) = readers_of(monitor)
    points = points_of(reader)
    assert "process.cpu.time" in points
    assert "cpython.gc.collections" in points
    absent = {"process.memory.usage", "process.disk.io", "system.memory.usage", "process.uptime"}
    assert not absent & points.keys()
    usage = monitor.memory_usage_metrics()
    assert (usage.total_memory_mb, usage.limit_mb, usage.process_utilization) == (None, None, None)


def test_a_source_that_fails_costs_only_its_own_figures(
    monitor: ProcessMonitor,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What cannot be read is said once and left out; all other figures arrive."""
    guard.forget_said()
    (reader,) = readers_of(monitor)

    def broken() -> None:
        raise OSError("gone")

    monkeypatch.setattr(monitor._host._system, "read", broken)
    for _ in range(3):
        clock.advance(5)
        points = points_of(reader)
        assert "system.memory.limit" not in points
        assert points["process.memory.usage"][()] > 0
    assert caplog.text.count("the figures of the system failed") == 1
    guard.forget_said()


def test_a_collection_survives_a_reading_that_fails(
    monitor: ProcessMonitor, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instrument of the program's own arrives whatever becomes of ours."""
    guard.forget_said()
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("program")
    monitor.register_instruments(meter)
    meter.create_counter("orders").add(1)

    def broken() -> None:
        raise OSError("gone")

    monkeypatch.setattr(monitor, "_read", broken)
    clock.advance(5)
    assert list(points_of(reader)) == ["orders"]
    guard.forget_said()


def test_two_hundred_megabytes_appear_under_their_service_and_go_again(
    monitor: ProcessMonitor, clock: ManualClock
) -> None:
    """An array of 200 MB counts for its service, in the query and in metrics, until it goes."""
    np = pytest.importorskip("numpy")
    (reader,) = readers_of(monitor)
    before = monitor.memory_usage_metrics()
    array = np.ones(25_000_000)
    monitor.memory.track("preview-service", array)
    clock.advance(5)
    during = monitor.memory_usage_metrics()
    service = during.services["preview-service"]
    assert service.memory_mb == pytest.approx(200, abs=0.01)
    assert service.measured_by["memory_mb"] == "the size of 1 object"
    assert before.total_memory_mb is not None
    assert during.total_memory_mb is not None
    assert during.total_memory_mb - before.total_memory_mb == pytest.approx(200, abs=20)
    assert service.percentage == pytest.approx(200 / during.total_memory_mb * 100, abs=0.1)
    key = (("studio.service", "preview-service"),)
    assert points_of(reader)["otel_studio.service.memory.usage"][key] == pytest.approx(2e8, abs=200)
    del array
    clock.advance(5)
    after = monitor.memory_usage_metrics()
    assert after.services["preview-service"].memory_mb == 0
    assert after.services["preview-service"].peak_memory_mb == pytest.approx(200, abs=0.01)
    assert after.total_memory_mb is not None
    assert after.total_memory_mb < during.total_memory_mb - 150
    assert after.peak_memory_mb is not None
    assert after.peak_memory_mb >= during.total_memory_mb * 0.99
    points = points_of(reader)
    assert points["otel_studio.service.memory.usage"][key] == 0
    assert points["otel_studio.service.memory.peak"][key] == pytest.approx(2e8, abs=200)


def test_the_record_is_whole_and_serializes(clock: ManualClock) -> None:
    """The query's record carries the design's fields, and goes to JSON as it is."""
    monitor = ProcessMonitor(
        clock, sample_operations=1, service_names=lambda: [__name__, "quiet-service"]
    )
    monitor.memory.track("cache-service", lambda: 1_500_000)
    sampler = monitor.operation_allocations
    assert sampler is not None
    sampler.end(sampler.begin(), "cache-service", "clear_all")
    assert monitor.trace_allocations(1)
    keep = [bytes(1_000) for _ in range(1_000)]
    clock.advance(5)
    usage = monitor.memory_usage_metrics()
    record = json.loads(usage.to_json())
    cache = record["services"]["cache-service"]
    assert cache["memory_mb"] == 1.5
    assert cache["peak_memory_mb"] == 1.5
    assert cache["allocations"] is not None
    assert "1 sampled runs" in cache["measured_by"]["allocations"]
    assert "quiet-service" not in record["services"]  # nothing of it was measured
    traced = record["services"][__name__]
    assert traced["memory_mb"] == pytest.approx(1.0, rel=0.1)
    assert traced["measured_by"]["memory_mb"].startswith("traced for 5.0 s")
    assert record["pid"] == os.getpid()
    assert record["gc_stats"]["collections"] == sum(
        row["collections"] for row in record["gc_stats"]["generations"]
    )
    assert record["gc_stats"]["average_collection_time_ms"] is None  # nothing was timed
    assert 0 <= record["fragmentation"]["ratio"] < 1
    assert record["memory_alerts"] == []
    assert len(keep) == 1_000


def test_collections_are_timed_while_the_monitor_runs(monitor: ProcessMonitor) -> None:
    """Average and longest pause come from the collections since the start."""
    monitor.start()
    gc.collect()
    stats = monitor.memory_usage_metrics().gc_stats
    assert stats.timed_collections >= 1
    assert stats.average_collection_time_ms is not None
    assert stats.longest_collection_ms is not None
    assert stats.longest_collection_ms >= stats.average_collection_time_ms > 0
    assert stats.enabled == gc.isenabled()
    interpreter = gc.get_stats()
    assert stats.collections <= sum(row["collections"] for row in interpreter)


def test_alerts_follow_the_limit_of_the_group(tmp_path: Path, clock: ManualClock) -> None:
    """A process close to its group's limit raises an alert that says both numbers."""
    for name in ("statm", "status"):
        (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc/self" / name).write_text(Path(f"/proc/self/{name}").read_text())
    pages = int((tmp_path / "proc/self/statm").read_text().split()[1])
    limit = round(pages * os.sysconf("SC_PAGE_SIZE") / 0.9)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "proc/self/mountinfo").write_text("1 0 0:1 / /cg rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 99999999 kB\nMemFree: 9999 kB\n")
    (tmp_path / "cg").mkdir()
    (tmp_path / "cg/memory.max").write_text(str(limit))
    (tmp_path / "cg/memory.current").write_text(str(limit // 2))
    monitor = ProcessMonitor(clock, root=str(tmp_path), psutil=lambda: None)
    usage = monitor.memory_usage_metrics()
    assert usage.limit_source == "cgroup v2"
    assert usage.system_utilization == pytest.approx(0.5, abs=0.01)
    (alert,) = usage.memory_alerts
    assert (alert.alert_type, alert.severity) == ("high_process_memory", "warning")
    assert (alert.current_value, alert.threshold_value) == (pytest.approx(0.9, abs=0.001), 0.85)
    monitor.set_memory_alert_thresholds({"max_process_utilization": 0.95})
    assert monitor.memory_usage_metrics().memory_alerts == []


def test_the_thread_starts_once_and_ends(monitor: ProcessMonitor) -> None:
    """start() and stop() may be called again; nothing of ours is left in the interpreter."""
    before = list(gc.callbacks)
    monitor.start()
    monitor.start()
    ours = [t for t in threading.enumerate() if t.name == "otel-studio-process"]
    assert len(ours) == 1
    assert ours[0].daemon
    monitor.stop()
    monitor.stop()
    ours[0].join(5)
    assert not ours[0].is_alive()
    assert gc.callbacks == before
    monitor.start()
    assert monitor.reading().latest.pid == os.getpid()


def test_a_forked_child_reports_its_own(clock: ManualClock) -> None:
    """A child has its own figures, counts from zero, and a live thread once it asks."""
    monitor = ProcessMonitor(clock)
    monitor.memory.track("a", lambda: 1_000)
    monitor.start()
    (reader,) = readers_of(monitor)
    parent = points_of(reader)
    gc.collect()

    def in_child() -> dict[str, Any]:
        gc.disable()
        held = bytearray(b"x" * 60_000_000)
        monitor.after_fork_in_child()
        before = [thread.name for thread in threading.enumerate()]
        usage = monitor.memory_usage_metrics()
        wait_until(lambda: monitor._worker.is_running, what="the thread")
        after = [thread.name for thread in threading.enumerate()]
        points = points_of(reader)
        answer = {
            "pid": usage.pid == os.getpid(),
            "rss": usage.total_memory_mb,
            "threads": [names.count("otel-studio-process") for names in (before, after)],
            "collections": usage.gc_stats.collections,
            "cpu": sum(points["process.cpu.time"].values()),
            "service": usage.services["a"].memory_mb,
            "held": len(held),
        }
        monitor.stop()
        return answer

    child = in_forked_child(in_child)
    monitor.stop()
    assert child["pid"] is True
    assert child["rss"] > 60
    assert child["threads"] == [0, 1]  # none is started inside the fork's own hook
    assert child["collections"] == 0
    assert child["service"] == 0.001
    assert child["cpu"] < sum(parent["process.cpu.time"].values()) + 1


def test_a_fork_while_another_thread_reads_leaves_the_child_able(clock: ManualClock) -> None:
    """Locks that other threads held at the fork are not waited for in the child."""
    monitor = ProcessMonitor(clock)
    with_lock, release = threading.Event(), threading.Event()

    def hold() -> None:
        with monitor._lock, monitor.memory._lock, monitor._loops._lock, monitor._tracer._lock:
            with_lock.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    with_lock.wait()

    def in_child() -> bool:
        monitor.after_fork_in_child()
        monitor.tick()
        return monitor.memory_usage_metrics().pid == os.getpid()

    try:
        assert in_forked_child(in_child) is True
    finally:
        release.set()
        thread.join()


def test_a_slow_probe_holds_up_no_reader(monitor: ProcessMonitor, clock: ManualClock) -> None:
    """While a probe of the program takes its time, figures are read all the same."""
    entered, release = threading.Event(), threading.Event()

    def slow() -> int:
        entered.set()
        release.wait()
        return 5

    monitor.memory.track("slow-service", slow)
    thread = threading.Thread(target=monitor.tick)
    thread.start()
    entered.wait()
    clock.advance(0.5)
    assert monitor.reading().latest.unix_ns == clock.time_ns()
    assert monitor.memory_usage_metrics().services == {}
    release.set()
    thread.join()
    assert monitor.memory_usage_metrics().services["slow-service"].memory_mb == 5e-6


def test_a_probe_may_ask_for_figures(monitor: ProcessMonitor) -> None:
    """A probe that asks what it is asked for is not asked again inside of itself."""
    asked: list[int] = []

    def probe() -> int:
        asked.append(len(monitor.memory_usage_metrics().services))
        return 5

    monitor.memory.track("a", probe)
    assert monitor.memory_usage_metrics().services["a"].memory_mb == 5e-6
    assert asked == [0]


def test_a_handler_that_raises_while_probes_are_asked_ends_no_sampling(
    monitor: ProcessMonitor, clock: ManualClock
) -> None:
    """A time limit that strikes inside a probe is passed on, and the next sample asks again."""
    strike = [True]

    def probe() -> int:
        if strike[0]:
            raise KeyboardInterrupt
        return 5

    monitor.memory.track("a", probe)
    with pytest.raises(KeyboardInterrupt):
        monitor.memory_usage_metrics()
    strike[0] = False
    assert monitor.memory_usage_metrics().services["a"].memory_mb == 5e-6


def test_a_log_handler_that_asks_from_another_thread_gets_an_answer(
    monitor: ProcessMonitor, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No lock is held while a failed source is said: handlers may do what they like."""
    guard.forget_said()
    answered: list[bool] = []

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            thread = threading.Thread(target=monitor._take, args=(0.0,))
            thread.start()
            thread.join(10)
            answered.append(not thread.is_alive())

    def broken() -> None:
        raise OSError("gone")

    handler = Asking()
    monkeypatch.setattr(monitor._host._system, "read", broken)
    guard.logger.addHandler(handler)
    try:
        clock.advance(5)
        monitor.reading()
    finally:
        guard.logger.removeHandler(handler)
        guard.forget_said()
    assert answered == [True]


def test_a_thread_that_was_killed_is_started_anew(monitor: ProcessMonitor) -> None:
    """The next question brings it back."""
    monitor.start()
    worker = monitor._worker
    worker.stop(10)
    worker.allow()  # as if it had ended by itself
    assert not worker.is_running
    monitor.reading()
    wait_until(lambda: worker.is_running, what="the thread")


@pytest.mark.patient
@pytest.mark.prove
def test_eight_hours_stay_bounded(clock: ManualClock) -> None:
    """Eight simulated hours of ticks, services and collections leave the same memory behind."""
    monitor = ProcessMonitor(clock, sample_operations=1)
    (reader,) = readers_of(monitor)
    sampler = monitor.operation_allocations
    assert sampler is not None
    sizes = [0]
    monitor.memory.track("cache-service", lambda: sizes[0])

    def hours(count: float) -> None:
        for step in range(round(count * 3600 / 60)):
            clock.advance(60)
            sizes[0] = step % 100
            monitor.tick()
            monitor.memory.track("preview-service", [step]).close()
            sampler.end(sampler.begin(), "a", f"op{step % 10}")
            points_of(reader)

    hours(0.5)
    gc.collect()
    before = sys.getallocatedblocks()
    hours(proving.scaled(8, 4))
    gc.collect()
    assert sys.getallocatedblocks() - before < 500
    usage = monitor.memory_usage_metrics()
    assert usage.services["cache-service"].peak_memory_mb == 99e-6


def test_the_system_clock_works_as_well() -> None:
    """Outside of tests the monitor runs on the machine's clocks."""
    assert ProcessMonitor(SystemClock()).memory_usage_metrics().timestamp is not None
