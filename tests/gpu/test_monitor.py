"""The sampler thread: apart from requests, stoppable, and right in a forked child."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fake_nvml import FakeDriver, as_text, two_cards
from otel_studio.base.clock import ManualClock, SystemClock
from otel_studio.base.guard import internal_errors
from otel_studio.gpu.monitor import (
    NOT_READ_YET,
    NOT_STARTED,
    STOPPED,
    THREAD_NAME,
    GpuMonitor,
)

from parts import ROOT, wait_until


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def test_the_thread_reads_by_itself(driver: FakeDriver) -> None:
    """After `start` the figures come without anyone asking, on one daemon thread."""
    monitor = GpuMonitor(SystemClock())
    assert monitor.reason == NOT_STARTED
    monitor.start()
    monitor.start()
    wait_until(monitor.utilization_metrics, what="the first reading")
    assert monitor.reason is None
    assert [thread.daemon for thread in _threads()] == [True]
    monitor.stop()
    assert _threads() == []
    assert (monitor.utilization_metrics(), monitor.reason) == ([], STOPPED)
    assert driver.users == 0


def test_it_can_be_started_again(driver: FakeDriver) -> None:
    """A monitor that was stopped begins anew."""
    monitor = GpuMonitor(SystemClock())
    for _ in range(2):
        monitor.start()
        wait_until(monitor.utilization_metrics, what="a reading")
        monitor.stop()
    assert driver.users == 0


def test_stop_without_start(driver: FakeDriver, clock: ManualClock) -> None:
    """A monitor that only a test drove gives the library back too."""
    monitor = GpuMonitor(clock)
    monitor.sample()
    assert driver.users == 1
    monitor.stop()
    monitor.stop()
    assert driver.users == 0


@pytest.mark.patient
def test_a_driver_that_does_not_answer(driver: FakeDriver) -> None:
    """While a call hangs, queries and `stop` return in time; what it gives so late is not shown."""
    driver.change({"sleep_ms.nvmlDeviceGetCount_v2": 1_500})
    monitor = GpuMonitor(SystemClock())
    monitor.start()
    wait_until(lambda: driver.calls("nvmlDeviceGetCount_v2"), what="the slow call")
    begun = time.monotonic()
    assert (monitor.utilization_metrics(), monitor.reason) == ([], NOT_READ_YET)
    monitor.stop(timeout=0.05)
    assert time.monotonic() - begun < 1
    assert len(_threads()) == 1
    wait_until(lambda: not _threads(), what="the thread to end")
    assert (monitor.utilization_metrics(), monitor.reason) == ([], STOPPED)
    assert driver.users == 0


def test_a_thread_that_was_left_behind_touches_nothing(driver: FakeDriver) -> None:
    """A thread that gets its turn only after `stop` neither opens the driver nor reads."""
    monitor = GpuMonitor(SystemClock())
    with monitor._driver:
        monitor.start()
        monitor.stop(timeout=0.05)
    wait_until(lambda: not _threads(), what="the thread to end")
    assert driver.calls() == 0


def test_the_thread_ends_where_there_will_never_be_a_gpu() -> None:
    """Without the package no thread stays behind to look again."""

    def missing() -> object:
        raise ImportError

    monitor = GpuMonitor(SystemClock(), load=missing)  # type: ignore[arg-type]
    monitor.start()
    wait_until(lambda: not _threads(), what="the thread to end")
    assert "nvidia-ml-py" in str(monitor.reason)
    monitor.stop()


def test_queries_never_call_the_driver(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """A query reads the last snapshot, however often it is asked."""
    monitor.sample()
    calls = driver.calls()
    for _ in range(10):
        monitor.utilization_metrics()
        monitor.reading()
    assert driver.calls() == calls


def test_readers_and_the_sampler_at_once(driver: FakeDriver, clock: ManualClock) -> None:
    """Queries on several threads see whole readings while the sampler works."""
    monitor = GpuMonitor(clock)
    monitor.sample()
    done = threading.Event()
    seen: set[int] = set()

    def ask() -> None:
        while not done.is_set():
            seen.add(len(monitor.utilization_metrics()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        monitor.sample()
        clock.advance(1)
    done.set()
    for thread in threads:
        thread.join()
    assert seen == {2}
    assert not internal_errors
    monitor.stop()


@pytest.mark.patient
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize("in_a_call", [False, True])
def test_a_forked_child(driver: FakeDriver, in_a_call: bool, tmp_path: Path, library: Path) -> None:
    """A child reads for itself; one forked in the middle of a call says that it cannot.

    The parent goes on in both cases.
    """
    program = f"""
import os, sys, threading, time, traceback
sys.path[:0] = [{str(ROOT)!r}]
import pynvml
from otel_studio.base.clock import SystemClock
from otel_studio.gpu.monitor import FORKED_IN_A_CALL, GpuMonitor

in_a_call = {in_a_call}
inside, go_on = threading.Event(), threading.Event()

def load():
    inside.set()
    go_on.wait(20)
    return pynvml

def wait(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

def check_child():
    monitor.after_fork_in_child()
    assert threading.active_count() == 1
    if in_a_call:
        assert monitor.reason == FORKED_IN_A_CALL
        assert threading.active_count() == 1
        return
    wait(monitor.utilization_metrics)
    assert monitor.utilization_metrics()[0].process.memory_mb in (0, None)  # None in a container
    assert pynvml.nvmlLib.fake_nvml_users() == 2
    monitor.stop()
    assert pynvml.nvmlLib.fake_nvml_users() == 1

monitor = GpuMonitor(SystemClock(), load=load)
monitor.start()
if in_a_call:
    assert inside.wait(20)
else:
    go_on.set()
    wait(monitor.utilization_metrics)
pid = os.fork()
if pid == 0:
    code = 1
    try:
        check_child()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
go_on.set()
assert os.waitpid(pid, 0)[1] == 0
readings = monitor.batches.total()
wait(lambda: monitor.batches.total() > readings)
monitor.stop(timeout=5)
"""
    (tmp_path / "script").write_text(as_text(two_cards()))
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "FAKE_NVML_SCRIPT": str(tmp_path / "script"),
            "LD_LIBRARY_PATH": str(library.parent),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert result.returncode == 0, result.stderr
