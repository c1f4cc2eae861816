"""Slices of time: what happened in the last minute, hour and day, in bounded memory.

A slice has the number that its width gives it on the monotonic clock, which the processes of one
host share: slices of several processes add up by their numbers. An idle gap needs no upkeep.
What is kept is never changed: adding gives a new value, so that a reading shares the old one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

V = TypeVar("V")

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: Hits, misses, accesses with a response time, and the sum of those times in nanoseconds.
Tally = tuple[int, int, int, int]
_NOTHING: Tally = (0, 0, 0, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How time is cut: the window is the running slice and the full ones before it.

    It covers between `slices - 1` and `slices` times the width.

    Attributes:
        width_ns: how long a slice is, in nanoseconds.
        slices: how many are kept.
    """

    width_ns: int
    slices: int

    def recent(self, slices: Mapping[int, V], now_ns: int) -> list[V]:
        """Return what is within the window.

        Args:
            slices: by number.
            now_ns: the time now, on the monotonic clock.
        """
        newest = now_ns // self.width_ns
        oldest = newest - self.slices
        return [held for number, held in slices.items() if oldest < number <= newest]

    def kept(self, slices: dict[int, V]) -> dict[int, V]:
        """Return the slices without those that are too old beside the newest.

        Args:
            slices: by number; left as they are.
        """
        if len(slices) <= self.slices:
            return slices
        oldest = max(slices) - self.slices
        return {number: held for number, held in slices.items() if number > oldest}


LAYOUTS = {
    "minute": Layout(SECOND, 60),
    "hour": Layout(MINUTE, 60),
    "day": Layout(15 * MINUTE, 96),
}
#: Of what takes more room than a tally: sketches of durations, and slow accesses.
TEN_MINUTES = Layout(10 * MINUTE, 6)


def hit_rate(tally: Tally) -> float | None:
    """Return hits by accesses; `None` without any.

    Args:
        tally: of some time.
    """
    hits, misses, _, _ = tally
    return hits / (hits + misses) if hits + misses else None


@dataclasses.dataclass(frozen=True, slots=True)
class Tallies:
    """The same accesses tallied over the last minute, hour and day, by slices.

    Example:
        >>> tallies = Tallies().adding({7: (3, 1, 0, 0)})
        >>> hit_rate(tallies.total("hour", 8 * SECOND))
        0.75
    """

    minute: dict[int, Tally] = dataclasses.field(default_factory=dict)
    hour: dict[int, Tally] = dataclasses.field(default_factory=dict)
    day: dict[int, Tally] = dataclasses.field(default_factory=dict)

    def adding(self, seconds: Mapping[int, Tally]) -> Tallies:
        """Return this with more accesses.

        Args:
            seconds: what happened in each second of the monotonic clock.
        """
        return Tallies(
            _added("minute", self.minute, seconds),
            _added("hour", self.hour, seconds),
            _added("day", self.day, seconds),
        )

    def total(self, window: str, now_ns: int) -> Tally:
        """Return the sum over a window.

        Args:
            window: `minute`, `hour` or `day`.
            now_ns: the time now, on the monotonic clock.
        """
        recent = LAYOUTS[window].recent(getattr(self, window), now_ns)
        if not recent:
            return _NOTHING
        hits, misses, timed, timed_ns = zip(*recent, strict=True)
        return sum(hits), sum(misses), sum(timed), sum(timed_ns)

    def __add__(self, other: Tallies) -> Tallies:
        """Return both together, slice by slice."""
        return self._each(other, lambda one, more: add_slices(one, more, _plus))

    def __sub__(self, earlier: Tallies) -> Tallies:
        """Return what came between; slices that are no longer kept now count no more."""
        return self._each(earlier, lambda now, then: subtract_slices(now, then, _minus))

    def _each(
        self,
        other: Tallies,
        combine: Callable[[dict[int, Tally], dict[int, Tally]], dict[int, Tally]],
    ) -> Tallies:
        return Tallies(
            combine(self.minute, other.minute),
            combine(self.hour, other.hour),
            combine(self.day, other.day),
        )


def add_slices(
    one: Mapping[int, V], other: Mapping[int, V], plus: Callable[[V, V], V]
) -> dict[int, V]:
    """Return the slices of both; what falls into one slice is added.

    Args:
        one: by number.
        other: likewise.
        plus: adds two.
    """
    added = dict(one)
    for number, held in other.items():
        added[number] = plus(added[number], held) if number in added else held
    return added


def subtract_slices(
    now: Mapping[int, V], then: Mapping[int, V], minus: Callable[[V, V], V]
) -> dict[int, V]:
    """Return what the slices of now have more; one in which that is nothing is left out.

    Args:
        now: by number.
        then: likewise; a slice that is not kept now is gone, and counts no more.
        minus: subtracts.
    """
    left: dict[int, V] = {}
    for number, held in now.items():
        if number not in then:
            left[number] = held
        elif held != then[number]:
            left[number] = minus(held, then[number])
    return left


def _plus(one: Tally, other: Tally) -> Tally:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def _minus(now: Tally, then: Tally) -> Tally:
    return now[0] - then[0], now[1] - then[1], now[2] - then[2], now[3] - then[3]


def _added(window: str, slices: dict[int, Tally], seconds: Mapping[int, Tally]) -> dict[int, Tally]:
    layout = LAYOUTS[window]
    width = layout.width_ns // SECOND
    added = dict(slices)
    for second, tally in seconds.items():
        number = second // width
        added[number] = _plus(added.get(number, _NOTHING), tally)
    return layout.kept(added)
