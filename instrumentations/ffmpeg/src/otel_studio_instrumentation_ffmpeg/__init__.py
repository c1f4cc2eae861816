"""Follows the ffmpeg jobs of a program: child processes and PyAV, as OpenTelemetry sees them.

Example:
    >>> import subprocess
    >>> from otel_studio_instrumentation_ffmpeg import FFmpegInstrumentor, sessions, statistics
    >>> FFmpegInstrumentor().instrument()
    >>> arguments = "ffmpeg -v error -i in.mov -c:v libx264 -y out.mp4".split()
    >>> subprocess.run(arguments)  # doctest: +SKIP
    >>> sessions()[0].frames, statistics().failed_encodes  # doctest: +SKIP
    (250, 0)
    >>> FFmpegInstrumentor().uninstrument()
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from .bridge import offer_statistics
from .jobs import JobBook
from .package import _instruments
from .processes import ProcessFollower
from .pyav import PyAVFollower
from .records import EncodeStatistics, Session
from .telemetry import Gauges, SpanMaker
from .version import __version__

__all__ = [
    "EncodeStatistics",
    "FFmpegInstrumentor",
    "Session",
    "__version__",
    "sessions",
    "statistics",
    "track_queue",
    "untrack_queue",
    "wait_until_idle",
]

_book = JobBook()
_processes = ProcessFollower(_book)
_pyav = PyAVFollower(_book)


def _fold() -> None:
    _processes.fold()
    _pyav.fold()


_book.fold = _fold


def _after_fork() -> None:
    _book.forget_all()
    _processes.after_fork()
    _pyav.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class FFmpegInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module is untyped
    """Follows ffmpeg children and PyAV objects that start while it is on."""

    _gauges: Gauges | None = None
    _stop_offering: Callable[[], None] | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what must be installed: nothing."""
        return _instruments

    def _instrument(self, **kwargs: Any) -> None:
        """Begin.

        Args:
            kwargs: `tracer_provider` and `meter_provider`; the global ones without.
        """
        _book.observer = SpanMaker(kwargs.get("tracer_provider"))
        self._gauges = Gauges.of(kwargs.get("meter_provider"))
        self._gauges.book = _book
        _processes.patch()
        _pyav.patch()
        self._stop_offering = offer_statistics(_book)

    def _uninstrument(self, **kwargs: Any) -> None:
        """Restore `subprocess`, `asyncio` and PyAV; jobs that run are followed to their end."""
        _processes.unpatch()
        _pyav.unpatch()
        if self._gauges is not None:
            self._gauges.book = None
        if self._stop_offering is not None:
            self._stop_offering()
            self._stop_offering = None


def sessions(running: bool | None = None) -> list[Session]:
    """Return the encode, decode and remux jobs, newest first; the last 100 ended are kept.

    Args:
        running: only the running ones (`True`), only the ended (`False`), or both (`None`).

    Example:
        >>> sessions(running=True)
        []
    """
    return _book.sessions(running)


def statistics() -> EncodeStatistics:
    """Return the figures over all encodes of this process.

    Example:
        >>> statistics().hardware_acceleration_active
        False
    """
    return _book.statistics()


def track_queue(name: str, length: Callable[[], int]) -> None:
    """Count the jobs of a queue of yours as waiting; only you know where jobs wait.

    Args:
        name: what to call the queue; the same name replaces the earlier source.
        length: returns how many jobs wait, such as `jobs.qsize`.

    Raises:
        TypeError: if `length` cannot be called.

    Example:
        >>> import queue
        >>> jobs = queue.Queue()
        >>> track_queue("transcodes", jobs.qsize)
        >>> statistics().queue_length
        0
        >>> untrack_queue("transcodes")
    """
    if not callable(length):
        raise TypeError(
            f"length is {type(length).__name__}, which cannot be called: "
            "give a function that returns the number of waiting jobs, such as jobs.qsize"
        )
    _book.track_queue(name, length)


def untrack_queue(name: str) -> None:
    """Count a queue no longer; an unknown name changes nothing.

    Args:
        name: as given to `track_queue`.
    """
    _book.untrack_queue(name)


def wait_until_idle(timeout: float = 5.0) -> bool:
    """Wait until no ffmpeg child is followed any more, as before the program ends.

    Args:
        timeout: seconds to wait at most.

    Returns:
        Whether none is left.
    """
    return _processes.join(timeout)
