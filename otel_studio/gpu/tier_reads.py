"""Reads one device's figures of one tier, in one pass over the driver's calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from otel_studio.gpu.device import Attempt, Device
from otel_studio.gpu.own_process import UNKNOWN_IN_CONTAINER, OwnProcess
from otel_studio.gpu.tiers import (
    CLOCK_EVENTS,
    EncoderSession,
    FastFigures,
    MediumFigures,
    ProcessShare,
    SlowFigures,
)

# Constants of nvml.h, part of its binary interface.
_MEMORY_V2 = 0x02000028
_TEMPERATURE_GPU = 0
_CLOCKS = {"graphics": 0, "sm": 1, "memory": 2, "video": 3}
_ENCODER_CODECS = {0: "h264", 1: "hevc", 2: "av1"}
_ERROR_CORRECTED, _ERROR_UNCORRECTED = 0, 1
_SINCE_DRIVER_LOAD = 0
_PCIE_TX_BYTES, _PCIE_RX_BYTES = 197, 198
_PCIE_TX_RATE, _PCIE_RX_RATE = 0, 1
_UNSIGNED_64_BIT = frozenset({2, 3})

#: Codecs whose count is always said, so that a series starts at zero sessions.
CODECS = tuple(_ENCODER_CODECS.values())
UNKNOWN_CODEC = "unknown"


class Totals:
    """Counters that never go back, made of the driver's, which start again with each driver.

    Example:
        >>> totals = Totals()
        >>> [totals.advance("GPU-1", "energy", raw) for raw in (100, 150, 20)]
        [100, 150, 170]
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}
        self._base: dict[tuple[str, str], int] = {}

    def advance(self, device: str, name: str, raw: int | None) -> int | None:
        """Return the total for a raw reading, or `None` where there is none.

        Args:
            device: the UUID.
            name: which counter.
            raw: what the driver says.
        """
        if raw is None:
            return None
        key = (device, name)
        last = self._last.get(key, 0)
        if raw < last:
            self._base[key] = self._base.get(key, 0) + last
        self._last[key] = raw
        return self._base.get(key, 0) + raw

    def forget_except(self, devices: Iterable[str]) -> None:
        """Drop the counters of devices that are gone for good.

        Args:
            devices: the UUIDs to keep.
        """
        kept = set(devices)
        for key in [key for key in self._last if key[0] not in kept]:
            del self._last[key]
            self._base.pop(key, None)


def read_fast(device: Device, totals: Totals, now_ns: int, wall_ns: int) -> FastFigures:
    """Read what changes from second to second."""
    if device.is_mig:
        device.confirm()
    memory = device.read(
        "memory",
        Attempt("nvmlDeviceGetMemoryInfo", (_MEMORY_V2,)),  # what nvidia-smi shows
        Attempt("nvmlDeviceGetMemoryInfo"),  # drivers before 510: `used` holds the reserved part
    )
    figures: dict[str, Any] = {}
    if memory is not None:
        figures["memory_total"] = int(memory.total)
        figures["memory_used"] = int(memory.used)
        figures["memory_reserved"] = getattr(memory, "reserved", None)
    if device.is_mig:  # every other figure belongs to the whole card
        return FastFigures(now_ns, wall_ns, **figures)
    rates = device.read("utilization", Attempt("nvmlDeviceGetUtilizationRates"))
    encoder = device.read("encoder utilization", Attempt("nvmlDeviceGetEncoderUtilization"))
    decoder = device.read("decoder utilization", Attempt("nvmlDeviceGetDecoderUtilization"))
    temperature = device.read(
        "temperature",
        Attempt("nvmlDeviceGetTemperatureV", (_TEMPERATURE_GPU,)),
        Attempt("nvmlDeviceGetTemperature", (_TEMPERATURE_GPU,)),
    )
    power = device.read("power", Attempt("nvmlDeviceGetPowerUsage"))
    energy = device.read("energy", Attempt("nvmlDeviceGetTotalEnergyConsumption"))
    energy = totals.advance(device.identity.uuid, "energy", energy)
    fan = device.read("fan speed", Attempt("nvmlDeviceGetFanSpeed"))
    clocks = {
        name: device.read(f"{name} clock", Attempt("nvmlDeviceGetClockInfo", (kind,)))
        for name, kind in _CLOCKS.items()
    }
    if encoder is not None and encoder[0]:
        device.encoder = True
    return FastFigures(
        now_ns,
        wall_ns,
        general_utilization=_fraction(rates.gpu if rates is not None else None),
        encoder_utilization=_fraction(encoder[0] if encoder and _may_encode(device) else None),
        decoder_utilization=_fraction(decoder[0] if decoder else None),
        temperature=None if temperature is None else float(temperature),
        power=None if power is None else power / 1_000,
        energy=None if energy is None else energy / 1_000,
        fan_speed=_fraction(fan),
        clocks={name: mhz * 1e6 for name, mhz in clocks.items() if mhz is not None},
        **figures,
    )


