"""What is read of one process: counts that add and subtract, and what it holds as last seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Self, TypeVar

from otel_studio.base.optional_sums import added, larger, subtracted
from otel_studio.process.allocators import AllocatorReading


class Generation(Protocol):
    """A row of figures of one generation of the collector."""

    @property
    def generation(self) -> int:
        """Its number."""
        ...

    def __add__(self, other: Any, /) -> Self:
        """Return both together."""
        ...

    def __sub__(self, earlier: Any, /) -> Self:
        """Return what came since."""
        ...


G = TypeVar("G", bound=Generation)


def added_generations(one: tuple[G, ...], other: tuple[G, ...]) -> tuple[G, ...]:
    """Return the sums by generation."""
    rows = {row.generation: row for row in one}
    for row in other:
        known = rows.get(row.generation)
        rows[row.generation] = row if known is None else known + row
    return tuple(rows[generation] for generation in sorted(rows))


def subtracted_generations(now: tuple[G, ...], then: tuple[G, ...]) -> tuple[G, ...]:
    """Return the differences by generation."""
    before = {row.generation: row for row in then}
    return tuple(row - before[row.generation] if row.generation in before else row for row in now)


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessCounts:
    """What grows since the process began; nanoseconds and bytes, `None` without a source."""

    cpu_user_ns: int | None = None
    cpu_system_ns: int | None = None
    disk_read: int | None = None
    disk_written: int | None = None
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    minor_faults: int | None = None
    major_faults: int | None = None

    def __add__(self, other: ProcessCounts) -> ProcessCounts:
        """Return the sums."""
        return ProcessCounts(*self._with(other, added))

    def __sub__(self, earlier: ProcessCounts) -> ProcessCounts:
        """Return the differences."""
        return ProcessCounts(*self._with(earlier, subtracted))

    def _with(
        self, other: ProcessCounts, combine: Callable[[int | None, int | None], int | None]
    ) -> Iterator[int | None]:
        for field in dataclasses.fields(self):
            yield combine(getattr(self, field.name), getattr(other, field.name))


@dataclasses.dataclass(frozen=True, slots=True)
class CollectionCounts:
    """What the collector did with one generation since the process began."""

    generation: int
    collections: int
    collected: int
    uncollectable: int

    def __add__(self, other: CollectionCounts) -> CollectionCounts:
        """Return the sums."""
        return CollectionCounts(
            self.generation,
            self.collections + other.collections,
            self.collected + other.collected,
            self.uncollectable + other.uncollectable,
        )

    def __sub__(self, earlier: CollectionCounts) -> CollectionCounts:
        """Return the differences."""
        return CollectionCounts(
            self.generation,
            self.collections - earlier.collections,
            self.collected - earlier.collected,
            self.uncollectable - earlier.uncollectable,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessPart:
    """One process since it began, or over a window; what it holds is as it was last seen.

    Attributes:
        unix_ns: when it was seen.
        counts: what the system counts.
        collections: what the collector counts, by generation.
        pid: its number.
        resident: bytes in memory; `virtual`, `swapped` and `unique` (what ending it would free)
            likewise.
        peak_resident: the most bytes in memory since it began.
        uptime: seconds since it began.
        cpu: fractions of the processors it may use, by mode, over the last window.
        allocators: what its allocators hold.
        gc_enabled: whether automatic collection is on.
    """

    unix_ns: int
    counts: ProcessCounts = dataclasses.field(default_factory=ProcessCounts)
    collections: tuple[CollectionCounts, ...] = ()
    pid: int = 0
    resident: int | None = None
    virtual: int | None = None
    swapped: int | None = None
    unique: int | None = None
    peak_resident: int | None = None
    threads: int | None = None
    descriptors: int | None = None
    uptime: float | None = None
    cpu: Mapping[str, float] = dataclasses.field(default_factory=dict)
    allocators: tuple[AllocatorReading, ...] = ()
    gc_enabled: bool = True

    def __add__(self, other: ProcessPart) -> ProcessPart:
        """Return two windows of this process as one."""
        return dataclasses.replace(
            other if other.unix_ns >= self.unix_ns else self,
            counts=self.counts + other.counts,
            collections=added_generations(self.collections, other.collections),
            peak_resident=larger(self.peak_resident, other.peak_resident),
        )

    def __sub__(self, earlier: ProcessPart) -> ProcessPart:
        """Return the window since an earlier reading of this process."""
        return dataclasses.replace(
            self,
            counts=self.counts - earlier.counts,
            collections=subtracted_generations(self.collections, earlier.collections),
        )
