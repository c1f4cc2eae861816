"""GPU figures as OpenTelemetry metrics: observable instruments over the last snapshot.

Names, units and attributes are OpenTelemetry's hardware conventions (`hw.*`) where these have
one; `otel_studio.gpu.*` is our own, for what they do not name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from otel_studio.base.figures import Figure, Kind, Point
from otel_studio.gpu.reading import GpuReading
from otel_studio.gpu.tier_reads import CODECS
from otel_studio.gpu.tiers import STATES, DeviceSnapshot

VENDOR = "NVIDIA"

#: A value of a device and the attributes that tell it from the device's others.
DevicePoint = tuple["int | float | None", Mapping[str, str]]

_ALONE: Mapping[str, str] = {}
_TRANSMIT = {"network.io.direction": "transmit"}
_RECEIVE = {"network.io.direction": "receive"}
_CORRECTED = {"error.type": "corrected"}
_UNCORRECTED = {"error.type": "uncorrected"}


def attributes(device: DeviceSnapshot) -> dict[str, str]:
    """Return the attributes that say which device a point is about.

    Source: OpenTelemetry semantic conventions 1.44, hardware, GPU metrics.
    """
    identity = device.identity
    named = {
        "hw.id": identity.uuid,
        "hw.type": "gpu",
        "hw.name": identity.name,
        "hw.model": identity.model,
        "hw.vendor": VENDOR,
        "hw.serial_number": identity.serial,
        "hw.driver_version": identity.driver_version,
        "hw.parent": identity.parent,
    }
    return {key: value for key, value in named.items() if value is not None}


def _of_device(
    kind: Kind,
    name: str,
    unit: str,
    description: str,
    points: Callable[[DeviceSnapshot], Iterable[DevicePoint]],
) -> Figure[GpuReading]:
    """Return a figure of the devices: they are the machine's, whoever looks at them."""

    def of_all(reading: GpuReading) -> Iterator[Point]:
        for device in reading.snapshots:
            for value, extra in points(device):
                if value is not None:
                    yield value, {**attributes(device), **extra}

    return Figure(name, kind, unit, description, of_all, machine=True)


def _own_memory(reading: GpuReading) -> Iterator[Point]:
    for device in reading.snapshots:
        share = reading.share(device.identity.uuid)
        if share is not None and share.memory is not None:
            yield share.memory, {**attributes(device)}


def _own_utilization(reading: GpuReading) -> Iterator[Point]:
    for device in reading.snapshots:
        share = reading.share(device.identity.uuid)
        if share is not None:
            known = {**attributes(device)}
            yield share.general_utilization, {**known, "hw.gpu.task": "general"}
            yield share.encoder_utilization, {**known, "hw.gpu.task": "encoder"}
            yield share.decoder_utilization, {**known, "hw.gpu.task": "decoder"}


def _fast(figure: str) -> Callable[[DeviceSnapshot], Iterator[DevicePoint]]:
    def points(device: DeviceSnapshot) -> Iterator[DevicePoint]:
        if device.fast is not None:
            yield getattr(device.fast, figure), _ALONE

    return points


def _medium(figure: str) -> Callable[[DeviceSnapshot], Iterator[DevicePoint]]:
    def points(device: DeviceSnapshot) -> Iterator[DevicePoint]:
        if device.medium is not None:
            yield getattr(device.medium, figure), _ALONE

    return points


def _utilization(device: DeviceSnapshot) -> Iterator[DevicePoint]:
    if device.fast is not None:
        yield device.fast.general_utilization, {"hw.gpu.task": "general"}
        yield device.fast.encoder_utilization, {"hw.gpu.task": "encoder"}
        yield device.fast.decoder_utilization, {"hw.gpu.task": "decoder"}


def _io(device: DeviceSnapshot) -> Iterator[DevicePoint]:
    if device.slow is not None:
        yield device.slow.pcie_transmitted, _TRANSMIT
        yield device.slow.pcie_received, _RECEIVE


def _throughput(device: DeviceSnapshot) -> Iterator[DevicePoint]:
    if device.slow is not None:
        yield device.slow.pcie_transmit_rate, _TRANSMIT
        yield device.slow.pcie_receive_rate, _RECEIVE


def _errors(device: DeviceSnapshot) -> Iterator[DevicePoint]:
    if device.slow is not None:
        yield device.slow.ecc_corrected, _CORRECTED
        yield device.slow.ecc_uncorrected, _UNCORRECTED


def _remapped_rows(device: DeviceSnapshot) -> Iterator[DevicePoint]:
    if device.slow is not None:
        yield device.slow.remapped_corrected, _CORRECTED
        yield device.slow.remapped_uncorrected, _UNCORRECTED


