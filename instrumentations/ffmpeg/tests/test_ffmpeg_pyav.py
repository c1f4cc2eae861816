"""PyAV's containers and codec contexts, with real encodes and decodes in this process."""

from __future__ import annotations

import asyncio
import gc
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import otel_studio_instrumentation_ffmpeg as followed
import pytest
from opentelemetry.trace import StatusCode

av = pytest.importorskip("av", reason="PyAV is not installed: pip install av")


def pictures(count: int) -> Any:
    """Return so many frames of changing grey."""
    for number in range(count):
        frame = av.VideoFrame(160, 120, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([number % 256]) * plane.buffer_size)
        frame.pts = number
        yield frame


def add_video(output: Any, codec: str = "mpeg4") -> Any:
    """Return a new video stream of small pictures."""
    stream = output.add_stream(codec, rate=25)
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    return stream


def write(path: Path, frames: int = 30) -> None:
    """Encode a clip."""
    with av.open(str(path), "w") as output:
        stream = add_video(output)
        for frame in pictures(frames):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def test_an_encode_is_a_session_with_its_frames(ffmpeg: Any) -> None:
    """Frames, codec, size and rate are those of the stream; the file holds as many."""
    path = ffmpeg.folder / "a.mkv"
    write(path, 30)
    (session,) = followed.sessions()
    assert (session.source, session.operation, session.state) == ("pyav", "encode", "ok")
    assert (session.frames, session.codec, session.resolution) == (30, "mpeg4", "160x120")
    assert (session.frame_rate, session.hardware_accelerated) == (25.0, False)
    assert session.output_seconds == pytest.approx(30 / 25, abs=0.05)
    assert 0 < (session.output_bytes or 0) <= path.stat().st_size
    with av.open(str(path)) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 30
    decode = followed.sessions()[0]
    assert (decode.operation, decode.state, decode.frames) == ("decode", "ok", 30)
    assert [span.name for span in ffmpeg.spans()] == ["encode", "decode"]
    assert followed.statistics().encoded_frames == 30


def test_a_running_encode_is_seen(ffmpeg: Any) -> None:
    """Between the first stream and the close the session runs."""
    output = av.open(str(ffmpeg.folder / "a.mkv"), "w")
    assert followed.sessions() == []
    stream = add_video(output)
    for frame in pictures(10):
        output.mux(stream.encode(frame))
    (session,) = followed.sessions(running=True)
    assert session.frames is not None
    assert 0 < session.frames <= 10
    output.mux(stream.encode(None))
    output.close()
    assert followed.sessions()[0].frames == 10
    output.close()
    assert len(followed.sessions()) == 1


def test_copying_packets_is_a_remux(ffmpeg: Any) -> None:
    """A file written from packets of another one is copied, not encoded."""
    write(ffmpeg.folder / "a.mkv", 20)
    with (
        av.open(str(ffmpeg.folder / "a.mkv")) as source,
        av.open(str(ffmpeg.folder / "b.mkv"), "w") as output,
    ):
        video = source.streams.video[0]
        if hasattr(output, "add_stream_from_template"):
            stream = output.add_stream_from_template(video)
        else:
            stream = output.add_stream(template=video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    remux = followed.sessions()[0]
    assert (remux.operation, remux.state, remux.frames) == ("remux", "ok", 20)


@pytest.mark.parametrize(
    ("error", "state"),
    [(ValueError("bad picture"), "error"), (asyncio.CancelledError(), "cancelled")],
)
def test_an_exception_in_the_block_ends_the_job(
    ffmpeg: Any, error: BaseException, state: str
) -> None:
    """The exception passes unchanged; the job failed of it, or was cancelled."""

    def encode() -> None:
        with av.open(str(ffmpeg.folder / "a.mkv"), "w") as output:
            stream = add_video(output)
            for frame in pictures(5):
                output.mux(stream.encode(frame))
            raise error

    with pytest.raises(type(error)) as raised:
        encode()
    assert raised.value is error
    (session,) = followed.sessions()
    assert session.state == state
    assert session.error == ("bad picture" if state == "error" else None)
    (span,) = ffmpeg.spans()
    assert (span.status.status_code is StatusCode.ERROR) is (state == "error")


def test_a_write_that_fails_is_a_failed_encode(ffmpeg: Any) -> None:
    """An error of PyAV itself is passed on and counted."""

    def encode() -> None:
        with av.open("/dev/full", "w", format="matroska") as output:
            stream = add_video(output)
            for frame in pictures(200):
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))

    with pytest.raises(OSError, match="No space"):
        encode()
    (session,) = followed.sessions()
    assert session.state == "error"
    assert "No space left" in (session.error or "")
    assert followed.statistics().failed_encodes == 1


