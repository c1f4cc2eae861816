"""One reading of everything this room knows, shared by all gauges of one collection."""

from __future__ import annotations

import dataclasses

from otel_studio.resources.allocators import AllocatorReading
from otel_studio.resources.collector_watch import GenerationReading
from otel_studio.resources.event_loop import LoopReading
from otel_studio.resources.process import ProcessReading
from otel_studio.resources.service_memory import ServiceReading
from otel_studio.resources.system import SystemReading


@dataclasses.dataclass(frozen=True, slots=True)
class SlowReading:
    """What costs more to read, and is read less often."""

    taken_ns: int
    unique: int | None
    allocators: tuple[AllocatorReading, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceReading:
    """Figures that belong together: taken at one moment, for every reader."""

    taken_ns: int
    process: ProcessReading
    system: SystemReading
    #: Fractions by mode over the last window; empty before the first has closed.
    process_cpu: dict[str, float]
    system_cpu: dict[str, float]
    generations: tuple[GenerationReading, ...]
    loops: tuple[LoopReading, ...]
    services: dict[str, ServiceReading]
    slow: SlowReading
