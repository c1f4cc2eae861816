"""What a monitor measured itself: pauses, event loops, services and sampled runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from operator import add, sub

from otel_studio.base.optional_sums import larger
from otel_studio.process.event_loop import LoopReading
from otel_studio.process.memory_records import AllocationWindow
from otel_studio.process.process_reading import added_generations, subtracted_generations
from otel_studio.process.service_memory import ServiceReading


@dataclasses.dataclass(frozen=True, slots=True)
class PauseReading:
    """How long the program stood still for collections of one generation."""

    generation: int
    total_ns: int
    #: `None` where no collection was timed; of a difference it is that of the later reading.
    longest_ns: int | None
    #: Collections that were timed, by bucket of `PAUSE_BOUNDS`.
    buckets: tuple[int, ...]

    @property
    def count(self) -> int:
        """The collections that were timed."""
        return sum(self.buckets)

    def __add__(self, other: PauseReading) -> PauseReading:
        """Return the sums, and the longest of both."""
        return PauseReading(
            self.generation,
            self.total_ns + other.total_ns,
            larger(self.longest_ns, other.longest_ns),
            tuple(map(add, self.buckets, other.buckets)),
        )

    def __sub__(self, earlier: PauseReading) -> PauseReading:
        """Return the differences."""
        return dataclasses.replace(
            self,
            total_ns=self.total_ns - earlier.total_ns,
            buckets=tuple(map(sub, self.buckets, earlier.buckets)),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class AllocationSums:
    """What sampled runs of one operation changed in the whole process; blocks and bytes."""

    runs: int = 0
    overlapped: int = 0
    allocations: int = 0
    deallocations: int = 0
    resident: int = 0
    #: The largest change of resident memory; `None` where none was measured.
    largest: int | None = None

    def __add__(self, other: AllocationSums) -> AllocationSums:
        """Return the sums, and the larger of the largest."""
        return AllocationSums(
            self.runs + other.runs,
            self.overlapped + other.overlapped,
            self.allocations + other.allocations,
            self.deallocations + other.deallocations,
            self.resident + other.resident,
            larger(self.largest, other.largest),
        )

    def __sub__(self, earlier: AllocationSums) -> AllocationSums:
        """Return the differences; the largest is that of the later reading."""
        return AllocationSums(
            self.runs - earlier.runs,
            self.overlapped - earlier.overlapped,
            self.allocations - earlier.allocations,
            self.deallocations - earlier.deallocations,
            self.resident - earlier.resident,
            self.largest,
        )

    @property
    def is_empty(self) -> bool:
        """Whether no run was sampled."""
        return not self.runs and not self.overlapped


@dataclasses.dataclass(frozen=True, slots=True)
class WatchPart:
    """What one monitor measured since it began, or over a window.

    Attributes:
        unix_ns: when.
        pauses: of the collector, by generation.
        operations: what sampled runs changed, by service and operation.
        services: what each service held when it was last asked, and its peak.
        loops: the event loops over the last window.
        window: the last window of traced allocations.
        traced_services: the services that a traced package belongs to.
    """

    unix_ns: int
    pauses: tuple[PauseReading, ...] = ()
    operations: Mapping[tuple[str, str], AllocationSums] = dataclasses.field(default_factory=dict)
    services: Mapping[str, ServiceReading] = dataclasses.field(default_factory=dict)
    loops: tuple[LoopReading, ...] = ()
    window: AllocationWindow | None = None
    traced_services: tuple[str, ...] = ()

    def __add__(self, other: WatchPart) -> WatchPart:
        """Return two windows of this monitor as one."""
        operations = dict(self.operations)
        for key, sums in other.operations.items():
            operations[key] = operations[key] + sums if key in operations else sums
        services = dict(self.services)
        for name, row in other.services.items():
            services[name] = services[name].or_later(row) if name in services else row
        return dataclasses.replace(
            other if other.unix_ns >= self.unix_ns else self,
            pauses=added_generations(self.pauses, other.pauses),
            operations=_without_empty(operations),
            services=services,
        )

    def __sub__(self, earlier: WatchPart) -> WatchPart:
        """Return the window since an earlier reading of this monitor."""
        operations = dict(self.operations)
        for key, sums in earlier.operations.items():
            operations[key] = operations.get(key, AllocationSums()) - sums
        return dataclasses.replace(
            self,
            pauses=subtracted_generations(self.pauses, earlier.pauses),
            operations=_without_empty(operations),
        )


def _without_empty(
    operations: Mapping[tuple[str, str], AllocationSums],
) -> dict[tuple[str, str], AllocationSums]:
    return {key: sums for key, sums in operations.items() if not sums.is_empty}
