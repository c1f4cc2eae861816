"""Rings of time slices: what happened in the last minute, hour and day, in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class SliceRing(Generic[T]):
    """The last slices of time, each with an aggregate of its own.

    A slice's place follows from the monotonic time alone, so an idle gap needs no upkeep: a
    slice of an earlier round is recognized by its number and counts as empty. The window
    that `recent` covers is the running slice and the full ones before it: between
    `slices - 1` and `slices` times the width.

    Args:
        width_ns: how long a slice is, in nanoseconds.
        slices: how many are kept.
        new: makes an empty aggregate.
    """

    def __init__(self, width_ns: int, slices: int, new: Callable[[], T]) -> None:
        self._width_ns = width_ns
        self._new = new
        self._numbers: list[int | None] = [None] * slices
        self._aggregates: list[T | None] = [None] * slices

    def at(self, monotonic_ns: int) -> T | None:
        """Return the slice that a moment falls into; `None` where it is no longer kept.

        Args:
            monotonic_ns: the moment, on the monotonic clock.
        """
        number = monotonic_ns // self._width_ns
        place = number % len(self._numbers)
        held = self._numbers[place]
        if held is None or held < number:
            self._numbers[place] = number
            self._aggregates[place] = self._new()
        elif held > number:
            return None
        return self._aggregates[place]

    def recent(self, now_ns: int) -> Iterator[T]:
        """Yield the aggregates that are within the window, in no order.

        Args:
            now_ns: the time now, on the monotonic clock.
        """
        newest = now_ns // self._width_ns
        oldest = newest - len(self._numbers) + 1
        for number, aggregate in zip(self._numbers, self._aggregates, strict=True):
            if number is not None and aggregate is not None and oldest <= number <= newest:
                yield aggregate


@dataclasses.dataclass(slots=True)
class Tally:
    """Hits, misses and their response times within one slice."""

    hits: int = 0
    misses: int = 0
    timed: int = 0
    timed_ns: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Hits by accesses; `None` without any."""
        accesses = self.hits + self.misses
        return self.hits / accesses if accesses else None


#: Window: width of a slice, number of slices.
_LAYOUT = {"minute": (SECOND, 60), "hour": (MINUTE, 60), "day": (15 * MINUTE, 96)}


class TallyWindows:
    """The same events tallied over the last minute, hour and day."""

    def __init__(self) -> None:
        self._rings = {
            window: SliceRing(width, slices, Tally) for window, (width, slices) in _LAYOUT.items()
        }

    def add(
        self, monotonic_ns: int, hits: int = 0, misses: int = 0, timed: int = 0, timed_ns: int = 0
    ) -> None:
        """Add events of one moment to every window.

        Args:
            monotonic_ns: when they happened, to the second.
            hits: how many were hits.
            misses: how many were misses.
            timed: how many had a response time.
            timed_ns: the sum of those, in nanoseconds.
        """
        for ring in self._rings.values():
            tally = ring.at(monotonic_ns)
            if tally is not None:
                tally.hits += hits
                tally.misses += misses
                tally.timed += timed
                tally.timed_ns += timed_ns

    def total(self, window: str, now_ns: int) -> Tally:
        """Return the sum over a window.

        Args:
            window: `minute`, `hour` or `day`.
            now_ns: the time now, on the monotonic clock.
        """
        total = Tally()
        for tally in self._rings[window].recent(now_ns):
            total.hits += tally.hits
            total.misses += tally.misses
            total.timed += tally.timed
            total.timed_ns += tally.timed_ns
        return total
