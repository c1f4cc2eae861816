"""The figures of the calling process, against the kernel's own."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forked import in_forked_child
from otel_studio.process.host_files import HostFiles
from otel_studio.process.psutil_source import PsutilSource
from otel_studio.process.usage import ProcessReader, ProcessReading

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="this system has no /proc"
)


def listed(folder: str) -> list[str]:
    return [entry.name for entry in Path(folder).iterdir()]


def a_reader(root: str = "/", psutil: Any = None) -> ProcessReader:
    return ProcessReader(HostFiles(root), PsutilSource(lambda: psutil))


def status_kilobytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise AssertionError(f"no {name} in /proc/self/status")


@needs_proc
def test_resident_memory_is_what_the_kernel_says() -> None:
    """RSS agrees with /proc/self/smaps_rollup, which counts page by page."""
    held = bytearray(30_000_000)
    for page in range(0, len(held), 4096):
        held[page] = 1
    read = a_reader().read()
    rollup = HostFiles().table("/proc/self/smaps_rollup")
    assert read.resident == pytest.approx(rollup["Rss"], rel=0.02)
    assert read.virtual == pytest.approx(status_kilobytes("VmSize") * 1024, rel=0.02)
    assert read.peak_resident is not None
    assert read.resident is not None
    assert read.peak_resident >= read.resident


@needs_proc
def test_unique_memory_is_the_sum_of_private_pages() -> None:
    """USS agrees with the private pages of /proc/self/smaps, mapping by mapping."""
    reader = a_reader()
    private = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.startswith("Private_"):
            private += int(line.split()[1]) * 1024
    assert reader.unique_bytes() == pytest.approx(private, rel=0.03)


def threads_as_listed(reader: ProcessReader) -> int:
    """Return the threads that a reading counts, having compared them with the kernel's list."""
    while True:  # a thread that was joined may take a moment to leave the list
        before = listed("/proc/self/task")
        read = reader.read()
        if listed("/proc/self/task") == before:
            assert read.threads == len(before)
            return len(before)


@needs_proc
def test_threads_are_counted_as_they_are() -> None:
    """A reading counts what /proc/self/task lists, a new thread among them."""
    reader = a_reader()
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert str(thread.native_id) in listed("/proc/self/task")
    assert threads_as_listed(reader) >= 2
    done.set()
    thread.join()
    threads_as_listed(reader)


@needs_proc
def test_descriptors_are_counted_as_they_are() -> None:
    """New descriptors show at once, and leave again."""
    reader = a_reader()
    before = len(listed("/proc/self/fd")) - 1  # the listing's own
    assert reader.read().descriptors == before
    pipe = os.pipe()
    assert reader.read().descriptors == before + 2
    for end in pipe:
        os.close(end)
    assert reader.read().descriptors == before


def test_processor_faults_and_switches_are_those_of_getrusage() -> None:
    """CPU time, faults and switches lie between two readings of getrusage around it."""
    first = resource.getrusage(resource.RUSAGE_SELF)
    read = a_reader().read()
    last = resource.getrusage(resource.RUSAGE_SELF)
    assert read.cpu_user is not None
    assert read.minor_faults is not None
    assert read.voluntary_switches is not None
    assert first.ru_utime <= read.cpu_user <= last.ru_utime
    assert first.ru_minflt <= read.minor_faults <= last.ru_minflt
    assert first.ru_nvcsw <= read.voluntary_switches <= last.ru_nvcsw


@needs_proc
def test_disk_bytes_are_those_of_proc_io(tmp_path: Path) -> None:
    """What was written to a disk counts as the kernel counts it."""
    reader = a_reader()
    (tmp_path / "data").write_bytes(b"x" * 100_000)
    table = HostFiles().table("/proc/self/io")
    read = reader.read()
    if not table:
        pytest.skip("this kernel keeps no /proc/self/io")
    assert read.disk_written == table["write_bytes"]
    assert read.disk_read is not None
    assert read.disk_read >= table["read_bytes"]


@needs_proc
def test_a_forked_child_reads_itself() -> None:
    """One reader, made in the parent, tells the child's figures in the child."""
    reader = a_reader()
    parent = reader.read()

    def in_child() -> dict[str, Any]:
        held = bytearray(b"x" * 50_000_000)
        read = reader.read()
        return {
            "pid": read.pid,
            "own_pid": os.getpid(),
            "threads": read.threads,
            "resident": read.resident,
            "cpu": (read.cpu_user or 0) + (read.cpu_system or 0),
            "uptime": read.uptime,
            "held": len(held),
        }

    child = in_forked_child(in_child)
    assert child["pid"] == child["own_pid"] != parent.pid
    assert child["threads"] == 1
    assert child["resident"] > 50_000_000
    assert parent.cpu_user is not None
    assert parent.uptime is not None
    assert child["cpu"] < 5
    assert child["uptime"] <= parent.uptime + 1


