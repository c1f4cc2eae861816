"""Makes the memory records from a reading: every figure with how it was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from otel_studio.base.record import MEGABYTE, iso_time, megabytes
from otel_studio.process.allocators import AllocatorReading
from otel_studio.process.memory_alerts import MemoryAlerts, memory_rules
from otel_studio.process.memory_records import (
    AllocationWindow,
    AllocatorMemory,
    Fragmentation,
    GcStats,
    GenerationStats,
    MemoryAlert,
    MemoryUsage,
    OperationAllocations,
    ServiceMemory,
)
from otel_studio.process.reading import ResourceReading
from otel_studio.process.service_memory import ServiceReading
from otel_studio.process.watch_reading import AllocationSums, PauseReading

#: Sizes are in MB of a million bytes, as in every record.


def memory_usage(reading: ResourceReading, alerts: list[MemoryAlert]) -> MemoryUsage:
    """Return the record of the memory of one process, or of several together.

    Args:
        reading: the processes and their machine.
        alerts: those that hold.
    """
    process, system = reading.latest, reading.machine.system
    resident = reading.held("resident")
    operations = operation_records(reading.operations)
    return MemoryUsage(
        timestamp=iso_time(process.unix_ns),
        pid=process.pid,
        total_memory_mb=megabytes(resident),
        peak_memory_mb=megabytes(reading.peak_resident),
        unique_memory_mb=megabytes(reading.held("unique")),
        virtual_memory_mb=megabytes(reading.held("virtual")),
        swapped_memory_mb=megabytes(reading.held("swapped")),
        limit_mb=megabytes(system.memory_limit),
        limit_source=system.memory_source,
        process_utilization=_ratio(resident, system.memory_limit),
        system_utilization=_ratio(system.memory_working_set, system.memory_limit),
        threads=reading.held("threads"),
        services=_services(reading, operations),
        fragmentation=fragmentation(reading.allocators),
        gc_stats=_gc_stats(reading),
        memory_alerts=alerts,
        allocation_window=reading.latest_watch.window,
        operations=operations,
        measured_by={
            "total_memory_mb": "resident set of the process",
            "peak_memory_mb": "high-water mark of the resident set, kept by the system",
            "unique_memory_mb": "private pages of the process",
            "limit_mb": f"memory of the {system.memory_source}"
            if system.memory_source
            else "no source",
            "system_utilization": "used by all processes under the limit, less page cache that "
            "the system takes back first",
        },
    )


def alerts_of(reading: ResourceReading, alerts: MemoryAlerts) -> list[MemoryAlert]:
    """Return the memory alerts that hold for a reading.

    Args:
        reading: the processes and their machine.
        alerts: holds the thresholds, and since when each is exceeded.
    """
    resident, system = reading.held("resident"), reading.machine.system
    figures = {
        "process_utilization": _ratio(resident, system.memory_limit),
        "system_utilization": _ratio(system.memory_working_set, system.memory_limit),
        "memory_mb": megabytes(resident),
        "fragmentation": fragmentation(reading.allocators).ratio,
        "services": {name: megabytes(row.held) for name, row in reading.services.items()},
    }
    return alerts.evaluate(memory_rules(alerts.thresholds, figures))


def traced_services(
    window: AllocationWindow | None, names: Callable[[], Iterable[str]]
) -> tuple[str, ...]:
    """Return the services that a traced package belongs to: those that it is named after.

    Args:
        window: the last window of traced allocations.
        names: returns the services that exist.
    """
    if window is None:
        return ()
    modules: set[str] = set()
    for row in window.packages:
        words = row.package.split(".")
        modules.update(".".join(words[:count]) for count in range(1, len(words) + 1))
    return tuple(sorted(modules.intersection(names())))


def operation_records(
    operations: Mapping[tuple[str, str], AllocationSums],
) -> list[OperationAllocations]:
    """Return what sampled runs changed, the operation with the largest change of memory first.

    Args:
        operations: by service and operation.
    """
    return [
        OperationAllocations(
            service=service,
            operation=operation,
            sampled_runs=sums.runs,
            overlapped_runs=sums.overlapped,
            allocations=sums.allocations if sums.runs else None,
            deallocations=sums.deallocations if sums.runs else None,
            total_resident_change_mb=None if sums.largest is None else sums.resident / MEGABYTE,
            largest_resident_change_mb=megabytes(sums.largest),
        )
        for (service, operation), sums in sorted(
            operations.items(), key=lambda item: -item[1].resident
        )
    ]


def fragmentation(allocators: tuple[AllocatorReading, ...]) -> Fragmentation:
    """Return how much of what the allocators hold is free, over all that tell."""
    held = sum(one.held for one in allocators)
    used = sum(one.used for one in allocators)
    return Fragmentation(
        ratio=_free_share(used, held),
        held_mb=held / MEGABYTE if allocators else None,
        used_mb=used / MEGABYTE if allocators else None,
        allocators=[
            AllocatorMemory(
                allocator=one.allocator,
                held_mb=one.held / MEGABYTE,
                used_mb=one.used / MEGABYTE,
                fragmentation_ratio=_free_share(one.used, one.held),
                measured_by=one.source,
            )
            for one in allocators
        ],
    )


def _services(
    reading: ResourceReading, operations: list[OperationAllocations]
) -> dict[str, ServiceMemory]:
    resident = megabytes(reading.held("resident"))
    window, tracked = reading.latest_watch.window, reading.services
    traced = reading.latest_watch.traced_services
    services = {}
    for name in sorted({*tracked, *traced, *(row.service for row in operations)}):
        figures = _Figures()
        if window is not None:
            figures.take_window(name, window)
        if name in tracked:
            figures.take_probes(tracked[name])
        figures.take_runs([row for row in operations if row.service == name])
        if not figures.measured_by:
            continue  # nothing of its memory was measured
        held = figures.memory_mb
        services[name] = ServiceMemory(
            service_name=name,
            memory_mb=held,
            percentage=None if held is None or not resident else held / resident * 100,
            peak_memory_mb=figures.peak_memory_mb,
            allocations=figures.allocations,
            deallocations=figures.deallocations,
            measured_by=figures.measured_by,
        )
    return services


@dataclasses.dataclass
class _Figures:
    """A service's figures as the three ways of measuring fill them, the best one last."""

    memory_mb: float | None = None
    peak_memory_mb: float | None = None
    allocations: int | None = None
    deallocations: int | None = None
    measured_by: dict[str, str] = dataclasses.field(default_factory=dict)

    def take_window(self, service: str, window: AllocationWindow) -> None:
        rows = [
            row
            for row in window.packages
            if row.package == service or row.package.startswith(service + ".")
        ]
        if rows:
            self.memory_mb = sum(row.memory_mb for row in rows)
            self.allocations = sum(row.blocks for row in rows)
            how = f"traced for {window.duration_seconds:.1f} s: allocated then, held at the end"
            self.measured_by.update(memory_mb=how, percentage=how, allocations=how)

    def take_probes(self, row: ServiceReading) -> None:
        self.memory_mb, self.peak_memory_mb = megabytes(row.held), megabytes(row.peak)
        self.measured_by.update(
            memory_mb=row.measured_by,
            percentage=row.measured_by,
            peak_memory_mb="the largest of the samples",
        )

    def take_runs(self, operations: list[OperationAllocations]) -> None:
        runs = sum(row.sampled_runs for row in operations)
        if runs:
            self.allocations = sum(row.allocations or 0 for row in operations)
            self.deallocations = sum(row.deallocations or 0 for row in operations)
            how = f"net change of the whole process's memory blocks over {runs} sampled runs"
            self.measured_by.update(allocations=how, deallocations=how)


