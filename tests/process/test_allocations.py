"""Traced windows by package, and allocations of sampled runs."""

from __future__ import annotations

import gc
import mmap
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from forked import in_forked_child
from otel_studio.base.clock import ManualClock
from otel_studio.process import allocation_window, operation_allocations
from otel_studio.process.allocation_window import AllocationTracer
from otel_studio.process.host_files import HostFiles
from otel_studio.process.memory_records import OperationAllocations
from otel_studio.process.memory_report import operation_records
from otel_studio.process.operation_allocations import OperationAllocationSampler


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tracer(clock: ManualClock) -> Iterator[AllocationTracer]:
    tracer = AllocationTracer(clock)
    yield tracer
    tracer.stop()
    tracemalloc.stop()


@pytest.fixture
def hoarder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the program that keeps what it makes."""
    import importlib
    import sys

    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "hoarder.py").write_text(
        "kept = []\n"
        "def keep(size):\n    kept.append(bytearray(size))\n"
        "def make(number):\n    return [bytes(100) for _ in range(number)]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("shop.hoarder")
    monkeypatch.setitem(sys.modules, "shop.hoarder", module)
    return module


def test_a_window_attributes_what_is_held_to_its_module(
    tracer: AllocationTracer, clock: ManualClock, hoarder: Any
) -> None:
    """What was allocated within the window and is still held counts; what went does not."""
    assert tracer.open(5)
    hoarder.keep(3_000_000)
    hoarder.make(1_000)
    tracer.close_if_due()
    assert tracer.last() is None  # not over yet
    clock.advance(5)
    tracer.close_if_due()
    window = tracer.last()
    assert window is not None
    rows = {row.package: row for row in window.packages}
    assert rows["shop.hoarder"].memory_mb == pytest.approx(3.0, rel=0.01)
    assert window.duration_seconds == 5.0
    assert window.traced_mb >= 3.0
    assert not tracemalloc.is_tracing()


def test_installed_packages_and_python_are_told_apart(
    tracer: AllocationTracer, clock: ManualClock
) -> None:
    """An installed package counts under its name, the standard library as python."""
    import queue

    np = pytest.importorskip("numpy")
    tracer.open(1)
    waiting: queue.Queue[int] = queue.Queue()
    drawn = np.random.default_rng(1)
    clock.advance(1)
    tracer.close_if_due()
    window = tracer.last()
    assert window is not None
    packages = {row.package for row in window.packages}
    assert "numpy" in packages or "python" in packages
    assert not {name for name in packages if name.startswith("otel_studio.")}
    assert waiting.empty()
    assert drawn is not None


def test_one_window_at_a_time(tracer: AllocationTracer, clock: ManualClock) -> None:
    """A second request does not prolong the first."""
    assert tracer.open(2)
    assert not tracer.open(60)
    clock.advance(2)
    tracer.close_if_due()
    assert not tracer.is_open
    assert tracer.open(2)


@pytest.mark.parametrize("seconds", [0, 0.01, -1, 61, float("inf"), float("nan")])
def test_a_window_of_another_length_is_refused(tracer: AllocationTracer, seconds: float) -> None:
    """The refusal says which lengths are possible, and nothing is traced."""
    with pytest.raises(ValueError, match=r"give 0\.1 to 60 seconds"):
        tracer.open(seconds)
    assert not tracemalloc.is_tracing()


def test_a_window_that_costs_too_much_ends_early(
    tracer: AllocationTracer, monkeypatch: pytest.MonkeyPatch, hoarder: Any
) -> None:
    """The memory that the tracing itself takes is bounded."""
    monkeypatch.setattr(allocation_window, "_MAX_OVERHEAD", 100_000)
    tracer.open(60)
    keep = hoarder.make(10_000)
    tracer.close_if_due()
    assert not tracer.is_open
    assert len(keep) == 10_000


def test_a_trace_of_the_programs_own_goes_on(tracer: AllocationTracer, clock: ManualClock) -> None:
    """Where the program traces, its trace is used and neither stopped nor changed."""
    tracemalloc.start(3)
    tracer.open(1)
    clock.advance(1)
    tracer.close_if_due()
    assert tracer.last() is not None
    assert tracemalloc.is_tracing()
    assert tracemalloc.get_traceback_limit() == 3
    tracer.open(1)
    tracer.stop()
    assert tracemalloc.is_tracing()


def test_a_trace_that_the_program_stopped_gives_no_result(
    tracer: AllocationTracer, clock: ManualClock
) -> None:
    """The program may stop what we started: that leaves no result, and no error."""
    tracer.open(1)
    tracemalloc.stop()
    clock.advance(1)
    tracer.close_if_due()
    assert tracer.last() is None
    assert not tracer.is_open


def test_a_child_ends_the_parents_window(tracer: AllocationTracer) -> None:
    """A child does not pay for a window that was opened in its parent."""
    tracer.open(60)

    def in_child() -> list[bool]:
        tracer.after_fork_in_child()
        return [tracer.is_open, tracemalloc.is_tracing()]

    assert in_forked_child(in_child) == [False, False]
    assert tracer.is_open


def the_record(sampler: OperationAllocationSampler) -> OperationAllocations:
    (record,) = operation_records(sampler.sums())
    return record


def test_a_run_that_keeps_objects_shows_them() -> None:
    """The blocks that a sampled run leaves behind are its net allocations."""
    sampler = OperationAllocationSampler(every=1)
    gc.collect()
    token = sampler.begin()
    keep = [object() for _ in range(5_000)]
    sampler.end(token, "cache-service", "fill")
    record = the_record(sampler)
    assert (record.service, record.operation, record.sampled_runs) == ("cache-service", "fill", 1)
    assert record.allocations == pytest.approx(5_000, abs=200)
    assert record.deallocations == 0
    token = sampler.begin()
    keep.clear()
    sampler.end(token, "cache-service", "fill")
    assert the_record(sampler).deallocations == pytest.approx(5_000, abs=200)


def test_resident_memory_changes_with_large_blocks() -> None:
    """A run that leaves 50 MB behind shows it in resident memory."""
    if HostFiles().text("/proc/self/statm") is None:
        pytest.skip("this system has no /proc")
    sampler = OperationAllocationSampler(every=1)
    token = sampler.begin()
    keep = mmap.mmap(-1, 50_000_000)  # pages of its own, whatever the heap has to spare
    for offset in range(0, len(keep), mmap.PAGESIZE):
        keep[offset] = 1
    sampler.end(token, "a", "load")
    record = the_record(sampler)
    assert record.total_resident_change_mb == pytest.approx(50, rel=0.1)
    assert record.largest_resident_change_mb == record.total_resident_change_mb
    keep.close()


def test_without_proc_resident_memory_is_left_out(tmp_path: Path) -> None:
    """No source, no figure; the blocks are there all the same."""
    sampler = OperationAllocationSampler(every=1, files=HostFiles(str(tmp_path)))
    sampler.end(sampler.begin(), "a", "b")
    record = the_record(sampler)
    assert record.total_resident_change_mb is None
    assert record.allocations is not None


def test_overlapping_runs_are_left_out_and_counted() -> None:
    """Two sampled runs at once cannot be told apart: neither adds to the sums."""
    sampler = OperationAllocationSampler(every=1)
    first, second = sampler.begin(), sampler.begin()
    sampler.end(second, "a", "b")
    sampler.end(first, "a", "b")
    record = the_record(sampler)
    assert (record.sampled_runs, record.overlapped_runs, record.allocations) == (0, 2, None)


def test_a_run_that_never_ends_does_not_spoil_the_others() -> None:
    """The token of an operation that was dropped leaves by itself."""
    sampler = OperationAllocationSampler(every=1)
    sampler.begin()
    gc.collect()
    sampler.end(sampler.begin(), "a", "b")
    assert the_record(sampler).sampled_runs == 1


def test_most_runs_are_not_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run in so many is drawn by chance, so no pattern of calls escapes it."""
    draws = iter([0.5, 0.0099, 0.01, 0.999])
    monkeypatch.setattr(operation_allocations, "random", lambda: next(draws))
    sampler = OperationAllocationSampler(every=100)
    tokens = [sampler.begin() for _ in range(4)]
    assert [token is not None for token in tokens] == [False, True, False, False]
    sampler.end(None, "a", "b")
    assert sampler.sums() == {}


