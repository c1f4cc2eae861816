"""One reading of everything this room knows: the processes by their epochs, and the machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from otel_studio.base.codec import readable
from otel_studio.base.optional_sums import total
from otel_studio.base.reading import add_parts, subtract_parts
from otel_studio.process.allocators import AllocatorReading
from otel_studio.process.event_loop import LoopReading
from otel_studio.process.machine_reading import MachineReading
from otel_studio.process.process_reading import (
    CollectionCounts,
    ProcessPart,
    added_generations,
)
from otel_studio.process.service_memory import ServiceReading
from otel_studio.process.watch_reading import AllocationSums, PauseReading, WatchPart


@readable("process")
@dataclasses.dataclass(frozen=True, slots=True)
class ResourceReading:
    """The figures of one process, of several, or of a window of time; with their machine.

    What is counted adds up over processes and over time. What is not (memory, threads) is of each
    process as it was last seen; the properties say what it is of all of them together.

    Attributes:
        processes: what the system and the interpreter tell of each process, by its epoch.
        watches: what each monitor measured itself, by the monitor's epoch.
        machine: the machine or control group, by whoever read it last; never added up.
    """

    processes: Mapping[str, ProcessPart] = dataclasses.field(default_factory=dict)
    watches: Mapping[str, WatchPart] = dataclasses.field(default_factory=dict)
    machine: MachineReading = dataclasses.field(default_factory=MachineReading)

    def __add__(self, other: ResourceReading) -> ResourceReading:
        """Return both together; of the machine, the later."""
        return ResourceReading(
            add_parts(self.processes, other.processes),
            add_parts(self.watches, other.watches),
            self.machine.or_later(other.machine),
        )

    def __sub__(self, earlier: ResourceReading) -> ResourceReading:
        """Return what was counted since an earlier reading, and what was last seen."""
        return ResourceReading(
            subtract_parts(self.processes, earlier.processes),
            subtract_parts(self.watches, earlier.watches),
            self.machine - earlier.machine,
        )

    @property
    def latest(self) -> ProcessPart:
        """The process that was seen last; for what does not add up over processes."""
        newest = max(
            self.processes.items(), key=lambda item: (item[1].unix_ns, item[0]), default=None
        )
        return ProcessPart(0) if newest is None else newest[1]

    def counted(self, name: str) -> int | None:
        """Return a count of all processes together, `None` where none has a source for it.

        Args:
            name: a field of `ProcessCounts`.
        """
        return total(getattr(part.counts, name) for part in self.processes.values())

    def held(self, name: str) -> int | None:
        """Return what all processes hold together, `None` where none has a source for it.

        Args:
            name: a whole number of `ProcessPart`, such as `resident`.
        """
        return total(getattr(part, name) for part in self.processes.values())

    @property
    def peak_resident(self) -> int | None:
        """The most that one of the processes had in memory."""
        peaks = [part.peak_resident for part in self.processes.values()]
        return max((peak for peak in peaks if peak is not None), default=None)

    @property
    def collections(self) -> tuple[CollectionCounts, ...]:
        """What the collectors of all processes did, by generation."""
        found: tuple[CollectionCounts, ...] = ()
        for part in self.processes.values():
            found = added_generations(found, part.collections)
        return found

    @property
    def pauses(self) -> tuple[PauseReading, ...]:
        """How long the processes stood still for collections, by generation."""
        found: tuple[PauseReading, ...] = ()
        for part in self.watches.values():
            found = added_generations(found, part.pauses)
        return found

    @property
    def allocators(self) -> tuple[AllocatorReading, ...]:
        """What the allocators of all processes hold, by allocator."""
        found: dict[str, AllocatorReading] = {}
        for part in self.processes.values():
            for row in part.allocators:
                known = found.get(row.allocator)
                found[row.allocator] = row if known is None else known.with_another(row)
        return tuple(found.values())

    @property
    def loops(self) -> tuple[LoopReading, ...]:
        """The event loops of all processes; of several with one name, the one that lagged most."""
        found: dict[str, LoopReading] = {}
        for _epoch, part in sorted(self.watches.items()):
            for loop in part.loops:
                known = found.get(loop.name)
                if known is None or loop.worst_lag > known.worst_lag:
                    found[loop.name] = loop
        return tuple(found.values())

    @property
    def services(self) -> dict[str, ServiceReading]:
        """What each service holds in all processes together."""
        found: dict[str, ServiceReading] = {}
        for _epoch, part in sorted(self.watches.items()):
            for name, row in part.services.items():
                known = found.get(name)
                found[name] = row if known is None else known.with_another(row)
        return found

    @property
    def operations(self) -> dict[tuple[str, str], AllocationSums]:
        """What sampled runs changed, by service and operation, in all processes together."""
        found: dict[tuple[str, str], AllocationSums] = {}
        for part in self.watches.values():
            for key, sums in part.operations.items():
                found[key] = found[key] + sums if key in found else sums
        return found

    @property
    def latest_watch(self) -> WatchPart:
        """The monitor that measured last; for what does not add up."""
        newest = max(
            self.watches.items(), key=lambda item: (item[1].unix_ns, item[0]), default=None
        )
        return WatchPart(0) if newest is None else newest[1]
