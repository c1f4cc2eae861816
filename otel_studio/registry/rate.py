"""Events per second over the last minute, from one-second slices."""

from __future__ import annotations

from collections import deque

#: Seconds that a rate looks back.
WINDOW_SECONDS = 60


class RecentRate:
    """Counts events in one-second slices of the monotonic clock; holds at most a minute."""

    __slots__ = ("_began", "_slices")

    def __init__(self, now_ns: int) -> None:
        self._began = now_ns
        self._slices: deque[list[int]] = deque()

    def add(self, now_ns: int, count: int) -> None:
        """Count events.

        Args:
            now_ns: the monotonic clock, in nanoseconds.
            count: how many happened since the last call.
        """
        second = now_ns // 1_000_000_000
        if self._slices and self._slices[-1][0] == second:
            self._slices[-1][1] += count
        else:
            self._slices.append([second, count])
            self._forget(second)

    def per_second(self, now_ns: int) -> float:
        """Return events per second over the last 60 s, or since the start when that is shorter.

        Args:
            now_ns: the monotonic clock, in nanoseconds.
        """
        self._forget(now_ns // 1_000_000_000)
        seconds = min((now_ns - self._began) / 1e9, WINDOW_SECONDS)
        total = sum(count for _, count in self._slices)
        return total / max(seconds, 1.0)

    def _forget(self, second: int) -> None:
        while self._slices and self._slices[0][0] <= second - WINDOW_SECONDS:
            self._slices.popleft()
