"""Devices and drivers that go away and come back; the program under watch never notices."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from fake_nvml import A10, H100, MIG_SMALL, FakeDriver, mig_card, two_cards
from otel_studio.base.clock import ManualClock
from otel_studio.base.guard import internal_errors
from otel_studio.gpu.monitor import GpuMonitor
from otel_studio.gpu.nvml import DRIVER_MISSING, PERMISSION_MISSING, Bindings
from otel_studio.gpu.reader import ANSWERS_NOTHING, NO_DEVICES, NONE_VISIBLE, NOT_LISTED

Statuses = dict[str, str | None]


def _statuses(monitor: GpuMonitor) -> Statuses:
    monitor.sample()
    return {record.device_id: record.status for record in monitor.utilization_metrics()}


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("code", [15, 16, 28], ids=["lost", "reset required", "not found"])
def test_a_card_lost_while_it_is_watched(
    driver: FakeDriver,
    monitor: GpuMonitor,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    """Its figures end at once, its status says failed, its handle is not touched again."""
    assert _statuses(monitor) == {A10: "ok", H100: "ok"}
    driver.change({"0.error": code})
    clock.advance(1)
    assert _statuses(monitor) == {A10: "failed", H100: "ok"}
    lost, other = monitor.utilization_metrics()
    assert (lost.temperature_celsius, lost.energy_joules, lost.clocks_mhz) == (None, None, {})
    assert other.temperature_celsius == 54
    asked = driver.calls("nvmlDeviceGetUtilizationRates")
    clock.advance(1)
    monitor.sample()
    assert driver.calls("nvmlDeviceGetUtilizationRates") == asked + 1
    assert len(_warnings(caplog)) == 1
    assert "NVIDIA A10 0000:3b:00.0 is lost" in _warnings(caplog)[0]


def test_a_lost_card_that_comes_back(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a minute the library is opened anew; a card that answers again is ok again."""
    monitor.sample()
    driver.change({"0.error": 15})
    clock.advance(1)
    assert _statuses(monitor)[A10] == "failed"
    clock.advance(59)
    assert _statuses(monitor)[A10] == "failed"
    driver.change({"0.error": None})
    clock.advance(60)
    assert _statuses(monitor) == {A10: "ok", H100: "ok"}
    assert driver.users == 1
    assert len(_warnings(caplog)) == 1