def test_operations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound operations are noted together."""
    monkeypatch.setattr(operation_allocations, "MAX_OPERATIONS", 3)
    sampler = OperationAllocationSampler(every=1)
    for number in range(10):
        sampler.end(sampler.begin(), "a", f"op{number}")
    rows = {record.operation: record.sampled_runs for record in operation_records(sampler.sums())}
    assert len(rows) == 4
    assert rows["__other__"] == 7


def test_a_failure_inside_of_sampling_reaches_no_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter without the call costs the figure, never the run."""
    import sys

    sampler = OperationAllocationSampler(every=1)
    token = sampler.begin()
    monkeypatch.delattr(sys, "getallocatedblocks")
    assert sampler.begin() is None
    sampler.end(token, "a", "b")


def test_sampling_from_many_threads_loses_nothing() -> None:
    """Every sampled run is counted, overlapped or not."""
    sampler = OperationAllocationSampler(every=1)

    def work() -> None:
        for _ in range(200):
            sampler.end(sampler.begin(), "a", "b")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = the_record(sampler)
    assert record.sampled_runs + record.overlapped_runs == 800


def test_a_sampling_rate_below_one_is_refused() -> None:
    """The refusal says what to give."""
    with pytest.raises(ValueError, match="give 1 or more"):
        OperationAllocationSampler(every=0)
