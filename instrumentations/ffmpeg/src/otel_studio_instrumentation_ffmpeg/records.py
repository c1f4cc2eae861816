"""The frozen records that `sessions()` and `statistics()` return."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """One encode, decode or remux job, running or ended.

    A field without a source is `None`: `resolution` of a job whose command line names none and
    whose log cannot be read, `fps` before the second progress report.

    Attributes:
        session_id: number of the job in this process, from 1.
        source: `process` (an ffmpeg child) or `pyav`.
        operation: `encode`, `decode` or `remux`.
        state: `running`, `ok`, `error`, `cancelled` (stopped by the caller) or `unknown` (ended,
            and its exit status was taken by something else).
        pid: process id of the ffmpeg child; of this process for PyAV.
        codec: the encoder (or the decoder of a decode job) by its ffmpeg name.
        hardware: kind of hardware codec (`nvenc`, `vaapi`, ...); `None` also when unknown.
        hardware_accelerated: whether the codec runs on hardware; `None` when the codec is unknown.
        resolution: `WIDTHxHEIGHT` of the output.
        frame_rate: frames per second of the output stream.
        frames: frames done, as ffmpeg counts them.
        dropped_frames: frames dropped, as ffmpeg counts them.
        fps: frames per second now, between the last reports; `None` once ended.
        average_fps: frames per second over the whole run.
        bitrate_kbps: bitrate of the output so far, in kbit/s.
        output_bytes: size of the output so far, in bytes.
        output_seconds: length of the output so far, in seconds.
        speed: seconds of output per second of work.
        progress: part done, 0 to 1, where the expected length is known.
        started_at: start, ISO 8601 UTC.
        duration_ms: time taken, so far while it runs, in milliseconds.
        exit_code: exit code of the child; negative for a signal.
        error: why it failed: the last error line where it could be had.
    """

    session_id: int
    source: str
    operation: str
    state: str
    pid: int | None
    codec: str | None
    hardware: str | None
    hardware_accelerated: bool | None
    resolution: str | None
    frame_rate: float | None
    frames: int | None
    dropped_frames: int | None
    fps: float | None
    average_fps: float | None
    bitrate_kbps: float | None
    output_bytes: int | None
    output_seconds: float | None
    speed: float | None
    progress: float | None
    started_at: str
    duration_ms: float
    exit_code: int | None
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain dict."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class EncodeStatistics:
    """All encode jobs of this process in a few numbers.

    Attributes:
        encode_fps: frames per second over all running encodes; 0 when none runs, `None` when
            none of the running ones has told its speed yet.
        queue_length: jobs waiting, from the sources given to `track_queue`; `None` without any.
        average_encode_time_ms: mean time of the encodes that ended well, in milliseconds;
            `None` before the first.
        failed_encodes: encodes that failed.
        hardware_acceleration_active: whether a running encode uses a hardware encoder; `None`
            when that cannot be told for any running encode.
        active_encodes: encodes running.
        completed_encodes: encodes that ended well.
        cancelled_encodes: encodes stopped by the caller.
        encoded_frames: frames of all encodes, running ones included.
    """

    encode_fps: float | None
    queue_length: int | None
    average_encode_time_ms: float | None
    failed_encodes: int
    hardware_acceleration_active: bool | None
    active_encodes: int
    completed_encodes: int
    cancelled_encodes: int
    encoded_frames: int

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain dict."""
        return dataclasses.asdict(self)