def read_medium(device: Device, process: OwnProcess, now_ns: int) -> MediumFigures:
    """Read encoder sessions, clock-event reasons and this process's share."""
    if device.is_mig:
        return MediumFigures(now_ns, share=_share(device, process))
    statistics = device.read("encoder statistics", Attempt("nvmlDeviceGetEncoderStats"))
    sessions = device.read("encoder sessions", Attempt("nvmlDeviceGetEncoderSessions"))
    if sessions or (statistics is not None and statistics[0]):
        device.encoder = True
    count, fps, latency = statistics or (None if sessions is None else len(sessions), None, None)
    if not _may_encode(device):
        count, sessions = None, None
    events = device.read(
        "clock-event reasons",
        Attempt("nvmlDeviceGetCurrentClocksEventReasons"),
        Attempt("nvmlDeviceGetCurrentClocksThrottleReasons"),  # its name before driver 535
    )
    return MediumFigures(
        now_ns,
        active_encoders=count,
        # An average over no session is none, though the driver says zero.
        encoder_fps=float(fps) if count and fps is not None else None,
        encoder_latency=latency / 1e6 if count and latency is not None else None,
        sessions=None if sessions is None else tuple(_session(session) for session in sessions),
        clock_events=None
        if events is None
        else {reason: bool(events & bit) for reason, bit in CLOCK_EVENTS.items()},
        share=_share(device, process),
    )


def read_slow(device: Device, totals: Totals, now_ns: int) -> SlowFigures:
    """Read memory errors, remapped rows and the PCIe link."""
    if device.is_mig:
        return SlowFigures(now_ns)
    corrected, uncorrected = (
        totals.advance(
            device.identity.uuid,
            figure,
            device.read(figure, Attempt("nvmlDeviceGetTotalEccErrors", (kind, _SINCE_DRIVER_LOAD))),
        )
        for figure, kind in (
            ("corrected memory errors", _ERROR_CORRECTED),
            ("uncorrected memory errors", _ERROR_UNCORRECTED),
        )
    )
    rows = device.read("remapped rows", Attempt("nvmlDeviceGetRemappedRows"))
    transmitted, received = _pcie_bytes(device, totals)
    rates = (None, None) if transmitted is not None else _pcie_rates(device)
    return SlowFigures(
        now_ns,
        ecc_corrected=corrected,
        ecc_uncorrected=uncorrected,
        remapped_corrected=None if rows is None else rows[0],
        remapped_uncorrected=None if rows is None else rows[1],
        remap_pending=None if rows is None else bool(rows[2]),
        remap_failed=None if rows is None else bool(rows[3]),
        pcie_transmitted=transmitted,
        pcie_received=received,
        pcie_transmit_rate=rates[0],
        pcie_receive_rate=rates[1],
        pcie_generation=device.read(
            "PCIe generation", Attempt("nvmlDeviceGetCurrPcieLinkGeneration")
        ),
        pcie_width=device.read("PCIe width", Attempt("nvmlDeviceGetCurrPcieLinkWidth")),
    )


def _may_encode(device: Device) -> bool:
    """Return whether the device has an encoder, as far as can be told.

    Cards without one still report zero sessions and zero utilization; that they support no codec
    tells them apart, unless a session was seen all the same.
    """
    if device.encoder is None:
        device.encoder = not all(
            device.refuses(Attempt("nvmlDeviceGetEncoderCapacity", (codec,)))
            for codec in _ENCODER_CODECS
        )
    return device.encoder


