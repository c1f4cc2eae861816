"""What is read of a GPU, tier by tier: plain frozen values, `None` where there is no source."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from otel_studio.gpu.schedule import Tier

OK = "ok"
DEGRADED = "degraded"
FAILED = "failed"
PREDICTED_FAILURE = "predicted_failure"
#: The states of `hw.status` for a GPU, OpenTelemetry's hardware conventions.
STATES = (OK, DEGRADED, FAILED, PREDICTED_FAILURE)


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """Which device it is; the UUID is what stays when indexes and handles change.

    Attributes:
        uuid: the driver's unique id of a card or of a MIG device.
        name: model and place, to recognize it by.
        model: the product's name.
        serial: the board's serial number, where it has one.
        driver_version: the version of the running driver.
        parent: the UUID of the card that a MIG device is a part of.
    """

    uuid: str
    name: str
    model: str | None = None
    serial: str | None = None
    driver_version: str | None = None
    parent: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FastFigures:
    """Read every second; fractions 0 to 1, bytes, degrees Celsius, watts, joules, hertz."""

    taken_ns: int
    wall_ns: int
    general_utilization: float | None = None
    encoder_utilization: float | None = None
    decoder_utilization: float | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    memory_reserved: int | None = None
    temperature: float | None = None
    power: float | None = None
    energy: float | None = None
    fan_speed: float | None = None
    clocks: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def memory_utilization(self) -> float | None:
        """The fraction of the memory in use."""
        if self.memory_used is None or not self.memory_total:
            return None
        return self.memory_used / self.memory_total

    @property
    def has_figures(self) -> bool:
        """Whether anything at all was read."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self)[2:])
        return any(value is not None and value != {} for value in values)


@dataclasses.dataclass(frozen=True, slots=True)
class EncoderSession:
    """One open session of the hardware encoder; `latency` in seconds, `pid` as the driver says."""

    session_id: int
    pid: int
    codec: str
    width: int
    height: int
    fps: float
    latency: float


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessShare:
    """This process's own part of a device; `unknown_because` says why it has no figures."""

    memory: int | None = None
    general_utilization: float | None = None
    encoder_utilization: float | None = None
    decoder_utilization: float | None = None
    unknown_because: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class MediumFigures:
    """Read every five seconds: encoder sessions, clock-event reasons, this process's share."""

    taken_ns: int
    active_encoders: int | None = None
    encoder_fps: float | None = None
    encoder_latency: float | None = None
    sessions: tuple[EncoderSession, ...] | None = None
    clock_events: Mapping[str, bool] | None = None
    share: ProcessShare = dataclasses.field(default_factory=ProcessShare)


@dataclasses.dataclass(frozen=True, slots=True)
class SlowFigures:
    """Read every minute: memory errors, remapped rows, and the PCIe link in bytes and bytes/s."""

    taken_ns: int
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    remapped_corrected: int | None = None
    remapped_uncorrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    pcie_transmitted: int | None = None
    pcie_received: int | None = None
    pcie_transmit_rate: float | None = None
    pcie_receive_rate: float | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceSnapshot:
    """A device with its last readings; `failed_because` is set when it cannot be read."""

    identity: DeviceIdentity
    fast: FastFigures | None = None
    medium: MediumFigures | None = None
    slow: SlowFigures | None = None
    failed_because: str | None = None

    def as_of(self, now_ns: int) -> DeviceSnapshot:
        """Return the snapshot without the readings that are too old to be called current.

        Args:
            now_ns: the monotonic clock, in nanoseconds.
        """
        return dataclasses.replace(
            self,
            fast=self.fast if _is_current(self.fast, Tier.FAST, now_ns) else None,
            medium=self.medium if _is_current(self.medium, Tier.MEDIUM, now_ns) else None,
            slow=self.slow if _is_current(self.slow, Tier.SLOW, now_ns) else None,
        )

    @property
    def state(self) -> str | None:
        """The value of `hw.state`, or `None` when the driver has not answered lately."""
        return self._judge()[0]

    @property
    def state_reason(self) -> str | None:
        """Why the state is not ok, in words."""
        return self._judge()[1]

    def _judge(self) -> tuple[str | None, str | None]:
        if self.failed_because is not None:
            return FAILED, self.failed_because
        if self.fast is None:
            return None, "the driver has not answered lately"
        if self.slow is not None and self.slow.remap_failed:
            return PREDICTED_FAILURE, "a faulty memory row could not be remapped"
        if self.slow is not None and self.slow.remap_pending:
            return DEGRADED, "a memory row waits for a reset to be remapped"
        events = (self.medium.clock_events if self.medium is not None else None) or {}
        slowed = [reason for reason in SLOWDOWNS if events.get(reason)]
        if slowed:
            return DEGRADED, f"clocks are held down: {', '.join(slowed)}"
        return OK, None


#: Clock-event reasons by their bit, in nvml.h (nvmlClocksEventReasons).
CLOCK_EVENTS = {
    "gpu_idle": 0x001,
    "applications_clocks_setting": 0x002,
    "sw_power_cap": 0x004,
    "hw_slowdown": 0x008,
    "sync_boost": 0x010,
    "sw_thermal_slowdown": 0x020,
    "hw_thermal_slowdown": 0x040,
    "hw_power_brake_slowdown": 0x080,
    "display_clock_setting": 0x100,
}
#: Those that mean the device runs slower than it should.
SLOWDOWNS = (
    "hw_slowdown",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
)


def _is_current(
    reading: FastFigures | MediumFigures | SlowFigures | None, tier: Tier, now_ns: int
) -> bool:
    return reading is not None and now_ns - reading.taken_ns <= tier.stale_after_ns
