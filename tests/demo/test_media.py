"""The demo's pictures are real: encoded, decoded, resized, and refused when they are damaged."""

from __future__ import annotations

import io
import os
import random
import threading
import wave
from pathlib import Path

import av
import pytest

from examples.preview_service.media import (
    NoPictures,
    RenderingStopped,
    decode_frames,
    encode_picture,
    record_test_clip,
    render_preview,
    resize_frame,
)


@pytest.fixture(scope="module")
def content() -> bytes:
    return record_test_clip(seed=1, seconds=1.0)


@pytest.fixture
def clip(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    return path


def test_a_test_clip_decodes_to_the_frames_that_were_encoded(clip: Path) -> None:
    """One second at 24 frames a second gives 24 frames of the size asked for."""
    sizes = [(frame.width, frame.height) for frame in decode_frames(clip)]
    assert sizes == [(320, 240)] * 24


def test_clips_of_two_seeds_differ(content: bytes) -> None:
    """Each seed makes a clip of its own, so that each has its own id and preview."""
    assert record_test_clip(seed=2, seconds=1.0) != content


def test_the_step_passes_frames_over(clip: Path) -> None:
    """With a step of 4, every fourth frame comes, beginning with the first."""
    every = [frame.pts for frame in decode_frames(clip)]
    fourth = [frame.pts for frame in decode_frames(clip, step=4)]
    assert fourth == every[::4]


@pytest.mark.parametrize(("width", "size"), [(160, (160, 120)), (161, (160, 120)), (90, (90, 68))])
def test_resizing_keeps_the_proportions(clip: Path, width: int, size: tuple[int, int]) -> None:
    """Width and height are even, as the encoder wants them, and 4:3 as near as that allows."""
    frame = resize_frame(next(decode_frames(clip)), width)
    assert (frame.width, frame.height) == size


def test_a_picture_is_a_jpeg_of_the_frame(clip: Path, tmp_path: Path) -> None:
    """What `encode_picture` returns decodes to one picture of the frame's size."""
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(encode_picture(next(decode_frames(clip))))
    (decoded,) = decode_frames(picture)
    assert (decoded.width, decoded.height) == (320, 240)


def test_a_preview_has_every_fourth_frame_in_the_width_asked_for(
    clip: Path, tmp_path: Path
) -> None:
    """The preview is a video of its own that decodes to the frames it claims to have."""
    preview = render_preview(clip, 160, threading.Event())
    assert (preview.frames, preview.width, preview.height) == (6, 160, 120)
    path = tmp_path / "preview.mp4"
    path.write_bytes(preview.content)
    assert [(frame.width, frame.height) for frame in decode_frames(path)] == [(160, 120)] * 6


def test_an_unwanted_preview_is_not_rendered_to_the_end(clip: Path) -> None:
    """Once the stop event is set, no further frame is worked on."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(RenderingStopped, match=r"clip\.mp4 is no longer wanted"):
        render_preview(clip, 160, stop)


@pytest.mark.parametrize("damage", ["noise", "truncated", "overwritten", "empty"])
def test_a_damaged_clip_fails_in_the_decoder(clip: Path, content: bytes, damage: str) -> None:
    """Random bytes, a clip cut short, one overwritten in the middle and an empty one all fail."""
    noise = random.Random(7).randbytes(len(content))
    third = len(content) // 3
    clip.write_bytes(
        {
            "noise": noise,
            "truncated": content[: 2 * third],
            "overwritten": content[:third] + noise[third : 2 * third] + content[2 * third :],
            "empty": b"",
        }[damage]
    )
    with pytest.raises(av.FFmpegError, match="Invalid data"):
        render_preview(clip, 160, threading.Event())


def test_a_file_without_video_is_told_from_a_damaged_one(clip: Path) -> None:
    """A sound file opens, and is refused for having no pictures."""
    silence = io.BytesIO()
    with wave.open(silence, "wb") as sound:
        sound.setparams((1, 2, 8_000, 0, "NONE", "none"))
        sound.writeframes(bytes(16_000))
    clip.write_bytes(silence.getvalue())
    with pytest.raises(NoPictures, match=r"no video in clip\.mp4"):
        render_preview(clip, 160, threading.Event())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_frames_given_up_early_close_the_file(clip: Path) -> None:
    """A consumer that stops after the first frame leaves no file open."""

    def is_open() -> bool:
        links = Path("/proc/self/fd").iterdir()
        return any(os.path.realpath(link) == str(clip.resolve()) for link in links)

    frames = decode_frames(clip)
    next(frames)
    assert is_open()
    del frames
    assert not is_open()
