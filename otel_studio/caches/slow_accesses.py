"""The slowest accesses of the last hour, a bounded number."""

from __future__ import annotations

import heapq

from otel_studio.caches.windows import MINUTE, SliceRing

#: Duration in nanoseconds, kind, what is kept of the key, Unix time in nanoseconds.
Access = tuple[int, int, str | None, int]

_KEPT = 20


class SlowAccesses:
    """Keeps the slowest accesses of each ten minutes of the last hour."""

    def __init__(self) -> None:
        self._ring: SliceRing[list[Access]] = SliceRing(10 * MINUTE, 6, list)

    def floor(self, monotonic_ns: int) -> int:
        """Return the duration above which an access is among the slowest of its time.

        Args:
            monotonic_ns: when it happened.
        """
        kept = self._ring.at(monotonic_ns)
        return -1 if kept is None or len(kept) < _KEPT else kept[0][0]

    def keep(self, monotonic_ns: int, access: Access) -> None:
        """Keep an access if it is among the slowest of its time.

        Args:
            monotonic_ns: when it happened.
            access: what is kept of it.
        """
        kept = self._ring.at(monotonic_ns)
        if kept is None:
            return
        if len(kept) < _KEPT:
            heapq.heappush(kept, access)
        elif access[0] > kept[0][0]:
            heapq.heapreplace(kept, access)

    def slowest(self, now_ns: int) -> list[Access]:
        """Return the slowest accesses of the last hour, the slowest first.

        Args:
            now_ns: the time now, on the monotonic clock.
        """
        candidates = [access for kept in self._ring.recent(now_ns) for access in kept]
        return heapq.nlargest(_KEPT, candidates, key=lambda access: access[0])
