"""Where runs are counted: under their service's and operation's names, or past a bound together."""

from __future__ import annotations

from collections.abc import Mapping

from otel_studio.base.guard import note_once
from otel_studio.base.overflow import OTHER
from otel_studio.registry.limits import Limits
from otel_studio.registry.reading import ServicePart


def operations_in(services: Mapping[str, tuple[str, ServicePart]]) -> int:
    """Return how many operations are known, of all services."""
    return sum(len(part.operations) for _, part in services.values())


def place_service(services: Mapping[str, object], name: str, limits: Limits) -> str:
    """Return where a service's runs are counted: under its name, or past the bound `__other__`."""
    if name in services or len(services) < limits.services or name == OTHER:
        return name
    note_once(
        "cardinality",
        "services",
        "more than %d services (instrumentation scopes): further ones are counted together as %r.",
        limits.services,
        OTHER,
    )
    return OTHER


def place_operation(
    service: str, operations: Mapping[str, object], name: str, limits: Limits, others: int
) -> str:
    """Return where an operation's runs are counted: under its name, or under `__other__`.

    Args:
        service: its service.
        operations: those known of the service.
        name: the operation's.
        limits: every bound.
        others: operations known of other services.
    """
    if name in operations or name == OTHER:
        return name
    limit = min(limits.operations_per_service, limits.operations - others)
    if len(operations) < limit:
        return name
    note_once(
        "cardinality",
        service,
        "service %r has more than %d operations: further ones are counted together as %r. "
        "Give spans names without ids, or raise max_operations_per_service or max_operations.",
        service,
        len(operations),
        OTHER,
    )
    return OTHER