def test_a_card_that_is_pulled_out(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A card that the driver lists no more has failed; the other one moves up and stays itself."""
    energy = {A10: 9_876.543, H100: 123_456.789}
    monitor.sample()
    moved = {f"0.{key[2:]}": value for key, value in two_cards().items() if key[:2] == "1."}
    driver.show({"driver_version": "570.124.06", "count": 1, **moved})
    clock.advance(60)
    assert _statuses(monitor) == {A10: "failed", H100: "ok"}
    pulled, other = monitor.utilization_metrics()
    assert pulled.status_reason == NOT_LISTED
    assert other.energy_joules == pytest.approx(energy[H100])
    assert other.name == "NVIDIA H100 80GB HBM3 0001:05:00.0"


def test_a_card_that_is_plugged_in(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A new card is found within a minute, and all its figures at once."""
    driver.change({"count": 1})
    assert _statuses(monitor) == {A10: "ok"}
    driver.change({"count": 2})
    clock.advance(60)
    assert _statuses(monitor) == {A10: "ok", H100: "ok"}
    assert monitor.utilization_metrics()[1].ecc_errors_corrected == 17


def test_losing_a_card_loses_its_parts(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """The MIG devices of a lost card have failed with it."""
    driver.show(mig_card())
    monitor.sample()
    driver.change({"0.error": 15})
    clock.advance(1)
    assert set(_statuses(monitor).values()) == {"failed"}
    driver.change({"0.error": None})
    clock.advance(59)
    assert set(_statuses(monitor).values()) == {"ok"}
    assert MIG_SMALL in _statuses(monitor)


@pytest.mark.parametrize("code", [1, 9, 18, 999])
def test_the_driver_goes_and_comes_back(
    driver: FakeDriver,
    monitor: GpuMonitor,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    """The library is shut down and opened again with growing pauses, until it answers."""
    monitor.sample()
    driver.change({"error": code})
    clock.advance(1)
    assert _statuses(monitor) == {A10: "failed", H100: "failed"}
    assert driver.users == 0
    pauses = []
    for _ in range(8):
        pause = monitor.sample()
        assert pause is not None
        pauses.append(pause)
        clock.advance(pause)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert driver.calls("nvmlInitWithFlags") == 8
    driver.change({"error": None, "era": 1})
    assert _statuses(monitor) == {A10: "ok", H100: "ok"}
    assert driver.users == 1
    assert monitor.utilization_metrics()[0].active_encoders == 2
    driver.change({"error": code})
    clock.advance(1)
    assert monitor.sample() == 1
    assert len([line for line in _warnings(caplog) if "is gone" in line]) == 1
    assert not internal_errors


def test_energy_goes_on_after_the_driver_was_loaded_anew(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """The driver's counter starts again; ours, which is summed up elsewhere, does not go back."""

    def energy() -> float | None:
        monitor.sample()
        return monitor.utilization_metrics()[0].energy_joules

    assert energy() == pytest.approx(9_876.543)
    driver.change({"era": 1, "0.energy": 1_000})
    clock.advance(1)
    assert energy() is None
    clock.advance(1)
    assert energy() == pytest.approx(9_877.543)


def test_a_call_that_breaks_the_driver_each_time(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A call that fails as an unknown error right after a new opening is made no more."""
    driver.change({"fails.nvmlDeviceGetFanSpeed": 999})
    assert _statuses(monitor) == {}
    for _ in range(5):
        clock.advance(4)
        statuses = _statuses(monitor)
    assert statuses == {A10: "ok", H100: "ok"}
    assert monitor.utilization_metrics()[0].fan_speed_percent is None
    assert monitor.utilization_metrics()[0].temperature_celsius == 61


def test_a_call_that_a_device_calls_invalid(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """As the handle is still good, the call is to blame: it is left out, the rest is read."""
    driver.change({"0.fan": "!2"})
    assert _statuses(monitor) == {A10: "ok", H100: "ok"}
    assert monitor.utilization_metrics()[0].fan_speed_percent is None


def test_a_handle_that_is_no_longer_valid(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A device whose handle is refused even for its name is listed anew, here in vain."""
    monitor.sample()
    driver.change({"0.error": 2})
    clock.advance(1)
    assert _statuses(monitor) == {A10: "failed", H100: "ok"}
    assert monitor.utilization_metrics()[0].status_reason == NOT_LISTED


def test_a_card_that_falls_silent(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A card that used to answer and fails every call three times over has failed."""
    monitor.sample()
    driver.change({"0.error": 10})
    found = []
    for _ in range(3):
        clock.advance(1)
        found.append(_statuses(monitor)[A10])
    assert found == ["ok", "ok", "failed"]
    assert monitor.utilization_metrics()[0].status_reason == ANSWERS_NOTHING


@pytest.mark.parametrize(
    ("code", "reason"),
    [(9, DRIVER_MISSING), (4, PERMISSION_MISSING)],
)
def test_a_driver_that_does_not_open(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock, code: int, reason: str
) -> None:
    """There are no devices, for a reason in words; when it opens later, there are."""
    driver.change({"init": code})
    assert monitor.sample() == 1
    assert monitor.utilization_metrics() == []
    assert monitor.reason == reason
    driver.change({"init": None})
    clock.advance(1)
    assert _statuses(monitor) == {A10: "ok", H100: "ok"}
    assert monitor.reason is None


def test_a_machine_without_devices(
    driver: FakeDriver, monitor: GpuMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    """A driver with no card gives an empty list with a reason, and nobody is warned."""
    driver.change({"count": 0})
    monitor.sample()
    assert (monitor.utilization_metrics(), monitor.reason) == ([], NO_DEVICES)
    assert _warnings(caplog) == []
    assert driver.users == 0


def test_a_card_that_this_user_may_not_see(
    driver: FakeDriver, monitor: GpuMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    """The other card is watched, and the missing one warned of once."""
    driver.change({"0.error": 4})
    assert _statuses(monitor) == {H100: "ok"}
    assert len([line for line in _warnings(caplog) if "not fully visible" in line]) == 1


def test_a_user_who_may_see_no_card(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """Cards that are there but out of reach are not said to be missing."""
    driver.change({"0.error": 4, "1.error": 4})
    assert _statuses(monitor) == {}
    assert monitor.reason == NONE_VISIBLE


def test_without_the_package(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    """Without nvidia-ml-py the list is empty, the reason says what to install, nothing warns."""

    def missing() -> Bindings:
        raise ImportError

    monitor = GpuMonitor(clock, load=missing)
    assert monitor.sample() is None
    assert monitor.utilization_metrics() == []
    assert "install otel-studio[gpu]" in str(monitor.reason)
    assert _warnings(caplog) == []


@pytest.mark.parametrize("error", [TypeError("two arguments"), ValueError("bad text")])
def test_bindings_of_another_make(
    driver: FakeDriver, monitor: GpuMonitor, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What the bindings themselves raise costs the one figure."""

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("pynvml.nvmlDeviceGetPowerUsage", broken)
    assert _statuses(monitor) == {A10: "ok", H100: "ok"}
    assert monitor.utilization_metrics()[0].power_usage_watts is None
    assert not internal_errors


def test_a_fault_of_ours_with_one_device(
    driver: FakeDriver, monitor: GpuMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and neither the other devices nor the other tiers suffer."""
    monkeypatch.setattr("otel_studio.gpu.reader.read_slow", _raise(RuntimeError("ours")))
    assert _statuses(monitor) == {A10: "ok", H100: "ok"}
    assert sum(internal_errors.values()) == 2


def test_lost_devices_are_bounded(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """Cards that are swapped for ever do not fill the memory."""
    for number in range(100):
        driver.change({"0.uuid": f"GPU-{number}", "count": 1})
        monitor.sample()
        clock.advance(60)
    assert len(monitor.utilization_metrics()) == 65


def test_a_card_forgotten_and_found_again_counts_anew(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """Of a card that is forgotten nothing is kept, not the base of its counters either."""
    test_lost_devices_are_bounded(driver, monitor, clock)
    driver.change({"0.uuid": "GPU-0", "0.energy": 1_000})
    monitor.sample()
    found = {record.device_id: record for record in monitor.utilization_metrics()}
    assert found["GPU-0"].energy_joules == 1


def test_an_identity_call_that_breaks_the_driver(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A card whose serial number cannot be asked for without breaking the driver goes without."""
    driver.change({"fails.nvmlDeviceGetSerial": 999})
    assert _statuses(monitor) == {}
    clock.advance(1)
    assert _statuses(monitor) == {A10: "ok", H100: "ok"}
    assert monitor.reading().snapshots[0].identity.serial is None


def test_an_empty_answer_is_no_failure(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """The bindings raise "success" for an empty list of samples; nothing is logged as failed."""
    driver.change({"0.samples": 0})
    monitor.sample()
    assert monitor.utilization_metrics()[0].process.gpu_utilization_percent == 0


def _raise(error: Exception) -> Callable[..., None]:
    def function(*_: object) -> None:
        raise error

    return function
