"""Turns monotonic readings into wall-clock times, and follows a clock that was set."""

from __future__ import annotations

from typing import Final

from otel_studio.base.clock import Clock

#: The wall-clock offset moves only for steps larger than this, so that spans of one trace agree.
_STEP_NS: Final = 1_000_000


class Timebase:
    """Turns monotonic readings into wall-clock times.

    Spans read the monotonic clock alone; their Unix times are that reading plus `offset`.

    Args:
        clock: both.
    """

    __slots__ = ("_clock", "followed_at", "offset")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: When `offset` last moved, by the monotonic clock: what began before it keeps its times.
        self.followed_at = 0
        self.offset = clock.time_ns() - clock.monotonic_ns()

    def stepped(self) -> bool:
        """Tell whether the wall clock was set, or has drifted by more than 1 ms."""
        offset = self._clock.time_ns() - self._clock.monotonic_ns()
        return abs(offset - self.offset) > _STEP_NS

    def refresh(self) -> None:
        """Follow the wall clock where it has stepped."""
        if self.stepped():
            # Before the offset: who reads that one first is never told too early a moment.
            self.followed_at = self._clock.monotonic_ns()
            self.offset = self._clock.time_ns() - self._clock.monotonic_ns()
