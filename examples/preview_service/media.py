"""The work on pictures: record test clips, decode frames, resize them, encode previews."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from opentelemetry.instrumentation.utils import suppress_instrumentation

import otel_studio as studio

FRAMES_PER_SECOND = 24
#: A preview shows every so manieth frame of its clip.
PREVIEW_STEP = 4
#: H.264 plays in every browser; MPEG-4 is what a build of FFmpeg without x264 has.
VIDEO_CODEC = "libx264" if "libx264" in av.codecs_available else "mpeg4"
ENCODER_OPTIONS = {"preset": "veryfast"} if VIDEO_CODEC == "libx264" else {}

media = studio.service("media-service")

#: The frames of the previews that are being made, by the identity of their list.
_under_way: dict[int, list[av.VideoFrame]] = {}


class NoPictures(Exception):
    """The file can be read, but there is no video in it."""


#: What `decode_frames` and `render_preview` raise for a file that is not a whole video.
Undecodable = (av.error.FFmpegError, NoPictures)


class RenderingStopped(Exception):
    """Nobody waits for this preview any longer."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview that is ready to be sent.

    Args:
        content: the MP4 file.
        frames: how many frames it has.
        width: of each frame, in pixels.
        height: of each frame, in pixels.
    """

    content: bytes
    frames: int
    width: int
    height: int


def reason_of(error: Exception) -> str:
    """Return why a clip cannot be decoded, without FFmpeg's number and the file's path."""
    return str(getattr(error, "strerror", None) or error)


@studio.track("record_test_clip", service="media-service", capture_args=("seed", "seconds"))
def record_test_clip(seed: int, seconds: float = 2.0, size: str = "320x240") -> bytes:
    """Return an MP4 file with FFmpeg's moving test pattern.

    Args:
        seed: turns the colours, so that clips of different seeds have different content.
        seconds: how long the clip plays.
        size: of each frame, in pixels.
    """
    return _encode(_test_pictures(seed, seconds, size))


@studio.track("decode_frames", service="media-service", capture_args=("path",))
def decode_frames(path: Path, step: int = 1) -> Generator[av.VideoFrame, None, None]:
    """Yield the frames of a clip.

    Args:
        path: the clip.
        step: yield every so manieth frame; the others are decoded and passed over.

    Raises:
        av.FFmpegError: when the file is damaged.
        NoPictures: when it is a file of another kind.
    """
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise NoPictures(f"there is no video in {path.name}")
        for position, frame in enumerate(container.decode(container.streams.video[0])):
            if position % step == 0:
                yield frame


@studio.track("resize_frame", service="media-service")
def resize_frame(frame: av.VideoFrame, width: int) -> av.VideoFrame:
    """Return the frame in another width, its proportions kept.

    Args:
        frame: any frame.
        width: in pixels; rounded down to an even number, as the encoder wants it.
    """
    width -= width % 2
    height = round(frame.height * width / frame.width)
    return frame.reformat(width=width, height=height + height % 2, format="yuv420p")


@studio.track("encode_picture", service="media-service")
def encode_picture(frame: av.VideoFrame) -> bytes:
    """Return one frame as a JPEG file."""
    with suppress_instrumentation():  # a picture of a stream is no encode job of its own
        encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt = "yuvj420p"
    encoder.framerate = Fraction(FRAMES_PER_SECOND)
    picture = frame.reformat(format="yuvj420p")
    picture.pts = None
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


def play(path: Path, width: int) -> Generator[bytes, None, None]:
    """Yield every frame of a clip as a JPEG file.

    Args:
        path: the clip.
        width: of each picture, in pixels.

    Raises:
        av.FFmpegError: when the clip is damaged.
        NoPictures: when it is a file of another kind.
    """
    with contextlib.closing(decode_frames(path)) as frames:
        for frame in frames:
            yield encode_picture(resize_frame(frame, width))


def frames_in_memory() -> int:
    """Return how many bytes the frames take that wait for their preview's encoder."""
    frames = [frame for under_way in list(_under_way.values()) for frame in list(under_way)]
    return sum(plane.buffer_size for frame in frames for plane in frame.planes)


def render_preview(path: Path, width: int, stop: threading.Event) -> Preview:
    """Decode a clip, resize every fourth frame and encode the preview.

    Args:
        path: the clip.
        width: of the preview, in pixels.
        stop: when set, the work ends at the next frame.

    Raises:
        av.FFmpegError: when the clip is damaged.
        NoPictures: when it is a file of another kind, or without a single whole frame.
        RenderingStopped: when `stop` was set.
    """
    frames: list[av.VideoFrame] = []
    _under_way[id(frames)] = frames
    try:
        for frame in decode_frames(path, PREVIEW_STEP):
            if stop.is_set():
                raise RenderingStopped(f"the preview of {path.name} is no longer wanted")
            frames.append(resize_frame(frame, width))
        if not frames:
            raise NoPictures(f"no frame of {path.name} is whole")
        with media.operation("encode_preview") as operation:
            operation.set_attribute("preview.frames", len(frames))
            content = _encode(frames, FRAMES_PER_SECOND // PREVIEW_STEP)
    finally:
        del _under_way[id(frames)]
    return Preview(content, len(frames), frames[0].width, frames[0].height)


def _encode(frames: Iterable[av.VideoFrame], rate: int = FRAMES_PER_SECOND) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = cast(
            "VideoStream", container.add_stream(VIDEO_CODEC, rate=rate, options=ENCODER_OPTIONS)
        )
        stream.pix_fmt = "yuv420p"
        for position, frame in enumerate(frames):
            if position == 0:
                stream.width, stream.height = frame.width, frame.height
            frame.pts, frame.time_base = position, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _test_pictures(seed: int, seconds: float, size: str) -> Iterator[av.VideoFrame]:
    graph = Graph()
    pattern = graph.add("testsrc2", f"size={size}:rate={FRAMES_PER_SECOND}:duration={seconds}")
    colours = graph.add("hue", f"h={seed % 360}")
    end = graph.add("buffersink")
    pattern.link_to(colours)
    colours.link_to(end)
    graph.configure()
    with contextlib.suppress(av.error.EOFError):
        while True:
            yield cast("av.VideoFrame", graph.pull())
