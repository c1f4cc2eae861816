"""Every bound of the registry, and how much of what it may hold."""

from __future__ import annotations

import dataclasses

from otel_studio.registry.operation import Bounds


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the registry.

    Attributes:
        operations_per_service: names that get statistics of their own; more share `__other__`.
        operations: likewise of all services together.
        services: likewise for services.
        error_groups: groups kept per service.
        trace_ids: trace ids kept per error group.
        bounds: what each operation may hold.
        run_bytes: what one kept run may hold of attributes and events.
        sample_bytes: what all kept runs may hold of them together.
    """

    operations_per_service: int
    operations: int
    services: int
    error_groups: int
    trace_ids: int
    bounds: Bounds
    run_bytes: int
    sample_bytes: int
