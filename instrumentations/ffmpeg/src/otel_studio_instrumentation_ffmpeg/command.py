"""Reads an ffmpeg command line: what it does, with which codec, size and expected length."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

_SIZE = re.compile(r"^(\d+)x(\d+)$")
_SCALE = re.compile(r"(?:^|,)scale=(?:w=)?(\d+):(?:h=)?(\d+)(?:[:,]|$)")
_TIME = re.compile(r"^(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)$")

#: Options of ffmpeg that take no value; all others take one. `-noX` negates each.
# fmt: off
_FLAGS = frozenset({
    "y", "n", "stdin", "stats", "report", "xerror", "an", "vn", "sn", "dn", "re", "copyts",
    "shortest", "start_at_zero", "accurate_seek", "autorotate", "autoscale", "benchmark",
    "benchmark_all", "dump", "hex", "ignore_unknown", "copy_unknown", "bitexact", "psnr",
    "vstats", "qphist", "hide_banner", "debug_ts", "find_stream_info", "fix_sub_duration",
    "fix_sub_duration_heartbeat", "intra", "deinterlace", "recast_media", "print_graphs",
})
# fmt: on

#: Log levels by name: below `info` ffmpeg prints no informational lines, above it also what it
#: does with each of its options and descriptors.
_LEVELS = {
    "quiet": -8, "panic": 0, "fatal": 8, "error": 16, "warning": 24, "info": 32, "verbose": 40,
    "debug": 48, "trace": 56,
}  # fmt: skip
_INFO = 32

#: Where `-progress` goes that is one of the caller's own streams.
_OWN_STREAMS = {"-": 1, "pipe:": 1, "pipe:1": 1, "pipe:2": 2}

_RAW_CODECS = frozenset({"rawvideo", "wrapped_avframe"})
_NAMED_SIZES = {"vga": "640x480", "hd480": "852x480", "hd720": "1280x720", "hd1080": "1920x1080"}


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What an ffmpeg command line says; `None` for what it leaves to ffmpeg.

    Attributes:
        operation: `encode`, `decode` or `remux`.
        codec: of the first video output, or of the sound where there is none.
        resolution: `WIDTHxHEIGHT` of that output.
        frame_rate: frames per second of that output.
        expected_seconds: length that the options allow it.
        expected_frames: frames that the options allow it.
        has_one_output: there is one output, which goes to one place.
        quiet: ffmpeg prints no informational lines.
        talkative: ffmpeg prints what it makes of each option.
        has_progress: the caller has a `-progress` of its own.
        progress_stream: 1 or 2, where that is the child's stdout or stderr.
        has_report: the caller has a `-report` of its own.
    """

    operation: str
    codec: str | None
    resolution: str | None
    frame_rate: float | None
    expected_seconds: float | None
    expected_frames: int | None
    has_one_output: bool
    quiet: bool
    talkative: bool
    has_progress: bool
    progress_stream: int | None
    has_report: bool


def parse_command(arguments: Sequence[str]) -> Command | None:
    """Return what a command line does, or `None` when it is no job (`ffmpeg -version`).

    Args:
        arguments: all arguments, the program first.

    Example:
        >>> parse_command(["ffmpeg", "-i", "a.mov", "-c:v", "libx264", "a.mp4"]).codec
        'libx264'
    """
    shared: dict[str, str] = {}
    levels: list[int | None] = []
    inputs: list[dict[str, str]] = []
    outputs: list[dict[str, str]] = []
    pending: dict[str, str] = {}
    position = 1
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if not argument.startswith("-") or argument == "-":
            outputs.append(pending | {"url": argument})
            pending = {}
            continue
        name = argument[1:]
        if _is_flag(name):
            pending[name] = shared[name] = ""
            continue
        value = arguments[position] if position < len(arguments) else ""
        position += 1
        if name == "i":
            inputs.append(pending | {"url": value})
            pending = {}
        else:
            pending[name] = shared[name] = value
            if name in ("v", "loglevel"):
                levels.append(_log_level(value))
    if not inputs or not outputs:
        return None
    output = next((each for each in outputs if "vn" not in each), outputs[0])
    return Command(
        operation=_operation(outputs),
        codec=_named_codec(output),
        resolution=_resolution(output),
        frame_rate=_number(_option(output, "r")),
        expected_seconds=_expected_seconds(inputs, output),
        expected_frames=_whole(_option(output, "frames") or output.get("vframes")),
        has_one_output=len(outputs) == 1 and outputs[0].get("f") != "tee",
        quiet=bool(levels) and all(level is not None and level < _INFO for level in levels),
        talkative=any(level is None or level > _INFO for level in levels),
        has_progress="progress" in shared,
        progress_stream=_OWN_STREAMS.get(shared.get("progress", "")),
        has_report="report" in shared,
    )


