"""The keys read most, in bounded memory, with a bound on the error of each."""

from __future__ import annotations

from collections.abc import Mapping


class HeavyHitters:
    """Counts the most frequent of any number of keys (Space-Saving, merged in batches).

    Each kept key has an estimate that is never below its true count, and an error bound: the
    most by which it may be above. After `n` counted accesses no bound exceeds
    `n / (capacity + 1)`, and every key with more accesses than that is kept. Batches are
    merged exactly and cut back now and then, as in Agarwal et al., "Mergeable Summaries"
    (PODS 2012), which gives the bound of Metwally et al., "Efficient Computation of Frequent
    and Top-k Elements" (ICDT 2005), without a search for the smallest counter at each access.

    Args:
        capacity: keys that are kept at most after a cut; five times as many before one.

    Example:
        >>> hitters = HeavyHitters(capacity=100)
        >>> hitters.add({"a": 3, "b": 1})
        >>> hitters.top(1)
        [('a', 3, 0)]
    """

    _SLACK = 5

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._estimates: dict[str, int] = {}
        #: How much of an estimate may be other keys'; of keys since the last cut, the floor.
        self._errors: dict[str, int] = {}
        #: The most accesses that a key which is not kept can have had.
        self._floor = 0

    def add(self, counts: Mapping[str, int]) -> None:
        """Count accesses.

        Args:
            counts: how often each key was accessed.
        """
        estimates = self._estimates
        floor = self._floor
        for key, count in counts.items():
            estimates[key] = estimates.get(key, floor) + count
        if len(estimates) > self._SLACK * self._capacity:
            self._cut()

    def _cut(self) -> None:
        floor = sorted(self._estimates.values(), reverse=True)[self._capacity]
        self._estimates = {key: n for key, n in self._estimates.items() if n > floor}
        self._errors = {key: self._errors.get(key, self._floor) for key in self._estimates}
        self._floor = floor

    def top(self, limit: int) -> list[tuple[str, int, int]]:
        """Return the keys read most: key, estimate, error bound; the highest estimate first.

        Args:
            limit: how many at most.
        """
        ranked = sorted(self._estimates.items(), key=lambda item: (-item[1], item[0]))
        errors, floor = self._errors, self._floor
        return [(key, estimate, errors.get(key, floor)) for key, estimate in ranked[:limit]]

    def __len__(self) -> int:
        return len(self._estimates)
