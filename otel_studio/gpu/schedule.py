"""When each tier of GPU figures is read: on a fixed grid, without drift and without catching up."""

from __future__ import annotations

import enum

_SECOND = 1_000_000_000


class Tier(enum.Enum):
    """How often a group of figures is read, by what reading it costs; the value is in seconds."""

    FAST = 1
    MEDIUM = 5
    SLOW = 60

    @property
    def period_ns(self) -> int:
        """Time from one reading to the next, in nanoseconds."""
        return self.value * _SECOND

    @property
    def stale_after_ns(self) -> int:
        """Age past which a reading is no longer shown: three that were missed, 10 s at least."""
        return max(10 * _SECOND, 3 * self.period_ns)


class Schedule:
    """The due times of all tiers, as multiples of their periods after the first reading.

    A reading that took too long skips the times it ran over: no burst makes up for them.

    Example:
        >>> schedule = Schedule()
        >>> sorted(tier.name for tier in schedule.due(0))
        ['FAST', 'MEDIUM', 'SLOW']
        >>> [tier.name for tier in schedule.due(2_500_000_000)], schedule.wait_ns(2_500_000_000)
        (['FAST'], 500000000)
    """

    def __init__(self) -> None:
        self._next: dict[Tier, int] = {}

    def due(self, now_ns: int) -> frozenset[Tier]:
        """Return the tiers to read now, and set their next times.

        Args:
            now_ns: the monotonic clock, in nanoseconds.
        """
        due = frozenset(tier for tier in Tier if now_ns >= self._next.get(tier, now_ns))
        for tier in due:
            first = self._next.get(tier, now_ns)
            missed = (now_ns - first) // tier.period_ns
            self._next[tier] = first + (missed + 1) * tier.period_ns
        return due

    def wait_ns(self, now_ns: int) -> int:
        """Return nanoseconds until the next tier is due.

        Args:
            now_ns: the monotonic clock, in nanoseconds.
        """
        return max(0, min(self._next.values(), default=now_ns) - now_ns)