def _is_flag(name: str) -> bool:
    return name in _FLAGS or (name.startswith("no") and name[2:] in _FLAGS)


def _option(options: dict[str, str], name: str) -> str | None:
    """Return the value that counts for the first video stream: `-c:v:0` before `-c:v`, `-c`."""
    for specific in (f"{name}:v:0", f"{name}:v", name):
        if specific in options:
            return options[specific]
    return None


def _codec(output: dict[str, str]) -> str | None:
    for spelling in ("c", "codec"):
        value = _option(output, spelling)
        if value is not None:
            return value
    if "vcodec" in output:
        return output["vcodec"]
    if "vn" in output:
        return _first(output, ("c:a", "codec:a", "acodec"))
    return None


def _first(options: dict[str, str], names: Iterable[str]) -> str | None:
    return next((options[name] for name in names if name in options), None)


def _named_codec(output: dict[str, str]) -> str | None:
    codec = _codec(output)
    return None if codec == "copy" else codec


def _operation(outputs: Sequence[dict[str, str]]) -> str:
    kinds = {_output_kind(output) for output in outputs}
    for kind in ("encode", "decode"):
        if kind in kinds:
            return kind
    return "remux"


def _output_kind(output: dict[str, str]) -> str:
    codec = _codec(output)
    if codec == "copy":
        # `-c:v copy -c:a aac` still encodes, if only sound.
        audio = _first(output, ("c:a", "codec:a", "acodec"))
        return "remux" if audio in (None, "copy") or "an" in output else "encode"
    form = output.get("f")
    if form == "null":
        return "decode"
    if codec is None and form is not None and _is_raw(form):
        return "decode"
    if codec is not None and _is_raw(codec):
        return "decode"
    return "encode"


def _is_raw(name: str) -> bool:
    return name in _RAW_CODECS or name.startswith("pcm_")


def _resolution(output: dict[str, str]) -> str | None:
    size = _option(output, "s")
    if size is not None:
        size = _NAMED_SIZES.get(size, size)
        return size if _SIZE.match(size) else None
    filters = _first(output, ("filter:v:0", "filter:v", "vf", "filter"))
    scaled = _SCALE.findall(filters) if filters else []
    return "x".join(scaled[-1]) if scaled else None


def _expected_seconds(inputs: Sequence[dict[str, str]], output: dict[str, str]) -> float | None:
    lengths = [parse_time(output.get("t", ""))]
    if "to" in output and "ss" not in output:
        lengths.append(parse_time(output["to"]))
    lengths.extend(parse_time(each.get("t", "")) for each in inputs[:1] if len(inputs) == 1)
    known = [length for length in lengths if length is not None]
    return min(known) if known else None


def parse_time(text: str) -> float | None:
    """Return an ffmpeg time (`12.5`, `01:02`, `00:01:02.5`) in seconds, or `None`.

    Args:
        text: the time as ffmpeg writes and reads it.
    """
    match = _TIME.match(text)
    if match is None:
        return None
    hours, minutes, seconds = match.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _log_level(text: str) -> int | None:
    """Return a level such as `error`, `16` or `repeat+level+error`; `None` for an unknown one."""
    last = text.rsplit("+", maxsplit=1)[-1].lower()
    if last in ("repeat", "level", "time", "datetime"):  # flags alone leave the level as it is
        return _INFO
    return int(last) if last.isdecimal() else _LEVELS.get(last)


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        top, _, bottom = text.partition("/")
        return float(top) / float(bottom) if bottom else float(top)
    except (ValueError, ZeroDivisionError):
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
