"""Command lines, progress blocks and logs, as ffmpeg reads and writes them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_studio_instrumentation_ffmpeg.codecs import hardware_kind, is_hardware
from otel_studio_instrumentation_ffmpeg.command import parse_command, parse_time
from otel_studio_instrumentation_ffmpeg.progress import (
    LogReader,
    ProgressParser,
    last_error_line,
)

LOG = b"""ffmpeg version 5.1.9 Copyright (c) 2000-2026 the FFmpeg developers
Input #0, mov,mp4, from 'in.mov':
  Duration: 00:01:02.50, start: 0.000000, bitrate: 2000 kb/s
  Stream #0:0(und): Video: hevc (Main), yuv420p, 1920x1080, 29.97 fps, 30 tbr
  Stream #0:1(und): Audio: aac (LC), 48000 Hz, stereo
Stream mapping:
  Stream #0:1 -> #0:0 (aac (native) -> opus (libopus))
  Stream #0:0 -> #0:1 (hevc (native) -> h264 (h264_nvenc))
Press [q] to stop, [?] for help
Output #0, matroska, to 'out.mkv':
  Stream #0:0(und): Audio: opus, 48000 Hz, stereo
  Stream #0:1(und): Video: h264 (Main) (H264 / 0x34363248), yuv420p, 1280x720, 30 fps, 1k tbn
frame=   10 fps=0.0 q=0.0 size=       0kB time=00:00:00.00 bitrate=N/A speed=N/A\r\
frame=   20 fps=0.0 q=0.0 size=       0kB time=00:00:00.00 bitrate=N/A speed=N/A\r\
av_interleaved_write_frame(): No space left on device
frame=   30 fps=0.0 q=-1.0 Lsize=       1kB time=00:00:00.00 bitrate=N/A speed=N/A
video:1kB audio:0kB subtitle:0kB other streams:0kB global headers:0kB
[libx264 @ 0x55675a1f81c0] frame I:1     Avg QP:20.00  size:  7637
Conversion failed!
"""


@pytest.mark.parametrize(
    ("text", "operation", "codec", "resolution"),
    [
        ("ffmpeg -i a.mov b.mp4", "encode", None, None),
        ("ffmpeg -i a -c:v libx265 -s 640x480 b", "encode", "libx265", "640x480"),
        (
            "ffmpeg -i a -vcodec h264_vaapi -vf format=nv12,scale=1280:720 b",
            "encode",
            "h264_vaapi",
            "1280x720",
        ),
        ("ffmpeg -i a -codec:v:0 libvpx -s hd720 b", "encode", "libvpx", "1280x720"),
        ("ffmpeg -i a -vf scale=-2:720 b", "encode", None, None),
        ("ffmpeg -i a -c copy b", "remux", None, None),
        ("ffmpeg -i a -c:v copy -c:a aac b", "encode", None, None),
        ("ffmpeg -i a -c:v copy -an b", "remux", None, None),
        ("ffmpeg -i a -f null -", "decode", None, None),
        ("ffmpeg -i a -f rawvideo pipe:1", "decode", None, None),
        ("ffmpeg -i a -c:v rawvideo -pix_fmt rgb24 -f image2pipe -", "decode", "rawvideo", None),
        ("ffmpeg -i a -vn -c:a libmp3lame b.mp3", "encode", "libmp3lame", None),
        ("ffmpeg -i a -f null - -c:v libx264 b.mp4", "encode", None, None),
        ("ffmpeg -y -nostdin -hide_banner -i a -an -c:v mpeg4 b", "encode", "mpeg4", None),
    ],
)
def test_a_command_line_says_what_it_does(
    text: str, operation: str, codec: str | None, resolution: str | None
) -> None:
    """Operation, codec and size are read from the options that count for the first video."""
    command = parse_command(text.split())
    assert command is not None
    assert (command.operation, command.codec, command.resolution) == (operation, codec, resolution)


@pytest.mark.parametrize(
    ("text", "quiet"),
    [
        ("", False),
        ("-v error", True),
        ("-loglevel warning", True),
        ("-loglevel level+repeat+fatal", True),
        ("-v 16", True),
        ("-v 32", False),
        ("-v info", False),
        ("-v debug", False),
        ("-v strange", False),
    ],
)
def test_quiet_is_what_prints_no_information(text: str, quiet: bool) -> None:
    """Only a level below information makes the announcement of a log invisible."""
    command = parse_command(["ffmpeg", *text.split(), "-i", "a", "b"])
    assert command is not None
    assert command.quiet is quiet


@pytest.mark.parametrize(
    ("text", "talkative"),
    [
        ("", False),
        ("-v error", False),
        ("-loglevel repeat+level+info", False),
        ("-loglevel level", False),
        ("-v 33", True),
        ("-v verbose", True),
        ("-v error -loglevel debug", True),
        ("-v strange", True),
        ("-v \u00b2", True),
    ],
)
def test_talkative_is_what_prints_each_option(text: str, talkative: bool) -> None:
    """Above information, by any of its levels, ffmpeg shows what was added to its options."""
    command = parse_command(["ffmpeg", *text.split(), "-i", "a", "b"])
    assert command is not None
    assert command.talkative is talkative


def test_expected_lengths_come_from_limits() -> None:
    """`-t`, `-to` and `-frames:v` say how long the output will be."""

    def expected(text: str) -> tuple[float | None, int | None]:
        command = parse_command(f"ffmpeg {text}".split())
        assert command is not None
        return command.expected_seconds, command.expected_frames

    assert expected("-i a -t 00:01:30.5 b") == (90.5, None)
    assert expected("-t 10 -i a -t 20 b") == (10.0, None)
    assert expected("-i a -to 12 b") == (12.0, None)
    assert expected("-i a -frames:v 30 b") == (None, 30)
    assert expected("-i a -t 10ms b") == (None, None)


def test_no_job_without_input_and_output() -> None:
    """Questions to ffmpeg are no jobs."""
    for text in ("ffmpeg", "ffmpeg -version", "ffmpeg -h full", "ffmpeg -i a", "ffmpeg -i"):
        assert parse_command(text.split()) is None


@given(st.lists(st.text(max_size=8) | st.sampled_from(["-i", "-c:v", "-s", "-y", "-t", "-"])))
def test_any_command_line_is_read_without_an_error(arguments: list[str]) -> None:
    """Whatever the arguments, reading them never raises."""
    parse_command(["ffmpeg", *arguments])


def test_hardware_is_told_by_the_name() -> None:
    """A part of the name tells the hardware; the name of a format alone tells nothing."""
    kinds = {"h264_nvenc": "nvenc", "hevc_vaapi": "vaapi", "av1_qsv": "qsv", "mpeg4": None}
    assert {name: hardware_kind(name) for name in kinds} == kinds
    assert hardware_kind("prores_videotoolbox") == "videotoolbox"
    assert is_hardware("libx264") is False
    assert is_hardware("h264") is is_hardware(None) is None


def test_times_are_seconds() -> None:
    """Ffmpeg's times are read in each of their forms."""
    assert [parse_time(text) for text in ("5", "1:02", "01:00:00.5", "N/A", "")] == [
        5.0,
        62.0,
        3600.5,
        None,
        None,
    ]


