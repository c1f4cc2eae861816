"""The records that `get_memory_usage_metrics()` returns."""

from __future__ import annotations

import dataclasses

from otel_studio.base.record import Record


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceMemory(Record):
    """What one service holds, as far as it was measured; sizes in MB of 1,000,000 bytes."""

    service_name: str
    memory_mb: float | None
    #: Of the process's resident memory, 0 to 100; parts that are not resident can exceed it.
    percentage: float | None
    #: The most that was seen at once, since the service was first tracked.
    peak_memory_mb: float | None
    allocations: int | None
    deallocations: int | None
    #: By field, how its figure was found: each says its source, and what it leaves out.
    measured_by: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class PackageMemory(Record):
    """What one package allocated within the last window of tracing, and still held at its end."""

    package: str
    memory_mb: float
    blocks: int


@dataclasses.dataclass(frozen=True, slots=True)
class AllocationWindow(Record):
    """One window in which every allocation was traced, by package."""

    started_at: str | None
    duration_seconds: float
    traced_mb: float
    #: What the tracing itself took, at its end.
    overhead_mb: float
    packages: list[PackageMemory]


@dataclasses.dataclass(frozen=True, slots=True)
class OperationAllocations(Record):
    """What sampled runs of one operation changed; the whole process, so other threads too."""

    service: str
    operation: str
    sampled_runs: int
    #: Runs that another sampled run overlapped; they are in none of the sums.
    overlapped_runs: int
    allocations: int | None
    deallocations: int | None
    total_resident_change_mb: float | None
    largest_resident_change_mb: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class AllocatorMemory(Record):
    """What an allocator holds from the system, and how much of that is in use."""

    allocator: str
    held_mb: float
    used_mb: float
    fragmentation_ratio: float | None
    measured_by: str


@dataclasses.dataclass(frozen=True, slots=True)
class Fragmentation(Record):
    """How much of the allocators' memory is held without being used, 0 to 1."""

    ratio: float | None
    held_mb: float | None
    used_mb: float | None
    allocators: list[AllocatorMemory]


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationStats(Record):
    """One generation of the garbage collector."""

    generation: int
    collections: int
    objects_freed: int
    uncollectable: int
    total_collection_time_ms: float
    longest_collection_ms: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class GcStats(Record):
    """The garbage collector since the process began, or since the fork in a child."""

    enabled: bool
    collections: int
    objects_freed: int
    uncollectable: int
    #: Over the collections that were timed: those since the SDK started.
    average_collection_time_ms: float | None
    longest_collection_ms: float | None
    total_collection_time_ms: float
    timed_collections: int
    generations: list[GenerationStats]


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryAlert(Record):
    """A threshold that memory is over at present."""

    alert_type: str
    message: str
    severity: str
    #: When it was first found to be over, in this stretch.
    timestamp: str | None
    current_value: float
    threshold_value: float
    #: The service that it is about; `None` for the process as a whole.
    service_name: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryUsage(Record):
    """The process's memory, by service where that was asked for."""

    timestamp: str | None
    pid: int
    #: Resident memory (RSS).
    total_memory_mb: float | None
    #: The most resident memory since the process began.
    peak_memory_mb: float | None
    #: What ending this process would free (USS).
    unique_memory_mb: float | None
    virtual_memory_mb: float | None
    swapped_memory_mb: float | None
    #: The smaller of the machine's memory and the limit of the control group.
    limit_mb: float | None
    limit_source: str | None
    #: Of the limit, by this process alone and by everything under the same limit, 0 to 1.
    process_utilization: float | None
    system_utilization: float | None
    threads: int | None
    services: dict[str, ServiceMemory]
    fragmentation: Fragmentation
    gc_stats: GcStats
    memory_alerts: list[MemoryAlert]
    allocation_window: AllocationWindow | None
    operations: list[OperationAllocations]
    #: By field, where its figure comes from.
    measured_by: dict[str, str]
