"""Figures that a cache's own backend reports when it is asked: counts, sizes, fragmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from otel_studio.base.guard import report_internal_error
from otel_studio.caches.cache_records import CacheReading

Read = Callable[[], CacheReading | None]


@dataclasses.dataclass(slots=True)
class Growth:
    """What backends counted since they were last asked."""

    hits: int = 0
    misses: int = 0
    sets: int = 0
    evictions: dict[str, int] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.hits or self.misses or self.sets or any(self.evictions.values()))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a backend said last.

    Attributes:
        counted: its totals by name; `None` where the next ones are only a beginning.
        said: its sizes; `None` before it was asked, and where it failed to answer.
        gone: whether it will never answer again.
    """

    counted: Mapping[str, int] | None
    said: CacheReading | None = None
    gone: bool = False

    def followed_by(self, reading: CacheReading | None) -> Answer:
        """Return the answer after this one.

        Args:
            reading: what the backend says now; `None` where it is gone.
        """
        if reading is None:
            return Answer(self.counted, gone=True)
        return Answer(_counts(reading), reading)

    def add_growth(self, following: Answer, growth: Growth) -> None:
        """Add what was counted between this answer and the next.

        Args:
            following: the next one.
            growth: what is added to.
        """
        if self.counted is None or following.said is None or following.counted is None:
            return
        for name, count in following.counted.items():
            before = self.counted.get(name, 0)
            _add(growth, name, count - before if count >= before else count)


class Backend:
    """One source of readings.

    Args:
        read: returns a reading; `None` once the source is gone.
        remote: whether asking takes I/O, and so happens on the registry's own thread only.
    """

    __slots__ = ("_read", "remote")

    def __init__(self, read: Read, *, remote: bool) -> None:
        self._read = read
        self.remote = remote

    def ask(self, cache: str, last: Answer) -> Answer:
        """Return what the backend says now; holds no lock meanwhile.

        Args:
            cache: the cache's name, for the log when asking fails.
            last: what it said before.
        """
        try:
            return last.followed_by(self._read())
        except Exception as error:
            report_internal_error(f"asking the backend of cache {cache}", error)
            return Answer(last.counted)


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
