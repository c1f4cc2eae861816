"""Figures that a cache's own backend reports when it is asked: counts, sizes, fragmentation."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable

from otel_studio.caches.records import CacheReading
from otel_studio.guard import report_internal_error

Read = Callable[[], CacheReading | None]


@dataclasses.dataclass(slots=True)
class Growth:
    """What backends counted since they were last asked."""

    hits: int = 0
    misses: int = 0
    sets: int = 0
    evictions: dict[str, int] = dataclasses.field(default_factory=dict)


class Backend:
    """One source of readings, and what it said last.

    Args:
        read: returns a reading; `None` once the source is gone.
        remote: whether asking takes I/O, and so happens on the registry's own thread only.
        from_now: whether what it had counted before is left out.
    """

    __slots__ = ("_asking", "_counted", "gone", "last", "read", "remote")

    def __init__(self, read: Read, *, remote: bool, from_now: bool) -> None:
        self.read = read
        self.remote = remote
        self.last: CacheReading | None = None
        self.gone = False
        self._asking = threading.Lock()
        self._counted: dict[str, int] | None = None if from_now else {}

    def ask(self, cache: str, growth: Growth) -> None:
        """Ask for a reading, and add what it counted since the last one.

        Args:
            cache: the cache's name, for the log when asking fails.
            growth: what is added to.
        """
        with self._asking:  # two that ask at once would both add the same growth
            try:
                reading = self.read()
            except Exception as error:
                report_internal_error(f"asking the backend of cache {cache}", error)
                self.last = None
                return
            self.last = reading
            if reading is None:
                self.gone = True
                return
            counted = _counts(reading)
            if self._counted is not None:
                for name, count in counted.items():
                    before = self._counted.get(name, 0)
                    _add(growth, name, count - before if count >= before else count)
            self._counted = counted

    def restart_after_fork(self) -> None:
        """Make a lock that no thread of the parent holds."""
        self._asking = threading.Lock()


def _counts(reading: CacheReading) -> dict[str, int]:
    counts = {name: getattr(reading, name) for name in ("hits", "misses", "sets")}
    found = {name: count for name, count in counts.items() if count is not None}
    found.update((f"evictions {reason}", n) for reason, n in (reading.evictions or {}).items())
    return found


def _add(growth: Growth, name: str, count: int) -> None:
    if name.startswith("evictions "):
        reason = name.removeprefix("evictions ")
        growth.evictions[reason] = growth.evictions.get(reason, 0) + count
    else:
        setattr(growth, name, getattr(growth, name) + count)


def summed(readings: Iterable[CacheReading]) -> CacheReading:
    """Return the sizes of several backends as one: sums, and the highest fragmentation.

    Args:
        readings: of the backends that serve one cache.
    """
    given = list(readings)
    fragmentations = [r.fragmentation for r in given if r.fragmentation is not None]
    limits = [r.max_entries for r in given]
    return CacheReading(
        entries=_sum(r.entries for r in given),
        # One backend without a limit leaves the whole without one.
        max_entries=None if None in limits else _sum(limits),
        memory_bytes=_sum(r.memory_bytes for r in given),
        fragmentation=max(fragmentations, default=None),
    )


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
