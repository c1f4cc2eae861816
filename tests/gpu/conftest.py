"""A scripted driver behind the real bindings, and a monitor on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from fake_nvml import FakeDriver, build_library, two_cards
from otel_studio.base.clock import ManualClock
from otel_studio.base.guard import forget_said
from otel_studio.gpu.encoders import EncodeSources
from otel_studio.gpu.monitor import GpuMonitor
from otel_studio.gpu.own_process import OwnProcess


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("old-nvml"), old_driver=True)


@pytest.fixture
def driver(library: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """The scripted driver with two cards, put where the bindings keep the loaded library."""
    return _put_under_the_bindings(library, monkeypatch)


@pytest.fixture
def old_driver(old_library: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """The same of a driver that lacks the newer functions."""
    return _put_under_the_bindings(old_library, monkeypatch)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sources() -> EncodeSources:
    return EncodeSources()


@pytest.fixture
def monitor(clock: ManualClock, sources: EncodeSources) -> Iterator[GpuMonitor]:
    """A monitor of the process 4711, driven by `sample` or its thread."""
    monitor = GpuMonitor(
        clock,
        process=OwnProcess(pid=4711, sees_host_ids=True),
        encode_sources=sources,
    )
    yield monitor
    monitor.stop()


@pytest.fixture(autouse=True)
def _fresh_guard() -> Iterator[None]:
    forget_said()
    yield
    forget_said()


def _put_under_the_bindings(library: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver = FakeDriver(library)
    driver.show(two_cards())
    monkeypatch.setattr(pynvml, "nvmlLib", driver.library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return driver
