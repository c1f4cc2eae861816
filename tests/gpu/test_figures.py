"""What is read of a card, and that what a card does not have is never a zero."""

from __future__ import annotations

import json
import logging

import pynvml
import pytest

from fake_nvml import A10, H100, MEGABYTE, MIG_LARGE, MIG_SMALL, FakeDriver, mig_card
from otel_studio.base.clock import ManualClock
from otel_studio.gpu.gpu_records import EncodingSession, GpuMetrics
from otel_studio.gpu.monitor import GpuMonitor


def _read(monitor: GpuMonitor) -> dict[str, GpuMetrics]:
    monitor.sample()
    return {record.device_id: record for record in monitor.utilization_metrics()}


def test_a_card_with_everything(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """Every figure of the record is the driver's, in the record's units."""
    card = _read(monitor)[A10]
    assert card.gpu_utilization_percent == 37
    assert card.encoder_utilization_percent == 55
    assert card.decoder_utilization_percent == 8
    assert (card.memory_used_mb, card.memory_total_mb) == (6_000, 24_000)
    assert card.memory_reserved_mb == 500
    assert card.memory_utilization_percent == 25
    assert card.temperature_celsius == 61
    assert card.power_usage_watts == pytest.approx(148.25)
    assert card.energy_joules == pytest.approx(9_876.543)
    assert card.fan_speed_percent == 42
    assert card.clocks_mhz == {"graphics": 1695, "sm": 1695, "memory": 6251, "video": 1500}
    assert card.clock_event_reasons == ["sw_power_cap"]
    assert card.name == "NVIDIA A10 0000:3b:00.0"
    assert card.driver_version == "570.124.06"
    assert card.status == "ok"
    assert card.sampled_at == "2023-11-14T22:13:20.000000Z"
    assert (card.pcie_generation, card.pcie_width) == (4, 16)


def test_encoder_sessions(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """Each open session is listed with codec, size, frame rate, latency and process."""
    card = _read(monitor)[A10]
    assert card.active_encoders == 2
    assert card.encoding_sessions == [
        EncodingSession(11, 4711, "h264", "1920x1080", 60.0, 3.9),
        EncodingSession(12, 4712, "hevc", "3840x2160", 56.0, 4.3),
    ]


def test_an_unknown_codec_is_said_to_be_unknown(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """A codec that this version has no name for is not taken for another one."""
    driver.change({"0.session.0": "11 4711 9 640 480 30 1000"})
    assert _read(monitor)[A10].encoding_sessions[0].codec == "unknown"  # type: ignore[index]


def test_no_average_over_no_session(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """With no session open the count is zero, and the driver's zero averages are left out."""
    driver.change({"0.encoder_stats": "0 0 0", "0.sessions": 0})
    monitor.sample()
    medium = monitor.reading().snapshots[0].medium
    assert medium is not None
    assert (medium.active_encoders, medium.sessions) == (0, ())
    assert (medium.encoder_fps, medium.encoder_latency) == (None, None)


def test_a_card_without_an_encoder(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """The zeros that such a card reports of its encoder are not passed on as figures."""
    card = _read(monitor)[H100]
    assert card.encoder_utilization_percent is None
    assert card.active_encoders is None
    assert card.encoding_sessions is None
    assert card.fan_speed_percent is None
    assert card.decoder_utilization_percent == 0


def test_a_session_proves_an_encoder(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A card that denies every codec but has a session open does have an encoder."""
    assert _read(monitor)[H100].active_encoders is None
    driver.change(
        {"1.encoder_stats": "1 30 900", "1.sessions": 1, "1.session.0": "1 2 0 64 64 30 900"}
    )
    clock.advance(5)
    assert _read(monitor)[H100].active_encoders == 1
    clock.advance(1)
    assert _read(monitor)[H100].encoder_utilization_percent == 0


def test_slow_figures(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """Memory errors, remapped rows and bytes over PCIe, where the card has them."""
    a10, h100 = (_read(monitor)[uuid] for uuid in (A10, H100))
    assert (h100.ecc_errors_corrected, h100.ecc_errors_uncorrected) == (17, 1)
    assert (h100.remapped_rows_corrected, h100.remapped_rows_uncorrected) == (2, 1)
    assert h100.pcie_transmitted_bytes == 7_000_000_000_000
    assert h100.pcie_received_bytes == 9_000_000_000_000
    assert h100.pcie_transmit_bytes_per_second is None
    assert (a10.ecc_errors_corrected, a10.remapped_rows_corrected) == (None, None)


def test_a_wrapping_byte_counter_is_no_total(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """Where bytes are counted in 32 bits, the rate that the driver samples is given instead."""
    card = _read(monitor)[A10]
    assert card.pcie_transmitted_bytes is None
    assert card.pcie_transmit_bytes_per_second == 120_000_000
    assert card.pcie_receive_bytes_per_second == 45_000_000


def test_the_costly_rate_is_not_asked_for_where_bytes_are_counted(
    driver: FakeDriver, monitor: GpuMonitor
) -> None:
    """A call of 20 ms per direction is spared on cards that count."""
    driver.change({"count": 1, "0.pcie_bytes": "3 1 2"})
    monitor.sample()
    assert driver.calls("nvmlDeviceGetPcieThroughput") == 0


def test_what_a_card_does_not_have_is_asked_for_once(
    driver: FakeDriver,
    monitor: GpuMonitor,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unsupported figure is logged once and its call is not made again."""
    caplog.set_level(logging.INFO, "otel_studio")
    driver.change({"0.fan": None})
    for _ in range(20):
        monitor.sample()
        clock.advance(1)
    assert driver.calls("nvmlDeviceGetFanSpeed") == 2  # one per card
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "NVIDIA A10" in line and "fan speed" in line]) == 1
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_the_second_best_call_is_remembered(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A card that supports an older call alone is not asked with the newer one every time."""
    driver.change({"fails.nvmlDeviceGetTemperatureV": 3})
    for _ in range(5):
        assert _read(monitor)[A10].temperature_celsius == 61
        clock.advance(1)
    cards = 2 if hasattr(pynvml, "nvmlDeviceGetTemperatureV") else 0  # older bindings lack it
    assert driver.calls("nvmlDeviceGetTemperatureV") == cards
    assert driver.calls("nvmlDeviceGetTemperature") == 10


def test_a_figure_without_permission(
    driver: FakeDriver, monitor: GpuMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    """One figure that this user may not read is `None`, warned of once; the others are there."""
    driver.change({"0.power": "!4"})
    card = _read(monitor)[A10]
    assert card.power_usage_watts is None
    assert card.temperature_celsius == 61
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    why = "nvmlDeviceGetPowerUsage: Insufficient Permissions (NVML code 4)"
    assert warnings == [f"NVIDIA A10 0000:3b:00.0 has no figure for power: {why}"]


def test_a_figure_that_fails_for_a_moment(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A time-out leaves one figure out of one reading, and is logged once however often it is."""
    for _ in range(3):
        driver.change({"0.temperature": "!10"})
        assert _read(monitor)[A10].temperature_celsius is None
        clock.advance(1)
        driver.change({"0.temperature": 70})
        assert _read(monitor)[A10].temperature_celsius == 70
        clock.advance(1)
    assert len([r for r in caplog.records if "could not be read this time" in r.getMessage()]) == 1


def test_a_number_that_the_driver_does_not_have(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """The library's mark for "not available" is not passed on as four billion."""
    driver.change({"0.power": 0xFFFF_FFFF})
    assert _read(monitor)[A10].power_usage_watts is None


def test_an_old_driver(old_driver: FakeDriver, monitor: GpuMonitor) -> None:
    """Where newer functions are missing the older ones answer."""
    card = _read(monitor)[A10]
    assert card.temperature_celsius == 61
    assert card.clock_event_reasons == ["sw_power_cap"]
    assert card.memory_used_mb == 6_500  # it counts what it reserves as used
    assert card.memory_reserved_mb is None
    assert card.pcie_transmit_bytes_per_second == 120_000_000


def test_mig_devices(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """Each part of a card is a device with its own memory; the card has no utilization then."""
    driver.show(mig_card())
    found = _read(monitor)
    assert list(found) == [H100, MIG_SMALL, MIG_LARGE]
    small = found[MIG_SMALL]
    assert small.parent_id == H100
    assert small.name == "NVIDIA H100 80GB HBM3 MIG 1g.10gb GI 7 CI 0"
    assert (small.memory_used_mb, small.memory_total_mb) == (1_000, 9_856)
    assert small.process.memory_mb == 900
    assert small.temperature_celsius is None
    assert small.status == "ok"
    assert found[H100].gpu_utilization_percent is None
    assert found[H100].temperature_celsius == 54


def test_a_mig_layout_that_changes(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A handle that now means another MIG device gives no figure under the old one's name."""
    driver.show(mig_card())
    assert MIG_SMALL in _read(monitor)
    other = "MIG-c3000000-0000-0000-0000-00000000000f"
    driver.change({"0.mig.0.uuid": other, "0.mig.3.uuid": None})
    clock.advance(1)
    found = _read(monitor)
    assert list(found) == [H100, other]
    assert {record.status for record in found.values()} == {"ok"}


def test_records_are_json(driver: FakeDriver, monitor: GpuMonitor) -> None:
    """A record becomes JSON with the field names of the query's contract."""
    monitor.sample()
    data = json.loads(monitor.utilization_metrics()[0].to_json())
    assert {
        "gpu_utilization_percent",
        "memory_used_mb",
        "memory_total_mb",
        "memory_utilization_percent",
        "temperature_celsius",
        "power_usage_watts",
        "active_encoders",
        "encoding_sessions",
        "performance_metrics",
    } <= data.keys()
    assert data["encoding_sessions"][0].keys() == {
        *("session_id", "pid", "codec", "resolution", "fps", "latency"),
        *("bitrate_mbps", "duration_seconds"),
    }
    assert data["performance_metrics"] == dict.fromkeys(
        (
            "encode_fps",
            "queue_length",
            "average_encode_time_ms",
            "failed_encodes",
            "hardware_acceleration_active",
        )
    )


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"1.clock_events": "8"}, "degraded", "clocks are held down: hw_slowdown"),
        ({"1.clock_events": "44"}, "degraded", "clocks are held down: hw_thermal_slowdown"),
        ({"1.clock_events": "4"}, "ok", None),
        (
            {"1.remapped": "0 1 1 0"},
            "degraded",
            "a memory row waits for a reset to be remapped",
        ),
        (
            {"1.remapped": "0 9 0 1"},
            "predicted_failure",
            "a faulty memory row could not be remapped",
        ),
    ],
)
def test_status(
    driver: FakeDriver,
    monitor: GpuMonitor,
    changes: dict[str, str],
    status: str,
    reason: str | None,
) -> None:
    """A card that is slowed down or about to fail says so, with the reason."""
    driver.change(changes)
    card = _read(monitor)[H100]
    assert (card.status, card.status_reason) == (status, reason)


def test_memory_of_both_kinds_of_process_is_counted_once(
    driver: FakeDriver, monitor: GpuMonitor
) -> None:
    """A process that computes and draws is in two lists with the same memory."""
    driver.change({"0.graphics": 1, "0.graphics.0": f"4711 {2_000 * MEGABYTE}"})
    assert _read(monitor)[A10].process.memory_mb == 2_000