def _session(session: Any) -> EncoderSession:
    return EncoderSession(
        session_id=int(session.sessionId),
        pid=int(session.pid),
        codec=_ENCODER_CODECS.get(int(session.codecType), UNKNOWN_CODEC),
        width=int(session.hResolution),
        height=int(session.vResolution),
        fps=float(session.averageFps),
        latency=session.encodeLatency / 1e6,
    )


def _share(device: Device, process: OwnProcess) -> ProcessShare:
    lists = [
        device.read("compute processes", Attempt("nvmlDeviceGetComputeRunningProcesses")),
        device.read("graphics processes", Attempt("nvmlDeviceGetGraphicsRunningProcesses")),
    ]
    known = [entries for entries in lists if entries is not None]
    if not known:
        return ProcessShare(unknown_because="the driver does not list processes")
    listed = {int(entry.pid) for entries in known for entry in entries}
    ours = process.is_among(listed)
    if ours is None:
        return ProcessShare(unknown_because=UNKNOWN_IN_CONTAINER)
    general, encoder, decoder = _utilization_share(device, process)
    return ProcessShare(
        memory=_own_memory(known, process.pid) if ours else 0,
        general_utilization=general,
        encoder_utilization=encoder,
        decoder_utilization=decoder,
    )


def _own_memory(lists: list[Any], pid: int) -> int | None:
    """Add up our memory over MIG instances; a process in both lists is the same memory twice."""
    instances: dict[tuple[Any, Any], int] = {}
    for entry in (entry for entries in lists for entry in entries):
        used = entry.usedGpuMemory
        if int(entry.pid) == pid and used is not None:
            instance = (
                getattr(entry, "gpuInstanceId", None),
                getattr(entry, "computeInstanceId", None),
            )
            instances[instance] = max(instances.get(instance, 0), int(used))
    return sum(instances.values()) if instances else None


def _utilization_share(
    device: Device, process: OwnProcess
) -> tuple[float | None, float | None, float | None]:
    if device.is_mig:
        return None, None, None
    samples = device.read(
        "utilization by process",
        Attempt("nvmlDeviceGetProcessUtilization", (device.last_process_sample_us,), lists=True),
    )
    if samples is None:
        return None, None, None
    newest = max((int(sample.timeStamp) for sample in samples), default=0)
    device.last_process_sample_us = max(device.last_process_sample_us, newest)
    own = [sample for sample in samples if int(sample.pid) == process.pid]
    if not own and not process.sees_host_ids:
        return None, None, None
    if not own:  # a process without a sample used the device for no part of the period
        return 0.0, 0.0 if _may_encode(device) else None, 0.0
    last = max(own, key=lambda sample: int(sample.timeStamp))
    encoder = _fraction(last.encUtil) if _may_encode(device) else None
    return _fraction(last.smUtil), encoder, _fraction(last.decUtil)


def _pcie_bytes(device: Device, totals: Totals) -> tuple[int | None, int | None]:
    """Return the bytes over the link, where the driver counts them in 64 bits.

    A 32-bit counter wraps within a second on a busy link, so no total can be made of it.
    """
    values = device.read(
        "PCIe byte counters",
        Attempt("nvmlDeviceGetFieldValues", ((_PCIE_TX_BYTES, _PCIE_RX_BYTES),)),
    )
    if values is None or any(
        value.nvmlReturn != 0 or value.valueType not in _UNSIGNED_64_BIT for value in values
    ):
        return None, None
    uuid = device.identity.uuid
    return (
        totals.advance(uuid, "PCIe transmitted", int(values[0].value.ullVal)),
        totals.advance(uuid, "PCIe received", int(values[1].value.ullVal)),
    )


def _pcie_rates(device: Device) -> tuple[float | None, float | None]:
    """Return bytes per second in each direction, sampled by the driver over 20 ms."""
    function = "nvmlDeviceGetPcieThroughput"
    sent = device.read("PCIe transmit rate", Attempt(function, (_PCIE_TX_RATE,)))
    received = device.read("PCIe receive rate", Attempt(function, (_PCIE_RX_RATE,)))
    return (
        None if sent is None else sent * 1_000.0,
        None if received is None else received * 1_000.0,
    )


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else percent / 100
