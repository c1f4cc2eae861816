"""The records that a query about the GPUs returns, made of the last snapshot."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from otel_studio.base.record import Record, iso_time, megabytes
from otel_studio.gpu.encoders import EncodeStatistics, RunningEncode
from otel_studio.gpu.reading import GpuReading
from otel_studio.gpu.tiers import (
    DeviceSnapshot,
    EncoderSession,
    FastFigures,
    MediumFigures,
    ProcessShare,
    SlowFigures,
)


@dataclasses.dataclass(frozen=True, slots=True)
class EncodingSession(Record):
    """One open session of a hardware encoder.

    Attributes:
        session_id: the driver's number of the session.
        pid: the process that encodes, as the driver numbers it: in a container this can be the
            host's number.
        codec: h264, hevc, av1 or unknown.
        resolution: as "1920x1080".
        fps: frames encoded per second, the driver's moving average.
        latency: time to encode a frame in milliseconds, the driver's moving average.
        bitrate_mbps: of the output so far, in megabits a second; known where the process is an
            encode of ours, by what the encoder reports, else `None`.
        duration_seconds: the length of the output so far, likewise.
    """

    session_id: int
    pid: int
    codec: str
    resolution: str
    fps: float
    latency: float
    bitrate_mbps: float | None = None
    duration_seconds: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class EncodePerformance(Record):
    """How the encodes of this process do, on whichever device: `None` where nobody says.

    Attributes:
        encode_fps: frames encoded per second, all running encodes together.
        queue_length: encodes that wait to start.
        average_encode_time_ms: mean duration of the completed encodes, in milliseconds.
        failed_encodes: encodes that failed.
        hardware_acceleration_active: whether a running encode uses a hardware encoder.
    """

    encode_fps: float | None = None
    queue_length: int | None = None
    average_encode_time_ms: float | None = None
    failed_encodes: int | None = None
    hardware_acceleration_active: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class GpuProcessShare(Record):
    """This process's own part of a device.

    Attributes:
        memory_mb: memory of the device that this process holds.
        gpu_utilization_percent: share of the time its kernels ran, 0 to 100.
        encoder_utilization_percent: its use of the video encoder, 0 to 100.
        decoder_utilization_percent: its use of the video decoder, 0 to 100.
        unknown_because: why there are no figures, in words.
    """

    memory_mb: float | None = None
    gpu_utilization_percent: float | None = None
    encoder_utilization_percent: float | None = None
    decoder_utilization_percent: float | None = None
    unknown_because: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class GpuMetrics(Record):
    """One GPU, or one MIG device, as it was read last; what it does not support is `None`.

    Memory is in megabytes of 1,000,000 bytes; nvidia-smi counts in MiB (1,048,576 bytes), so its
    figures are 4.6% lower. Percentages are 0 to 100.

    Attributes:
        gpu_utilization_percent: time in which a kernel ran, over the driver's last period.
        memory_used_mb: memory in use by all processes.
        memory_total_mb: size of the memory.
        memory_utilization_percent: used by total, not the memory controller's activity.
        temperature_celsius: of the GPU die.
        power_usage_watts: of the whole board.
        active_encoders: open encoder sessions; `None` on a card without an encoder.
        encoding_sessions: these sessions; `None` where the driver does not list them.
        performance_metrics: the encodes of this process, the same beside every device.
        device_id: the UUID.
        name: model and place.
        model: the product.
        driver_version: the running driver.
        parent_id: the card that a MIG device is part of.
        status: ok, degraded, failed, predicted_failure; `None` while the driver does not answer.
        status_reason: why it is not ok.
        sampled_at: when the fast figures were read, ISO 8601.
        encoder_utilization_percent: of the video encoder.
        decoder_utilization_percent: of the video decoder.
        memory_reserved_mb: memory that the driver keeps for itself, beside what is used.
        energy_joules: used since the driver was loaded.
        fan_speed_percent: of what the fan is meant to reach; can be over 100.
        clocks_mhz: graphics, sm, memory and video, those that are known.
        clock_event_reasons: why clocks are not higher, those that hold now.
        ecc_errors_corrected: memory errors since the driver was loaded.
        ecc_errors_uncorrected: those that could not be corrected.
        remapped_rows_corrected: memory rows replaced for correctable errors.
        remapped_rows_uncorrected: rows replaced for uncorrectable errors.
        pcie_transmitted_bytes: sent over the link, where the driver counts them.
        pcie_received_bytes: received over the link, where the driver counts them.
        pcie_transmit_bytes_per_second: sampled over 20 ms, where bytes are not counted.
        pcie_receive_bytes_per_second: sampled over 20 ms, where bytes are not counted.
        pcie_generation: of the link as it runs now.
        pcie_width: lanes of the link as it runs now.
        process: this process's own share.
    """

    gpu_utilization_percent: float | None
    memory_used_mb: float | None
    memory_total_mb: float | None
    memory_utilization_percent: float | None
    temperature_celsius: float | None
    power_usage_watts: float | None
    active_encoders: int | None
    encoding_sessions: list[EncodingSession] | None
    performance_metrics: EncodePerformance
    device_id: str
    name: str
    model: str | None
    driver_version: str | None
    parent_id: str | None
    status: str | None
    status_reason: str | None
    sampled_at: str | None
    encoder_utilization_percent: float | None
    decoder_utilization_percent: float | None
    memory_reserved_mb: float | None
    energy_joules: float | None
    fan_speed_percent: float | None
    clocks_mhz: dict[str, float]
    clock_event_reasons: list[str] | None
    ecc_errors_corrected: int | None
    ecc_errors_uncorrected: int | None
    remapped_rows_corrected: int | None
    remapped_rows_uncorrected: int | None
    pcie_transmitted_bytes: int | None
    pcie_received_bytes: int | None
    pcie_transmit_bytes_per_second: float | None
    pcie_receive_bytes_per_second: float | None
    pcie_generation: int | None
    pcie_width: int | None
    process: GpuProcessShare


def utilization_metrics(reading: GpuReading) -> list[GpuMetrics]:
    """Return the record of each device.

    Args:
        reading: of one process, or of several.
    """
    encodes = reading.encode_statistics
    return [
        _describe(device, reading.share(device.identity.uuid) or ProcessShare(), encodes)
        for device in reading.snapshots
    ]


def _describe(device: DeviceSnapshot, share: ProcessShare, encodes: EncodeStatistics) -> GpuMetrics:
    fast = device.fast or FastFigures(0, 0)
    medium = device.medium or MediumFigures(0)
    slow = device.slow or SlowFigures(0)
    events = medium.clock_events
    return GpuMetrics(
        gpu_utilization_percent=_percent(fast.general_utilization),
        memory_used_mb=megabytes(fast.memory_used),
        memory_total_mb=megabytes(fast.memory_total),
        memory_utilization_percent=_percent(fast.memory_utilization),
        temperature_celsius=fast.temperature,
        power_usage_watts=fast.power,
        active_encoders=medium.active_encoders,
        encoding_sessions=_sessions(medium.sessions, encodes.running),
        performance_metrics=performance_of(encodes),
        device_id=device.identity.uuid,
        name=device.identity.name,
        model=device.identity.model,
        driver_version=device.identity.driver_version,
        parent_id=device.identity.parent,
        status=device.state,
        status_reason=device.state_reason,
        sampled_at=None if device.fast is None else iso_time(fast.wall_ns),
        encoder_utilization_percent=_percent(fast.encoder_utilization),
        decoder_utilization_percent=_percent(fast.decoder_utilization),
        memory_reserved_mb=megabytes(fast.memory_reserved),
        energy_joules=fast.energy,
        fan_speed_percent=_percent(fast.fan_speed),
        clocks_mhz={name: hertz / 1e6 for name, hertz in fast.clocks.items()},
        clock_event_reasons=None
        if events is None
        else [reason for reason, holds in events.items() if holds],
        ecc_errors_corrected=slow.ecc_corrected,
        ecc_errors_uncorrected=slow.ecc_uncorrected,
        remapped_rows_corrected=slow.remapped_corrected,
        remapped_rows_uncorrected=slow.remapped_uncorrected,
        pcie_transmitted_bytes=slow.pcie_transmitted,
        pcie_received_bytes=slow.pcie_received,
        pcie_transmit_bytes_per_second=slow.pcie_transmit_rate,
        pcie_receive_bytes_per_second=slow.pcie_receive_rate,
        pcie_generation=slow.pcie_generation,
        pcie_width=slow.pcie_width,
        process=_process(share),
    )


def _sessions(
    sessions: tuple[EncoderSession, ...] | None, running: Sequence[RunningEncode]
) -> list[EncodingSession] | None:
    if sessions is None:
        return None
    # A report is of one process: of several sessions or encodes in it, none is told apart.
    open_in = Counter(session.pid for session in sessions)
    encodes_in = Counter(encode.pid for encode in running)
    ours = {encode.pid: encode for encode in running if encodes_in[encode.pid] == 1}
    nothing = RunningEncode(0)
    found = []
    for session in sessions:
        encode = ours.get(session.pid, nothing) if open_in[session.pid] == 1 else nothing
        found.append(
            EncodingSession(
                session_id=session.session_id,
                pid=session.pid,
                codec=session.codec,
                resolution=f"{session.width}x{session.height}",
                fps=session.fps,
                latency=session.latency * 1_000,
                bitrate_mbps=encode.bitrate_mbps,
                duration_seconds=encode.duration_seconds,
            )
        )
    return found


def performance_of(encodes: EncodeStatistics) -> EncodePerformance:
    """Return how encodes do, as queries answer it."""
    return EncodePerformance(
        encode_fps=encodes.encode_fps,
        queue_length=encodes.queue_length,
        average_encode_time_ms=encodes.average_encode_time_ms,
        failed_encodes=encodes.failed_encodes,
        hardware_acceleration_active=encodes.hardware_acceleration_active,
    )


def _process(share: ProcessShare) -> GpuProcessShare:
    return GpuProcessShare(
        memory_mb=megabytes(share.memory),
        gpu_utilization_percent=_percent(share.general_utilization),
        encoder_utilization_percent=_percent(share.encoder_utilization),
        decoder_utilization_percent=_percent(share.decoder_utilization),
        unknown_because=share.unknown_because,
    )


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else round(fraction * 100, 6)
