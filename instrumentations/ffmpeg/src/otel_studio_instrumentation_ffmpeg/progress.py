"""Parses what ffmpeg says while it works: progress blocks and lines of its log."""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Iterable

from .command import parse_time

_STREAM = re.compile(r"^\s*Stream #(\d+:\d+).*?: Video: ")
_SIZE = re.compile(r"[ ,](\d{2,5}x\d{2,5})[ ,\[]")
_RATE = re.compile(r"([\d.]+)(k?) fps")
_MAPPING = re.compile(r"Stream #\S+ -> #(\S+) \((\S+) \((\S+)\) -> (\S+) \((\S+)\)\)")
_STATISTIC = re.compile(r"(\w+)= *(\S+)")
_DURATION = re.compile(r"^\s*Duration: ([\d:.]+),")

#: Lines that ffmpeg and its encoders print after, or instead of, the reason of a failure.
_NOISE = re.compile(
    r"""^(?:frame=|size=|video:|bench:|Press\ \[q\]|Conversion\ failed|Exiting\ normally|More\ than
        |\s|Report\ written|Log\ level|Input\ \#|Output\ \#|Stream\ mapping
        |\[\S+\ @\ \S+\]\ (?:frame\ [IPB]:|mb\ [IPB]|coded\ y|i16|i8|i4|ref\ [PB]|kb/s|Weighted
            |8x8|consecutive|using|profile|264\ -|Qavg|\d))""",
    re.VERBOSE,
)
_ERROR = re.compile(
    r"error|invalid|fail|unable|can\s?not|could not|can't|no such|not found|unknown|unrecognized"
    r"|denied|missing|unsupported|not supported|corrupt|no space|refused|timed out|at least one",
    re.IGNORECASE,
)

#: Lines kept to find the reason of a failure in, and the longest line kept.
_KEPT_LINES = 40
_MAX_LINE = 500


@dataclasses.dataclass(slots=True)
class Progress:
    """The last progress block; `None` for what it did not carry or said was N/A."""

    frames: int | None = None
    dropped_frames: int | None = None
    bitrate_kbps: float | None = None
    output_bytes: int | None = None
    output_seconds: float | None = None
    speed: float | None = None


class ProgressParser:
    """Turns the bytes of `-progress` into blocks; a block is complete at its `progress=` line."""

    def __init__(self) -> None:
        self._rest = b""
        self._values: dict[str, str] = {}

    def feed(self, data: bytes) -> Progress | None:
        """Return the newest block that `data` completes, or `None`.

        Args:
            data: the next bytes from the descriptor.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_MAX_LINE:]
        newest = None
        for line in lines:
            key, _, value = line.decode("utf-8", "replace").strip().partition("=")
            if key == "progress":
                newest = _block(self._values)
                self._values = {}
            elif len(self._values) < 200:
                self._values[key] = value.strip()
        return newest


def _block(values: dict[str, str]) -> Progress:
    microseconds = _number(values.get("out_time_us"))
    return Progress(
        frames=_whole(values.get("frame")),
        dropped_frames=_whole(values.get("drop_frames")),
        bitrate_kbps=_number(values.get("bitrate", "").removesuffix("kbits/s")),
        output_bytes=_whole(values.get("total_size")),
        output_seconds=microseconds / 1e6 if microseconds is not None else None,
        speed=_number(values.get("speed", "").removesuffix("x")),
    )


class LogReader:
    """Follows ffmpeg's log, in bounded memory: the streams it names and its last lines."""

    def __init__(self) -> None:
        self.resolution: str | None = None
        self.frame_rate: float | None = None
        self.expected_seconds: float | None = None
        #: The last line of statistics that was seen, whole lines of it alone.
        self.statistics: Progress | None = None
        #: Set once ffmpeg said that it ends because of a `q` on its stdin.
        self.stopped_by_key = False
        self._rest = b""
        self._section = ""
        self._codecs: dict[str, tuple[str, str]] = {}
        self._video_stream: str | None = None
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)

    def feed(self, data: bytes) -> None:
        """Read the next bytes of the log.

        Args:
            data: bytes as they come, cut anywhere.
        """
        *lines, rest = re.split(rb"[\r\n]", self._rest + data)
        self._rest = rest[-_MAX_LINE:]
        for line in lines:
            self._read_line(line[:_MAX_LINE].decode("utf-8", "replace"))

    def close(self) -> None:
        """Read what is left of a log that does not end in a new line."""
        if self._rest:
            self._read_line(self._rest.decode("utf-8", "replace"))
            self._rest = b""

    def codec(self, operation: str) -> str | None:
        """Return the encoder of the first video output, or the decoder that feeds it.

        Args:
            operation: `decode` asks for the decoder, anything else for the encoder.
        """
        first = next(iter(self._codecs), None)
        decoder, encoder = self._codecs.get(self._video_stream or first or "", (None, None))
        return decoder if operation == "decode" else encoder

    def last_error(self) -> str | None:
        """Return the line that says why ffmpeg failed, as far as the log tells."""
        return last_error_line(self._last)

    def _read_line(self, line: str) -> None:
        if not line.strip():
            return
        self._last.append(line)
        if line.startswith(("frame=", "size=")):
            self.statistics = _statistics(line) or self.statistics
            return
        if line.startswith("[q] command received"):
            self.stopped_by_key = True
            return
        if line.startswith(("Input #", "Output #", "Stream mapping:")):
            self._section = line.split(maxsplit=1)[0]
            return
        if self._section == "Stream":
            mapping = _MAPPING.search(line)
            if mapping is not None and len(self._codecs) < _KEPT_LINES:
                output, source, decoder, target, encoder = mapping.groups()
                self._codecs[output] = (
                    source if decoder == "native" else decoder,
                    target if encoder == "native" else encoder,
                )
        elif self._section == "Input" and self.expected_seconds is None:
            duration = _DURATION.match(line)
            if duration is not None:
                self.expected_seconds = parse_time(duration.group(1))
        elif self._section == "Output" and self._video_stream is None:
            self._read_output_stream(line)

    def _read_output_stream(self, line: str) -> None:
        stream = _STREAM.match(line)
        if stream is None:
            return
        self._video_stream = stream.group(1)
        size = _SIZE.search(line)
        rate = _RATE.search(line)
        self.resolution = size.group(1) if size is not None else None
        if rate is not None:
            self.frame_rate = float(rate.group(1)) * (1000 if rate.group(2) else 1)


def _statistics(line: str) -> Progress | None:
    """Return what a line of statistics says; its size is rounded to KiB and so is left out."""
    if " speed=" not in line:
        return None
    values = dict(_STATISTIC.findall(line))
    return Progress(
        frames=_whole(values.get("frame")),
        dropped_frames=_whole(values.get("drop")),
        bitrate_kbps=_number(values.get("bitrate", "").removesuffix("kbits/s")),
        output_seconds=parse_time(values.get("time", "")),
        speed=_number(values.get("speed", "").removesuffix("x")),
    )


def last_error_line(lines: Iterable[str]) -> str | None:
    """Return the last line that reads like a reason, else the last that is no statistics.

    Args:
        lines: lines of an ffmpeg log, in order.
    """
    said = [line.strip() for line in lines if line.strip() and not _NOISE.match(line)]
    for line in reversed(said):
        if _ERROR.search(line):
            return line
    return said[-1] if said else None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return int(number) if number is not None else None
