"""The keys read most, in bounded memory, with a bound on the error of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

#: Keys that are kept at most after a cut; `_SLACK` times as many before one.
KEPT_KEYS = 200
_SLACK = 5


@dataclasses.dataclass(frozen=True, slots=True)
class HotKeys:
    """Counts the most frequent of any number of keys (Space-Saving, merged in batches).

    Each kept key has an estimate that is never below its true count, and an error bound: the
    most by which it may be above. After `n` counted accesses no bound exceeds
    `n / (kept + 1)`, and every key with more accesses than that is kept. Batches are
    merged exactly and cut back now and then, as in Agarwal et al., "Mergeable Summaries"
    (PODS 2012), which gives the bound of Metwally et al., "Efficient Computation of Frequent
    and Top-k Elements" (ICDT 2005), without a search for the smallest counter at each access.
    Sums of two stay within that bound; a difference has the errors of the later one.

    Attributes:
        estimates: accesses by key.
        errors: how much of an estimate may be other keys'; of keys that are not in here, `floor`.
        floor: the most accesses that a key which is not kept can have had.

    Example:
        >>> HotKeys().counting({"a": 3, "b": 1}).top(1)
        [('a', 3, 0)]
    """

    estimates: dict[str, int] = dataclasses.field(default_factory=dict)
    errors: dict[str, int] = dataclasses.field(default_factory=dict)
    floor: int = 0

    def counting(self, counts: Mapping[str, int], kept: int = KEPT_KEYS) -> HotKeys:
        """Return this with more accesses.

        Args:
            counts: how often each key was accessed.
            kept: keys that are kept at most after a cut.
        """
        if not counts:
            return self
        floor = self.floor
        estimates = dict(self.estimates)
        for key, count in counts.items():
            estimates[key] = estimates.get(key, floor) + count
        return HotKeys(estimates, self.errors, floor)._cut(kept)

    def _cut(self, kept: int) -> HotKeys:
        if len(self.estimates) <= _SLACK * kept:
            return self
        floor = sorted(self.estimates.values(), reverse=True)[kept]
        estimates = {key: n for key, n in self.estimates.items() if n > floor}
        return HotKeys(estimates, {key: self._error(key) for key in estimates}, floor)

    def _error(self, key: str) -> int:
        return self.errors.get(key, self.floor)

    def top(self, limit: int) -> list[tuple[str, int, int]]:
        """Return the keys read most: key, estimate, error bound; the highest estimate first.

        Args:
            limit: how many at most.
        """
        # The least of those wanted is found by comparing numbers alone, which is far cheaper.
        least = min(sorted(self.estimates.values(), reverse=True)[:limit], default=0)
        found = [row for row in self.estimates.items() if row[1] >= least]
        found.sort(key=lambda row: (-row[1], row[0]))
        return [(key, estimate, self._error(key)) for key, estimate in found[:limit]]

    def __add__(self, other: HotKeys) -> HotKeys:
        """Return the accesses of both."""
        if not other.estimates and not other.floor:
            return self
        if not self.estimates and not self.floor:
            return other
        estimates = {
            key: self.estimates.get(key, self.floor) + other.estimates.get(key, other.floor)
            for key in (*self.estimates, *other.estimates)
        }
        errors = {key: self._error_of_any(key) + other._error_of_any(key) for key in estimates}
        return HotKeys(estimates, errors, self.floor + other.floor)._cut(KEPT_KEYS)

    def _error_of_any(self, key: str) -> int:
        return self._error(key) if key in self.estimates else self.floor

    def __sub__(self, earlier: HotKeys) -> HotKeys:
        """Return the accesses since; each estimate is still not below the true count.

        Whatever was too much in an earlier estimate is too much in this one, too, as is the
        floor at which a key was forgotten and counted anew: only the error of now remains.
        """
        estimates: dict[str, int] = {}
        errors: dict[str, int] = {}
        for key, now in self.estimates.items():
            estimate = now - earlier.estimates.get(key, earlier.floor)
            if estimate > 0:
                estimates[key] = estimate
                errors[key] = min(estimate, self._error(key))
        return HotKeys(estimates, errors, self.floor)

    def __len__(self) -> int:
        return len(self.estimates)