def _gc_stats(reading: ResourceReading) -> GcStats:
    counts = reading.collections
    pauses = {row.generation: row for row in reading.pauses}
    timed = sum(row.count for row in pauses.values())
    total_ms = sum(row.total_ns for row in pauses.values()) / 1e6
    longest = [row.longest_ns for row in pauses.values() if row.longest_ns is not None]
    return GcStats(
        enabled=reading.latest.gc_enabled,
        collections=sum(row.collections for row in counts),
        objects_freed=sum(row.collected for row in counts),
        uncollectable=sum(row.uncollectable for row in counts),
        average_collection_time_ms=total_ms / timed if timed else None,
        longest_collection_ms=max(longest) / 1e6 if longest else None,
        total_collection_time_ms=total_ms,
        timed_collections=timed,
        generations=[
            GenerationStats(
                generation=row.generation,
                collections=row.collections,
                objects_freed=row.collected,
                uncollectable=row.uncollectable,
                total_collection_time_ms=pause.total_ns / 1e6,
                longest_collection_ms=None if pause.longest_ns is None else pause.longest_ns / 1e6,
            )
            for row in counts
            for pause in [pauses.get(row.generation, PauseReading(row.generation, 0, None, ()))]
        ],
    )


def _ratio(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole


def _free_share(used: int, held: int) -> float | None:
    return max(0.0, 1 - used / held) if held else None
