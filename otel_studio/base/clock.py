"""The clocks every part reads, so that tests can inject their own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of wall-clock and of monotonic time, both in nanoseconds.

    Durations are always differences of `monotonic_ns`: a wall clock that is set
    back while an operation runs gives no negative duration.
    """

    def time_ns(self) -> int:
        """Return nanoseconds since the Unix epoch; may jump when the clock is set."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds since an arbitrary point; never goes back."""
        ...


class SystemClock:
    """The machine's clocks.

    The functions are plain static attributes, so that a hot path may bind
    `clock.monotonic_ns` once and call the C function without an extra frame.
    """

    time_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.perf_counter_ns)


class ManualClock:
    """A clock that moves only when it is told to, for tests.

    Args:
        start: the first wall-clock reading, in seconds since the Unix epoch.

    Example:
        >>> clock = ManualClock(start=1_000.0)
        >>> clock.advance(0.25)
        >>> clock.time_ns()
        1000250000000
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._wall = int(start * 1e9)
        self._monotonic = 1_000_000_000

    def __repr__(self) -> str:
        return f"<ManualClock at {self._wall / 1e9} s since the epoch>"

    def time_ns(self) -> int:
        """Return the current wall-clock reading in nanoseconds."""
        return self._wall

    def monotonic_ns(self) -> int:
        """Return the current monotonic reading in nanoseconds."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward.

        Args:
            seconds: how far, in seconds; not negative.

        Raises:
            ValueError: if `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"cannot advance by {seconds} s: give a number of seconds >= 0")
        step = round(seconds * 1e9)
        self._wall += step
        self._monotonic += step

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock alone, as an administrator or NTP would.

        Args:
            seconds: the new reading, in seconds since the Unix epoch.
        """
        self._wall = int(seconds * 1e9)
