"""GPU figures as OpenTelemetry metrics: observable instruments over the last snapshot.

Names, units and attributes are OpenTelemetry's hardware conventions (`hw.*`) where these have
one; `otel_studio.gpu.*` is our own, for what they do not name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_studio.guard import report_internal_error
from otel_studio.resources.gpu_batches import CODECS
from otel_studio.resources.gpu_readings import STATES, DeviceSnapshot

VENDOR = "NVIDIA"

#: A figure and the attributes that tell it from the device's others; `None` leaves no point.
Point = tuple[float | None, Mapping[str, str]]
Devices = Callable[[], Iterable[DeviceSnapshot]]

_ALONE: Mapping[str, str] = {}
_TRANSMIT = {"network.io.direction": "transmit"}
_RECEIVE = {"network.io.direction": "receive"}
_CORRECTED = {"error.type": "corrected"}
_UNCORRECTED = {"error.type": "uncorrected"}


class _Metric(NamedTuple):
    kind: str
    name: str
    unit: str
    description: str
    points: Callable[[DeviceSnapshot], Iterable[Point]]


def register(meter: Meter, devices: Devices) -> None:
    """Create the instruments; to be done once per meter.

    Args:
        meter: where to create them.
        devices: returns the devices with what is known of them now; called in collections.
    """
    create = {
        "gauge": meter.create_observable_gauge,
        "counter": meter.create_observable_counter,
        "updown": meter.create_observable_up_down_counter,
    }
    for metric in _METRICS:
        create[metric.kind](
            metric.name,
            callbacks=[_callback(devices, metric)],
            unit=metric.unit,
            description=metric.description,
        )


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


def _callback(
    devices: Devices, metric: _Metric
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        try:
            return [
                Observation(value, {**attributes(device), **extra})
                for device in devices()
                for value, extra in metric.points(device)
                if value is not None
            ]
        except Exception as error:
            report_internal_error(f"the GPU metric {metric.name}", error)
            return []

    return observe


def _fast(figure: str) -> Callable[[DeviceSnapshot], Iterator[Point]]:
    def points(device: DeviceSnapshot) -> Iterator[Point]:
        if device.fast is not None:
            yield getattr(device.fast, figure), _ALONE

    return points


def _medium(figure: str) -> Callable[[DeviceSnapshot], Iterator[Point]]:
    def points(device: DeviceSnapshot) -> Iterator[Point]:
        if device.medium is not None:
            yield getattr(device.medium, figure), _ALONE

    return points


def _utilization(device: DeviceSnapshot) -> Iterator[Point]:
    if device.fast is not None:
        yield device.fast.general_utilization, {"hw.gpu.task": "general"}
        yield device.fast.encoder_utilization, {"hw.gpu.task": "encoder"}
        yield device.fast.decoder_utilization, {"hw.gpu.task": "decoder"}


def _io(device: DeviceSnapshot) -> Iterator[Point]:
    if device.slow is not None:
        yield device.slow.pcie_transmitted, _TRANSMIT
        yield device.slow.pcie_received, _RECEIVE


def _throughput(device: DeviceSnapshot) -> Iterator[Point]:
    if device.slow is not None:
        yield device.slow.pcie_transmit_rate, _TRANSMIT
        yield device.slow.pcie_receive_rate, _RECEIVE


def _errors(device: DeviceSnapshot) -> Iterator[Point]:
    if device.slow is not None:
        yield device.slow.ecc_corrected, _CORRECTED
        yield device.slow.ecc_uncorrected, _UNCORRECTED


def _remapped_rows(device: DeviceSnapshot) -> Iterator[Point]:
    if device.slow is not None:
        yield device.slow.remapped_corrected, _CORRECTED
        yield device.slow.remapped_uncorrected, _UNCORRECTED


def _status(device: DeviceSnapshot) -> Iterator[Point]:
    current = device.state
    if current is not None:
        for state in STATES:
            yield int(state == current), {"hw.state": state}


def _clocks(device: DeviceSnapshot) -> Iterator[Point]:
    if device.fast is not None:
        for clock, hertz in device.fast.clocks.items():
            yield hertz, {"studio.gpu.clock": clock}


def _clock_events(device: DeviceSnapshot) -> Iterator[Point]:
    if device.medium is not None and device.medium.clock_events is not None:
        for reason, holds in device.medium.clock_events.items():
            yield int(holds), {"studio.gpu.clock_event": reason}


def _sessions(device: DeviceSnapshot) -> Iterator[Point]:
    sessions = None if device.medium is None else device.medium.sessions
    if sessions is not None:
        codecs = [session.codec for session in sessions]
        for codec in dict.fromkeys((*CODECS, *codecs)):
            yield codecs.count(codec), {"studio.gpu.codec": codec}


def _own_memory(device: DeviceSnapshot) -> Iterator[Point]:
    if device.medium is not None:
        yield device.medium.share.memory, _ALONE


def _own_utilization(device: DeviceSnapshot) -> Iterator[Point]:
    if device.medium is not None:
        share = device.medium.share
        yield share.general_utilization, {"hw.gpu.task": "general"}
        yield share.encoder_utilization, {"hw.gpu.task": "encoder"}
        yield share.decoder_utilization, {"hw.gpu.task": "decoder"}


_METRICS = (
    _Metric(
        "gauge",
        "hw.gpu.utilization",
        "1",
        "Fraction of time spent in a specific task.",
        _utilization,
    ),
    _Metric("updown", "hw.gpu.memory.usage", "By", "GPU memory used.", _fast("memory_used")),
    _Metric(
        "updown", "hw.gpu.memory.limit", "By", "Size of the GPU memory.", _fast("memory_total")
    ),
    _Metric(
        "gauge",
        "hw.gpu.memory.utilization",
        "1",
        "Fraction of GPU memory used.",
        _fast("memory_utilization"),
    ),
    _Metric("counter", "hw.gpu.io", "By", "Received and transmitted bytes by the GPU.", _io),
    _Metric("counter", "hw.energy", "J", "Energy consumed by the component.", _fast("energy")),
    _Metric(
        "gauge",
        "hw.power",
        "W",
        "Instantaneous power consumed by the component.",
        _fast("power"),
    ),
    _Metric(
        "gauge", "hw.temperature", "Cel", "Temperature in degrees Celsius.", _fast("temperature")
    ),
    _Metric(
        "gauge",
        "hw.fan.speed_ratio",
        "1",
        "Fan speed expressed as a fraction of its maximum speed.",
        _fast("fan_speed"),
    ),
    _Metric(
        "counter",
        "hw.errors",
        "{error}",
        "Number of errors encountered by the component.",
        _errors,
    ),
    _Metric(
        "updown",
        "hw.status",
        "1",
        "Operational status: `1` (true) or `0` (false) for each of the possible states.",
        _status,
    ),
    _Metric(
        "gauge",
        "otel_studio.gpu.clock.frequency",
        "Hz",
        "Current frequency of a clock of the GPU.",
        _clocks,
    ),
    _Metric(
        "updown",
        "otel_studio.gpu.clock.event",
        "1",
        "Whether a reason keeps the clocks of the GPU from being higher: 1 if so, 0 if not.",
        _clock_events,
    ),
    _Metric(
        "updown",
        "otel_studio.gpu.memory.remapped_rows",
        "{row}",
        "Rows of the GPU memory that were replaced after errors.",
        _remapped_rows,
    ),
    _Metric(
        "gauge",
        "otel_studio.gpu.pcie.throughput",
        "By/s",
        "Rate over the PCIe link, sampled over 20 ms, where the driver does not count bytes.",
        _throughput,
    ),
    _Metric(
        "updown",
        "otel_studio.gpu.process.memory.usage",
        "By",
        "GPU memory that this process uses.",
        _own_memory,
    ),
    _Metric(
        "gauge",
        "otel_studio.gpu.process.utilization",
        "1",
        "Fraction of time that this process used the GPU for a specific task.",
        _own_utilization,
    ),
    _Metric(
        "updown",
        "otel_studio.gpu.encoder.session.active",
        "{session}",
        "Open sessions of the hardware encoder, of all processes.",
        _sessions,
    ),
    _Metric(
        "gauge",
        "otel_studio.gpu.encoder.frame_rate",
        "{frame}/s",
        "Average frames encoded per second over the open sessions.",
        _medium("encoder_fps"),
    ),
    _Metric(
        "gauge",
        "otel_studio.gpu.encoder.latency",
        "s",
        "Average time to encode a frame over the open sessions.",
        _medium("encoder_latency"),
    ),
)
