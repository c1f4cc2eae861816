"""Memory by service and the process's own figures, against what the kernel says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conversing_process import ConversingProcess

from child_process import http_get
from parts import ROOT, free_port, wait_until

PROGRAM = """
import gc, os, threading
import otel_studio
from forked import in_forked_child
from parts import wait_until
from otel_studio import api

otel_studio.configure(metrics_exporter="prometheus", service_name="studio-of-frames")

frames, words = {}, {"a": "b"}
open_files, parked = [], threading.Event()
otel_studio.service("frame-store").track_memory(lambda: sum(map(len, frames.values())))
otel_studio.service("index").track_memory(words)

def memory():
    return api.get_memory_usage_metrics().to_dict()

def hold(megabytes):
    # Every page is written to: what is only reserved takes no memory.
    frames["film"] = bytearray(b"f") * (megabytes * 1_000_000)

def drop():
    frames.clear()

def open_and_park(files, threads):
    open_files.extend(open(os.devnull) for _ in range(files))
    for _ in range(threads):
        threading.Thread(target=parked.wait, daemon=True).start()

def collect():
    gc.disable()
    full = gc.get_stats()[2]["collections"]
    while gc.get_stats()[2]["collections"] == full:
        gc.collect()  # does nothing while a collection of another thread is under way
    answer = gc.get_stats(), api.get_memory_usage_metrics().gc_stats.to_dict()
    gc.enable()
    return answer

def child_with(megabytes):
    def child():
        before = memory()
        held = bytearray(b"c") * (megabytes * 1_000_000)
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        grown = lambda: memory()["total_memory_mb"] > before["total_memory_mb"] + megabytes / 2
        wait_until(grown, 5, "the child's own memory to be read")
        return {
            "before": before,
            "after": memory(),
            "text": api.export_metrics_prometheus(),
            "resident": int(status["VmRSS"].split()[0]) * 1024,
            "threads": int(status["Threads"]),
        }
    return in_forked_child(child)
