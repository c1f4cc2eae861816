"""Makes the memory records from a reading: every figure with how it was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from otel_studio.record import MEGABYTE, iso_time, megabytes
from otel_studio.resources.allocators import AllocatorReading
from otel_studio.resources.collector_watch import GenerationReading
from otel_studio.resources.memory_alerts import MemoryAlerts, memory_rules
from otel_studio.resources.memory_records import (
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
from otel_studio.resources.reading import ResourceReading
from otel_studio.resources.service_memory import ServiceReading

#: Sizes are in MB of a million bytes, as in every record.


def memory_usage(
    reading: ResourceReading,
    services: Mapping[str, ServiceReading],
    known_services: Iterable[str],
    now_ns: int,
    window: AllocationWindow | None,
    operations: list[OperationAllocations],
    alerts: MemoryAlerts,
    gc_enabled: bool,
) -> MemoryUsage:
    """Return the record of the process's memory.

    Args:
        reading: the process, the system and the collector.
        services: what each service held at the last sample.
        known_services: names that traced modules may belong to.
        now_ns: the wall clock, in nanoseconds.
        window: the last window of traced allocations, if there was one.
        operations: what sampled runs changed.
        alerts: holds the thresholds.
        gc_enabled: whether automatic collection is on.
    """
    process, system = reading.process, reading.system
    return MemoryUsage(
        timestamp=iso_time(now_ns),
        pid=process.pid,
        total_memory_mb=megabytes(process.resident),
        peak_memory_mb=megabytes(process.peak_resident),
        unique_memory_mb=megabytes(reading.slow.unique),
        virtual_memory_mb=megabytes(process.virtual),
        swapped_memory_mb=megabytes(process.swapped),
        limit_mb=megabytes(system.memory_limit),
        limit_source=system.memory_source,
        process_utilization=_ratio(process.resident, system.memory_limit),
        system_utilization=_ratio(system.memory_working_set, system.memory_limit),
        threads=process.threads,
        services=_services(reading, services, known_services, window, operations),
        fragmentation=fragmentation(reading.slow.allocators),
        gc_stats=_gc_stats(reading.generations, gc_enabled),
        memory_alerts=alerts_of(reading, services, alerts),
        allocation_window=window,
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


def alerts_of(
    reading: ResourceReading, services: Mapping[str, ServiceReading], alerts: MemoryAlerts
) -> list[MemoryAlert]:
    """Return the memory alerts that hold for a reading."""
    process, system = reading.process, reading.system
    figures = {
        "process_utilization": _ratio(process.resident, system.memory_limit),
        "system_utilization": _ratio(system.memory_working_set, system.memory_limit),
        "memory_mb": megabytes(process.resident),
        "fragmentation": fragmentation(reading.slow.allocators).ratio,
        "services": {name: megabytes(row.held) for name, row in services.items()},
    }
    return alerts.evaluate(memory_rules(alerts.thresholds, figures))


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
    reading: ResourceReading,
    tracked: Mapping[str, ServiceReading],
    known: Iterable[str],
    window: AllocationWindow | None,
    operations: list[OperationAllocations],
) -> dict[str, ServiceMemory]:
    resident = megabytes(reading.process.resident)
    services = {}
    for name in sorted({*tracked, *known, *(row.service for row in operations)}):
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


def _gc_stats(generations: tuple[GenerationReading, ...], enabled: bool) -> GcStats:
    timed = sum(row.pauses for row in generations)
    total = sum(row.pause_seconds for row in generations)
    longest = [row.longest_pause_seconds for row in generations if row.longest_pause_seconds]
    return GcStats(
        enabled=enabled,
        collections=sum(row.collections for row in generations),
        objects_freed=sum(row.collected for row in generations),
        uncollectable=sum(row.uncollectable for row in generations),
        average_collection_time_ms=total / timed * 1e3 if timed else None,
        longest_collection_ms=max(longest) * 1e3 if longest else None,
        total_collection_time_ms=total * 1e3,
        timed_collections=timed,
        generations=[
            GenerationStats(
                generation=row.generation,
                collections=row.collections,
                objects_freed=row.collected,
                uncollectable=row.uncollectable,
                total_collection_time_ms=row.pause_seconds * 1e3,
                longest_collection_ms=None
                if row.longest_pause_seconds is None
                else row.longest_pause_seconds * 1e3,
            )
            for row in generations
        ],
    )


def _ratio(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole


def _free_share(used: int, held: int) -> float | None:
    return 1 - used / held if held else None