def test_a_decode_that_stops_early_counts_what_was_read(ffmpeg: Any) -> None:
    """Only the frames that were asked for count, and stopping early is no failure."""
    path = ffmpeg.folder / "a.mkv"
    write(path, 60)
    with av.open(str(path)) as clip:
        frames = clip.decode(video=0)
        next(frames)
        next(frames)
        frames.close()
        assert followed.sessions()[0].state == "running"
    session = followed.sessions()[0]
    assert (session.operation, session.state, session.frames) == ("decode", "ok", 2)


def test_a_decode_that_raises_failed(ffmpeg: Any) -> None:
    """An error of the decoder is passed on, and the job failed of it."""
    with av.open(str(_sound_file(ffmpeg.folder))) as clip:
        frames = clip.decode(video=0)
        with pytest.raises(IndexError):
            next(frames)
    assert [session.state for session in followed.sessions()] == ["error"]
    assert followed.statistics().failed_encodes == 0


def _sound_file(folder: Path) -> Path:
    """Write a file without any video stream, so that asking for one raises."""
    path = folder / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000))
    return path


def test_what_is_dropped_without_a_close_ends_too(ffmpeg: Any) -> None:
    """An output that nobody closed ended when it was last written to."""
    output = av.open(str(ffmpeg.folder / "a.mkv"), "w")
    stream = add_video(output)
    for frame in pictures(10):
        output.mux(stream.encode(frame))
    del output, stream
    gc.collect()
    assert [session.state for session in followed.sessions()] == ["ok"]


def test_a_codec_context_is_a_job_until_its_flush(ffmpeg: Any) -> None:
    """A bare encoder and a bare decoder count their frames, and fail as PyAV says."""
    encoder = av.CodecContext.create("mpeg4", "w")
    assert isinstance(encoder, av.CodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 160, 120, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    packets = [packet for frame in pictures(12) for packet in encoder.encode(frame)]
    assert followed.statistics().active_encodes == 1
    packets += encoder.encode(None)
    decoder = av.codec.CodecContext.create("mpeg4", "r")
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    decoded, encoded = followed.sessions()
    assert (encoded.operation, encoded.frames, encoded.resolution) == ("encode", 12, "160x120")
    assert (decoded.operation, decoded.frames, decoded.state) == ("decode", len(frames), "ok")
    assert len(frames) == 12


def test_containers_pass_for_pyavs_own(ffmpeg: Any) -> None:
    """A followed container is an instance of PyAV's class and takes its attributes."""
    write(ffmpeg.folder / "a.mkv", 5)
    with av.open(str(ffmpeg.folder / "a.mkv")) as clip:
        assert isinstance(clip, av.container.InputContainer)
        clip.flags = clip.flags
        assert clip.format.name.startswith("matroska")
        with pytest.raises(AttributeError):
            _ = clip.nonsense


def test_uninstrument_gives_pyav_back(ffmpeg: Any) -> None:
    """Afterwards `av.open` and `av.CodecContext` are PyAV's own."""
    followed.FFmpegInstrumentor().uninstrument()
    assert type(av.CodecContext) is type
    assert not hasattr(av.open, "__wrapped__")
    assert av.container.open is av.open
    assert type(av.CodecContext.create("mpeg4", "w")).__module__.startswith("av.")
    write(ffmpeg.folder / "a.mkv")
    assert followed.sessions() == []
    ffmpeg.instrument()
