"""The one seat of what is current: the provider, caches and limits that operations use now.

`configure()` puts a new one in the place of the process's own; `isolated()` puts one on top and
takes it away whole. Whatever keeps something of a seat (a prepared operation, a cache's handle)
is told when another is taken.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final, Protocol, TypeVar

from opentelemetry import trace as trace_api

from otel_studio.base.limited import count_limited
from otel_studio.base.locks import new_lock
from otel_studio.base.weak_members import WeakMembers

T = TypeVar("T")

#: Characters kept of a captured argument where no setting says otherwise.
MAX_ARGUMENT_CHARACTERS: Final = 256
#: Services kept where no setting says otherwise.
MAX_SERVICES: Final = 1_000
#: Operations whose declarations are remembered, and probes of memory.
_MAX_DECLARED: Final = 10_000
_MAX_MEMORY_PROBES: Final = 1_000


class Occupant(Protocol):
    """A Studio, as a seat tells it what is declared while it sits there."""

    def declare_service(self, name: str) -> None:
        """Know a service from now on."""

    def track_memory(self, probe: Any) -> None:
        """Sample a probe of memory from now on."""


class CacheHome(Protocol):
    """Where caches are kept by name."""

    def cache(self, name: str, service: str = ...) -> Any:
        """Return the cache of a name."""


class Bound(Protocol):
    """What keeps something of a seat."""

    def unbind(self) -> None:
        """Let go of it: another seat is taken."""


@dataclasses.dataclass(slots=True)
class Declared:
    """What operations declare of themselves, by service and name.

    Attributes:
        slow_thresholds: seconds above which a run is slow.
        labels: names of the attributes that become dimensions of metrics.
    """

    slow_thresholds: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    labels: dict[tuple[str, str], tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def declare(
        self, service: str, name: str, slow_threshold: float | None, labels: tuple[str, ...]
    ) -> None:
        """Take over what one operation says of itself."""
        if slow_threshold is not None:
            _keep(self.slow_thresholds, (service, name), slow_threshold)
        if labels:
            _keep(self.labels, (service, name), labels)


def _keep(declared: dict[tuple[str, str], T], key: tuple[str, str], value: T) -> None:
    if key in declared or len(declared) < _MAX_DECLARED:
        declared[key] = value
    else:
        count_limited("declared")


@dataclasses.dataclass(eq=False, slots=True)
class Seat:
    """What operations, caches and queries use while it is taken.

    Attributes:
        provider: the tracer provider; `None` for whichever is set globally.
        caches: where caches are kept; made with the first of them.
        argument_characters: kept of a captured argument.
        expected_errors: canonical names of exceptions that are no errors.
        max_services: services that are known for good.
        declared: what operations say of themselves.
        occupant: the Studio that sits here, if one does.
        services: names of the services declared so far, for a Studio that comes later.
        memory_probes: likewise, of memory.
        encode_sources: who tells of encodes; made with the first of them.
    """

    provider: trace_api.TracerProvider | None = None
    caches: CacheHome | None = None
    argument_characters: int = MAX_ARGUMENT_CHARACTERS
    expected_errors: frozenset[str] = frozenset()
    max_services: int = MAX_SERVICES
    declared: Declared = dataclasses.field(default_factory=Declared)
    occupant: Occupant | None = None
    services: dict[str, None] = dataclasses.field(default_factory=dict)
    memory_probes: list[Any] = dataclasses.field(default_factory=list)
    encode_sources: Any = None

    def get_tracer(self, service: str) -> trace_api.Tracer:
        """Return the tracer of a service."""
        provider = self.provider
        if provider is None:
            provider = trace_api.get_tracer_provider()
        return provider.get_tracer(service)

    def declare_service(self, name: str) -> None:
        """Know a service, and tell the Studio that sits here."""
        if name not in self.services and len(self.services) < self.max_services:
            self.services[name] = None
        if self.occupant is not None:
            self.occupant.declare_service(name)

    def track_memory(self, probe: Any) -> None:
        """Have a probe of memory sampled, now and by a Studio that comes later."""
        if len(self.memory_probes) < _MAX_MEMORY_PROBES:
            self.memory_probes.append(probe)
        if self.occupant is not None:
            self.occupant.track_memory(probe)

    def forget_memory(self, probe: Any) -> None:
        """Have a probe of memory sampled no more."""
        if probe in self.memory_probes:
            self.memory_probes.remove(probe)


#: Re-entrant: a finalizer may run inside and use an operation of its own.
_lock: Final = new_lock()
#: The process's own seat first; the isolated ones above it, the innermost last.
_stack: Final[list[Seat]] = [Seat()]
_bound: Final[WeakMembers[Bound]] = WeakMembers()


def current() -> Seat:
    """Return the seat that is taken: the innermost isolated one, else the process's own."""
    return _stack[-1]


def own() -> Seat:
    """Return the process's own seat, whatever is isolated above it."""
    return _stack[0]


def is_isolated() -> bool:
    """Tell whether an isolated seat is above the process's own."""
    return len(_stack) > 1


def replace_own(seat: Seat) -> None:
    """Put another seat in the place of the process's own."""
    with _lock:
        _stack[0] = seat
    unbind_all()


def isolate(seat: Seat) -> None:
    """Put a seat on top."""
    with _lock:
        _stack.append(seat)
    unbind_all()


def end_isolation(seat: Seat) -> None:
    """Take a seat away, wherever it is."""
    with _lock:
        _stack.remove(seat)
    unbind_all()


def keep_bound(bound: Bound) -> None:
    """Tell something from now on when another seat is taken, while somebody holds it."""
    with _lock:
        _bound.add(bound)


def unbind_all() -> None:
    """Have everything that keeps something of a seat ask anew."""
    with _lock:
        for bound in _bound:
            bound.unbind()
