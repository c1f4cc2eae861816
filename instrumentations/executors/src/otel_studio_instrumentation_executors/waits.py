"""How long the items that left a queue have waited, added up; who reads that changes nothing."""

from __future__ import annotations

from typing import NamedTuple

#: Sums kept side by side before they are made one.
_MAX_SUMS = 250


#: As a plain tuple, which is made for each item: see `Waited`.
_Sum = tuple[int, int, int]


class Waited(NamedTuple):
    """What some items have waited.

    Attributes:
        items: how many they are.
        total_ns: their time together, in nanoseconds.
        longest_ns: the longest of their times.
    """

    items: int = 0
    total_ns: int = 0
    longest_ns: int = 0


class Waits:
    """Sums that only one list holds, which is read and changed in single steps.

    So there is no lock: a finalizer or a signal handler may run inside of any of this, and wait
    for the queue, whose own lock is held by who adds.
    """

    def __init__(self) -> None:
        self._sums: list[_Sum] = []
        self._is_folding = False

    def add(self, wait_ns: int) -> None:
        """Count an item; called in the queue's own order, one at a time.

        Args:
            wait_ns: how long it waited, in nanoseconds.
        """
        self._sums.append((1, wait_ns, wait_ns))
        if len(self._sums) > _MAX_SUMS and not self._is_folding:
            self._fold()

    def so_far(self) -> Waited:
        """Return the sum of all."""
        return _sum_of(self._sums[:])

    def after_fork(self) -> None:
        """Forget, in a child, that another thread of the parent was adding up."""
        self._is_folding = False

    def _fold(self) -> None:
        # What interrupts this on its own thread may add, at the end, but not fold.
        self._is_folding = True
        try:
            known = self._sums[:]
            self._sums[: len(known)] = [_sum_of(known)]
        finally:
            self._is_folding = False


def _sum_of(parts: list[_Sum]) -> Waited:
    return Waited(
        sum(part[0] for part in parts),
        sum(part[1] for part in parts),
        max((part[2] for part in parts), default=0),
    )