def test_uptime_is_the_time_since_the_process_began(tmp_path: Path) -> None:
    """Uptime is the machine's uptime less the start time in ticks, whatever the name holds."""
    fields = " ".join(["S"] + ["0"] * 18 + ["250000"] + ["0"] * 5)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/stat").write_text(f"77 (a) name (b) {fields}\n")
    (tmp_path / "proc/uptime").write_text("4000.50 9000.00\n")
    ticks = os.sysconf("SC_CLK_TCK")
    assert a_reader(str(tmp_path)).read().uptime == pytest.approx(4000.5 - 250000 / ticks)


def test_an_uptime_below_zero_is_no_figure(tmp_path: Path) -> None:
    """A container that shows its own uptime beside the machine's ticks gives no figure."""
    fields = " ".join(["S"] + ["0"] * 18 + ["99999999"] + ["0"] * 5)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/stat").write_text(f"77 (python) {fields}\n")
    (tmp_path / "proc/uptime").write_text("12.0 1.0\n")
    assert a_reader(str(tmp_path)).read().uptime is None


def test_without_proc_and_psutil_only_getrusage_is_left(tmp_path: Path) -> None:
    """Fewer figures, and no error: what has no source is None."""
    read = a_reader(str(tmp_path)).read()
    assert read.cpu_user is not None
    assert read.peak_resident is not None
    unknown = ("resident", "virtual", "swapped", "disk_read", "threads", "uptime")
    assert [getattr(read, name) for name in unknown] == [None] * len(unknown)
    assert a_reader(str(tmp_path)).unique_bytes() is None


def test_without_proc_psutil_is_asked(tmp_path: Path) -> None:
    """The figures of psutil itself agree with what /proc said."""
    psutil = pytest.importorskip("psutil")
    from_proc, from_psutil = a_reader().read(), a_reader(str(tmp_path), psutil).read()
    for name in ("threads", "pid"):
        assert getattr(from_psutil, name) == getattr(from_proc, name)
    assert from_psutil.resident == pytest.approx(from_proc.resident, rel=0.05)
    assert from_psutil.uptime == pytest.approx(from_proc.uptime, abs=2)


class BrokenPsutil:
    """Every call that the platform lacks or denies, in its own way."""

    class Process:
        def memory_info(self) -> None:
            raise PermissionError("denied")

        def num_threads(self) -> None:
            raise NotImplementedError("not on this platform")

        def cpu_times(self) -> None:
            raise SystemError("a bug below")


def test_a_psutil_call_that_fails_costs_only_its_figure(tmp_path: Path) -> None:
    """Denied, missing and failing calls leave None behind and never raise."""
    read = a_reader(str(tmp_path), BrokenPsutil()).read()
    assert (read.resident, read.threads, read.uptime) == (None, None, None)
    assert read.cpu_user is not None


def test_psutil_is_not_loaded_where_proc_tells_everything() -> None:
    """The extra costs nothing while it is not needed."""
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("this kernel has no smaps_rollup")
    asked: list[str] = []

    def load() -> None:
        asked.append("psutil")

    reader = ProcessReader(HostFiles(), PsutilSource(load))
    reader.read()
    reader.unique_bytes()
    if Path("/proc/self/io").exists():
        assert asked == []


def test_psutils_process_is_made_anew_in_a_child() -> None:
    """The pid is not captured: a child asks about itself."""
    psutil = SimpleNamespace(Process=lambda: SimpleNamespace(num_threads=os.getpid))
    source = PsutilSource(lambda: psutil)
    assert source.process("num_threads") == os.getpid()
    answer, child = in_forked_child(lambda: [source.process("num_threads"), os.getpid()])
    assert answer == child


def test_a_broken_psutil_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A psutil that raises while it loads counts as absent."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert PsutilSource().process("num_threads") is None
    assert PsutilSource().machine("virtual_memory") is None


def test_readings_without_a_source_default_to_none() -> None:
    """An empty reading invents nothing."""
    read = ProcessReading(pid=1)
    assert {getattr(read, name) for name in read.__slots__ if name != "pid"} == {None}