def _status(device: DeviceSnapshot) -> Iterator[DevicePoint]:
    current = device.state
    if current is not None:
        for state in STATES:
            yield int(state == current), {"hw.state": state}


def _clocks(device: DeviceSnapshot) -> Iterator[DevicePoint]:
    if device.fast is not None:
        for clock, hertz in device.fast.clocks.items():
            yield hertz, {"studio.gpu.clock": clock}


def _clock_events(device: DeviceSnapshot) -> Iterator[DevicePoint]:
    if device.medium is not None and device.medium.clock_events is not None:
        for reason, holds in device.medium.clock_events.items():
            yield int(holds), {"studio.gpu.clock_event": reason}


def _sessions(device: DeviceSnapshot) -> Iterator[DevicePoint]:
    sessions = None if device.medium is None else device.medium.sessions
    if sessions is not None:
        codecs = [session.codec for session in sessions]
        for codec in dict.fromkeys((*CODECS, *codecs)):
            yield codecs.count(codec), {"studio.gpu.codec": codec}


FIGURES: Final[tuple[Figure[GpuReading], ...]] = (
    _of_device(
        "gauge",
        "hw.gpu.utilization",
        "1",
        "Fraction of time spent in a specific task.",
        _utilization,
    ),
    _of_device(
        "up_down_counter", "hw.gpu.memory.usage", "By", "GPU memory used.", _fast("memory_used")
    ),
    _of_device(
        "up_down_counter",
        "hw.gpu.memory.limit",
        "By",
        "Size of the GPU memory.",
        _fast("memory_total"),
    ),
    _of_device(
        "gauge",
        "hw.gpu.memory.utilization",
        "1",
        "Fraction of GPU memory used.",
        _fast("memory_utilization"),
    ),
    _of_device("counter", "hw.gpu.io", "By", "Received and transmitted bytes by the GPU.", _io),
    _of_device("counter", "hw.energy", "J", "Energy consumed by the component.", _fast("energy")),
    _of_device(
        "gauge",
        "hw.power",
        "W",
        "Instantaneous power consumed by the component.",
        _fast("power"),
    ),
    _of_device(
        "gauge", "hw.temperature", "Cel", "Temperature in degrees Celsius.", _fast("temperature")
    ),
    _of_device(
        "gauge",
        "hw.fan.speed_ratio",
        "1",
        "Fan speed expressed as a fraction of its maximum speed.",
        _fast("fan_speed"),
    ),
    _of_device(
        "counter",
        "hw.errors",
        "{error}",
        "Number of errors encountered by the component.",
        _errors,
    ),
    _of_device(
        "up_down_counter",
        "hw.status",
        "1",
        "Operational status: `1` (true) or `0` (false) for each of the possible states.",
        _status,
    ),
    _of_device(
        "gauge",
        "otel_studio.gpu.clock.frequency",
        "Hz",
        "Current frequency of a clock of the GPU.",
        _clocks,
    ),
    _of_device(
        "up_down_counter",
        "otel_studio.gpu.clock.event",
        "1",
        "Whether a reason keeps the clocks of the GPU from being higher: 1 if so, 0 if not.",
        _clock_events,
    ),
    _of_device(
        "up_down_counter",
        "otel_studio.gpu.memory.remapped_rows",
        "{row}",
        "Rows of the GPU memory that were replaced after errors.",
        _remapped_rows,
    ),
    _of_device(
        "gauge",
        "otel_studio.gpu.pcie.throughput",
        "By/s",
        "Rate over the PCIe link, sampled over 20 ms, where the driver does not count bytes.",
        _throughput,
    ),
    Figure(
        "otel_studio.gpu.process.memory.usage",
        "up_down_counter",
        "By",
        "GPU memory that this process uses.",
        _own_memory,
    ),
    Figure(
        "otel_studio.gpu.process.utilization",
        "gauge",
        "1",
        "Fraction of time that this process used the GPU for a specific task.",
        _own_utilization,
    ),
    _of_device(
        "up_down_counter",
        "otel_studio.gpu.encoder.session.active",
        "{session}",
        "Open sessions of the hardware encoder, of all processes.",
        _sessions,
    ),
    _of_device(
        "gauge",
        "otel_studio.gpu.encoder.frame_rate",
        "{frame}/s",
        "Average frames encoded per second over the open sessions.",
        _medium("encoder_fps"),
    ),
    _of_device(
        "gauge",
        "otel_studio.gpu.encoder.latency",
        "s",
        "Average time to encode a frame over the open sessions.",
        _medium("encoder_latency"),
    ),
)