@given(st.lists(st.integers(0, len(LOG)), max_size=12))
def test_a_log_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    """Streams, length and the reason of the failure do not depend on where reads end."""
    reader = LogReader()
    edges = [0, *sorted(cuts), len(LOG)]
    for start, end in itertools.pairwise(edges):
        reader.feed(LOG[start:end])
    reader.close()
    assert reader.codec("encode") == "h264_nvenc"
    assert reader.codec("decode") == "hevc"
    assert (reader.resolution, reader.frame_rate) == ("1280x720", 30.0)
    assert reader.expected_seconds == 62.5
    assert reader.last_error() == "av_interleaved_write_frame(): No space left on device"


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    """Whatever a child writes, reading it never raises."""
    reader, parser = LogReader(), ProgressParser()
    reader.feed(b"Stream mapping:\n" + data)
    reader.feed(b"\nOutput #0\n" + data)
    reader.close()
    reader.last_error()
    parser.feed(data + b"\nprogress=end\n")


def test_a_flood_of_errors_is_kept_in_bounds() -> None:
    """A log without line ends, or of endless lines, keeps only its last part."""
    reader = LogReader()
    for _ in range(200):
        reader.feed(b"x" * 10_000)
    reader.feed(b"\n" + b"damaged frame\n" * 10_000)
    assert reader.last_error() == "damaged frame"
    assert len(reader._last) <= 40
    assert all(len(line) <= 500 for line in reader._last)


def test_a_progress_block_is_complete_at_its_last_line() -> None:
    """Values count once the block ends; N/A is unknown, not zero."""
    parser = ProgressParser()
    assert parser.feed(b"frame=12\nbitrate=N/A\ntotal_size=48\nout_time_us=1500000\nspee") is None
    block = parser.feed(b"d=1.5x\nprogress=continue\nframe=13\n")
    assert block is not None
    assert (block.frames, block.output_bytes, block.output_seconds) == (12, 48, 1.5)
    assert (block.bitrate_kbps, block.speed, block.dropped_frames) == (None, 1.5, None)
    block = parser.feed(b"bitrate= 161.2kbits/s\nprogress=end\n")
    assert block is not None
    assert (block.frames, block.bitrate_kbps) == (13, 161.2)


def test_a_reason_is_the_last_line_that_reads_like_one() -> None:
    """Statistics and closing words are no reasons; without a reason the last other line is."""
    assert last_error_line(["Invalid argument", "frame=  1 fps=0", "Conversion failed!"]) == (
        "Invalid argument"
    )
    assert last_error_line(["something odd", "frame=  1"]) == "something odd"
    assert last_error_line(["frame=  1", ""]) is None