"""

pytestmark = pytest.mark.slow


class Program(ConversingProcess):
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        environment = {
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.port),
            # Its thread ends by itself where there is no driver, whenever that is found out.
            "OTEL_STUDIO_GPU": "false",
            "PYTHONPATH": str(ROOT / "tests" / "support"),
        }
        super().__init__(folder, PROGRAM, environment)

    def samples(self) -> dict[tuple[str, str], float]:
        status, text = http_get(self.port, "/metrics")
        assert status == 200
        return samples_in(text)

    def from_proc(self) -> dict[str, int]:
        """Return sizes in bytes and counts as the kernel has them."""
        folder = Path("/proc") / str(self.pid)
        lines = (folder / "status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        return {
            "resident": int(status["VmRSS"].split()[0]) * 1024,
            "peak": int(status["VmHWM"].split()[0]) * 1024,
            "virtual": int(status["VmSize"].split()[0]) * 1024,
            "threads": int(status["Threads"]),
            "descriptors": len(list((folder / "fd").iterdir())),
        }


def samples_in(text: str) -> dict[tuple[str, str], float]:
    """Return values by metric and service, which is "" for the process's own."""
    return {
        (sample.name, sample.labels.get("studio_service", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path) as program:
        yield program


def resident_once(program: Program, low: float, high: float) -> dict[str, Any]:
    """Return the memory once the process's is within limits: a reading serves half a second."""

    def within() -> dict[str, Any] | None:
        memory: dict[str, Any] = program.call("memory")
        return memory if low <= memory["total_memory_mb"] <= high else None

    return wait_until(within, 5, f"{low:.0f} to {high:.0f} MB") or {}


def held_by(memory: dict[str, Any], service: str) -> float:
    return float(memory["services"][service]["memory_mb"])


def test_what_a_service_allocates_appears_under_it_and_goes_away(program: Program) -> None:
    """200 MB of one service: in its figure and the process's, and in no other service's."""
    held, resident = "otel_studio_service_memory_usage_bytes", "process_memory_usage_bytes"
    peak = "otel_studio_service_memory_peak_bytes"
    before = program.call("memory")
    assert held_by(before, "frame-store") == 0

    program.call("hold", 200)
    base = before["total_memory_mb"]
    assert held_by(program.call("memory"), "frame-store") == 200
    during = resident_once(program, base + 190, base + 210)
    assert held_by(during, "frame-store") == 200
    assert held_by(during, "index") == held_by(before, "index") < 0.01
    share = 100 * 200 / during["total_memory_mb"]
    assert during["services"]["frame-store"]["percentage"] == pytest.approx(share, rel=0.01)
    wait_until(
        lambda: program.samples()[held, "frame-store"] == 200_000_000, what="it to be on /metrics"
    )
    samples = program.samples()
    assert samples[held, "index"] < 10_000
    assert samples[resident, ""] == pytest.approx(during["total_memory_mb"] * 1e6, rel=0.02)

    program.call("drop")
    assert held_by(program.call("memory"), "frame-store") == 0
    after = resident_once(program, base - 10, base + 10)
    assert held_by(after, "frame-store") == 0
    assert after["services"]["frame-store"]["peak_memory_mb"] == 200
    assert after["peak_memory_mb"] == pytest.approx(during["total_memory_mb"], rel=0.01)
    wait_until(lambda: program.samples()[held, "frame-store"] == 0, what="it to leave /metrics")
    assert program.samples()[peak, "frame-store"] == 200_000_000


def test_the_process_is_as_the_kernel_says(program: Program) -> None:
    """Memory, its peak, threads and descriptors, in the query and on `/metrics`."""
    expected = program.from_proc()
    differing: list[str] = []
    for files, threads in ((0, 0), (5, 3)):
        program.call("open_and_park", files, threads)
        expected["descriptors"] += files
        expected["threads"] += threads

        # One reading serves everyone for half a second, so the new one is awaited.
        try:
            wait_until(lambda: is_as(expected, program, differing), 10)
        except AssertionError:
            pytest.fail(f"after 10 s these differ: {', '.join(differing)}")


def is_as(expected: dict[str, int], program: Program, differing: list[str]) -> bool:
    """Compare the query and `/metrics` with the kernel; name what differs in the list."""
    memory, samples, kernel = program.call("memory"), program.samples(), program.from_proc()
    assert memory["pid"] == program.pid
    assert memory["unique_memory_mb"] <= memory["total_memory_mb"]
    resident = samples["process_memory_usage_bytes", ""]
    threads = samples["process_thread_count", ""]
    descriptors = samples["process_unix_file_descriptor_count", ""]
    pairs = {
        "resident": (memory["total_memory_mb"] * 1e6, kernel["resident"], 1e6),
        "resident on /metrics": (resident, kernel["resident"], 1e6),
        "peak": (memory["peak_memory_mb"] * 1e6, kernel["peak"], 1e6),
        "virtual": (memory["virtual_memory_mb"] * 1e6, kernel["virtual"], 1e6),
        # A scrape has a connection and a thread of its own.
        "threads": (memory["threads"] - 0.5, expected["threads"], 0.5),
        "threads on /metrics": (threads - 0.5, expected["threads"], 0.5),
        "descriptors on /metrics": (descriptors - 0.5, expected["descriptors"], 0.5),
    }
    differing[:] = [
        f"{name}: {ours} and not {theirs}"
        for name, (ours, theirs, tolerance) in pairs.items()
        if abs(ours - theirs) > tolerance
    ]
    return not differing


def test_collections_are_as_the_interpreter_says(program: Program) -> None:
    """Counts by generation equal `gc.get_stats()`, and a full collection adds to them."""
    stats, ours = program.call("collect")
    _, later = program.call("collect")
    assert [
        (row["collections"], row["objects_freed"], row["uncollectable"])
        for row in ours["generations"]
    ] == [(row["collections"], row["collected"], row["uncollectable"]) for row in stats]
    assert later["generations"][2]["collections"] > ours["generations"][2]["collections"]
    assert later["average_collection_time_ms"] > 0


def test_a_forked_child_reports_its_own(program: Program) -> None:
    """Its process id, memory, threads and peak are the child's; the parent's stay the parent's."""
    program.call("hold", 100)
    parent = resident_once(program, 110, 1_000)
    child = program.call("child_with", 50)
    after = program.call("memory")

    assert child["before"]["pid"] == child["after"]["pid"] != program.pid == after["pid"]
    grown = child["after"]["total_memory_mb"] - child["before"]["total_memory_mb"]
    assert grown == pytest.approx(50, abs=10)
    assert child["after"]["total_memory_mb"] * 1e6 == pytest.approx(child["resident"], rel=0.03)
    # The question itself may have had a thread of ours start after it was answered.
    assert child["after"]["threads"] in (child["threads"], child["threads"] - 1)
    # What the program holds was forked with it, and is still its service's.
    assert held_by(child["after"], "frame-store") == 100
    samples = samples_in(child["text"])
    assert samples["process_memory_usage_bytes", ""] == pytest.approx(child["resident"], rel=0.03)
    assert after["total_memory_mb"] == pytest.approx(parent["total_memory_mb"], abs=10)
