"""This process's own part of a device, and when it cannot be known."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fake_nvml import A10, MEGABYTE, MIG_LARGE, FakeDriver, mig_card
from otel_studio.base.clock import ManualClock
from otel_studio.gpu.gpu_records import GpuProcessShare
from otel_studio.gpu.monitor import GpuMonitor
from otel_studio.gpu.own_process import UNKNOWN_IN_CONTAINER, OwnProcess


def _share(clock: ManualClock, process: OwnProcess, device: str = A10) -> GpuProcessShare:
    monitor = GpuMonitor(clock, process=process)
    monitor.sample()
    records = {record.device_id: record for record in monitor.utilization_metrics()}
    monitor.stop()
    return records[device].process


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A process file system in which the processes 1 and 4711 can be seen."""
    for pid in (1, 4711):
        (tmp_path / str(pid)).mkdir()
    return tmp_path


def test_on_the_host(driver: FakeDriver, clock: ManualClock) -> None:
    """Outside a container the driver's process ids are ours."""
    assert _share(clock, OwnProcess(4711, sees_host_ids=True)) == GpuProcessShare(2_000, 30, 25, 4)


def test_a_process_that_does_not_use_the_device(driver: FakeDriver, clock: ManualClock) -> None:
    """On the host the list is complete: not being in it is a use of zero."""
    assert _share(clock, OwnProcess(99, sees_host_ids=True)) == GpuProcessShare(0, 0, 0, 0)


def test_in_a_container_with_the_ids_of_the_host(
    driver: FakeDriver, clock: ManualClock, proc: Path
) -> None:
    """Another process of the host that happens to have our number is not taken for us."""
    driver.change({"0.compute": 2, "0.compute.1": f"88123 {MEGABYTE}"})
    share = _share(clock, OwnProcess(4711, sees_host_ids=False, proc=str(proc)))
    assert share == GpuProcessShare(unknown_because=UNKNOWN_IN_CONTAINER)


def test_in_a_container_without_us_in_the_list(
    driver: FakeDriver, clock: ManualClock, proc: Path
) -> None:
    """Not being in a list of foreign numbers says nothing: unknown, not zero."""
    share = _share(clock, OwnProcess(1, sees_host_ids=False, proc=str(proc)))
    assert share == GpuProcessShare(unknown_because=UNKNOWN_IN_CONTAINER)


def test_in_a_container_with_a_driver_that_translates(
    driver: FakeDriver, clock: ManualClock, proc: Path
) -> None:
    """Where every listed process is one that we can see, the numbers are those of our namespace."""
    share = _share(clock, OwnProcess(4711, sees_host_ids=False, proc=str(proc)))
    assert share == GpuProcessShare(2_000, 30, 25, 4)


def test_translated_but_without_samples(driver: FakeDriver, clock: ManualClock, proc: Path) -> None:
    """In a container a missing sample may be one under another number: unknown, not zero."""
    driver.change({"0.samples": 0})
    share = _share(clock, OwnProcess(4711, sees_host_ids=False, proc=str(proc)))
    assert share == GpuProcessShare(memory_mb=2_000)


def test_memory_that_the_driver_does_not_tell(driver: FakeDriver, clock: ManualClock) -> None:
    """A process that is listed without its memory uses an unknown amount, not zero."""
    driver.change({"0.compute.0": f"4711 {0xFFFF_FFFF_FFFF_FFFF}"})
    assert _share(clock, OwnProcess(4711, sees_host_ids=True)).memory_mb is None


def test_without_process_lists(driver: FakeDriver, clock: ManualClock) -> None:
    """A driver that lists no processes gives no share, and says why."""
    driver.change({"0.compute": None, "0.graphics": None})
    share = _share(clock, OwnProcess(4711, sees_host_ids=True))
    assert share == GpuProcessShare(unknown_because="the driver does not list processes")


def test_on_a_mig_device(driver: FakeDriver, clock: ManualClock) -> None:
    """A MIG device lists its own processes; it has no utilization by process."""
    driver.show(mig_card())
    share = _share(clock, OwnProcess(4711, sees_host_ids=True), MIG_LARGE)
    assert share == GpuProcessShare(memory_mb=0)


def test_only_new_samples_are_asked_for(
    driver: FakeDriver, clock: ManualClock, monitor: GpuMonitor
) -> None:
    """A sample is counted in one reading: without a newer one the process was idle since."""

    def utilization() -> float | None:
        monitor.sample()
        return monitor.utilization_metrics()[0].process.gpu_utilization_percent

    assert utilization() == 30
    clock.advance(5)
    assert utilization() == 0
    driver.change({"0.samples": 2, "0.samples.1": "4711 2000 66 0 0"})
    clock.advance(5)
    assert utilization() == 66


def test_the_namespace_is_read_from_the_process_file_system(tmp_path: Path) -> None:
    """Only the first namespace of the machine has the host's ids; an unreadable one has not."""
    assert not OwnProcess(proc=str(tmp_path)).sees_host_ids
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "pid").touch()
    assert not OwnProcess(proc=str(tmp_path)).sees_host_ids
    assert OwnProcess().pid == os.getpid()
