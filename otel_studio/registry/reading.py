"""The registry's reading: every service with its operations, and what runs, at one moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import add

from otel_studio.base.codec import readable
from otel_studio.base.reading import add_counts, add_parts, subtract_counts, subtract_parts
from otel_studio.registry.errors import ErrorGroup, GroupKey
from otel_studio.registry.operation import Operation

#: Seconds that a rate looks back.
RATE_SECONDS = 60


@dataclasses.dataclass(frozen=True, slots=True)
class ServicePart:
    """One service since one beginning of it: the process's, or a reset's.

    Attributes:
        began_ns: the monotonic clock when it was first known here, in nanoseconds.
        since_ns: since when its operations count, in nanoseconds since the Unix epoch.
        operations: by name.
        groups: of errors, by type and place.
        groups_overflowed: failures that found no room for a group of their own.
        overflowed: runs that were counted under `__other__` for want of room.
        ended: runs by the second that they were counted in, of the monotonic clock; the last
            minute's.
    """

    began_ns: int
    since_ns: int
    operations: Mapping[str, Operation] = dataclasses.field(default_factory=dict)
    groups: Mapping[GroupKey, ErrorGroup] = dataclasses.field(default_factory=dict)
    groups_overflowed: int = 0
    overflowed: int = 0
    ended: Mapping[int, int] = dataclasses.field(default_factory=dict)

    def __add__(self, other: ServicePart) -> ServicePart:
        """Return both together."""
        return ServicePart(
            min(self.began_ns, other.began_ns),
            min(self.since_ns, other.since_ns),
            add_parts(self.operations, other.operations),
            add_parts(self.groups, other.groups),
            self.groups_overflowed + other.groups_overflowed,
            self.overflowed + other.overflowed,
            add_counts(self.ended, other.ended),
        )

    def __sub__(self, earlier: ServicePart) -> ServicePart:
        """Return what came since an earlier reading of the same beginning."""
        operations = subtract_parts(self.operations, earlier.operations)
        groups = subtract_parts(self.groups, earlier.groups)
        return ServicePart(
            self.began_ns,
            self.since_ns,
            {name: one for name, one in operations.items() if not one.is_empty},
            {key: group for key, group in groups.items() if group.count},
            self.groups_overflowed - earlier.groups_overflowed,
            self.overflowed - earlier.overflowed,
            _ended_since(self.ended, earlier.ended),
        )

    @property
    def count(self) -> int:
        """Runs of all operations that ended."""
        return sum(operation.count for operation in self.operations.values())

    @property
    def errors(self) -> int:
        """Runs of all operations that failed."""
        return sum(operation.errors for operation in self.operations.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is counted in it."""
        return not (self.operations or self.groups or self.groups_overflowed or self.overflowed)

    def per_second(self, now_ns: int) -> float:
        """Return runs per second over the last minute, or since the beginning if that is shorter.

        Args:
            now_ns: the monotonic clock, in nanoseconds.
        """
        oldest = now_ns // 1_000_000_000 - RATE_SECONDS
        seconds = min((now_ns - self.began_ns) / 1e9, RATE_SECONDS)
        return sum(n for second, n in self.ended.items() if second > oldest) / max(seconds, 1.0)


def _ended_since(now: Mapping[int, int], then: Mapping[int, int]) -> dict[int, int]:
    """Return the runs by second that came since; a second that is no longer kept is gone."""
    left = {second: count - then.get(second, 0) for second, count in now.items()}
    return {second: count for second, count in left.items() if count}


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceReading:
    """One service: its parts by epoch; one part in one process."""

    parts: Mapping[str, ServicePart]

    def __add__(self, other: ServiceReading) -> ServiceReading:
        """Return both together."""
        return ServiceReading(add_parts(self.parts, other.parts))

    def __sub__(self, earlier: ServiceReading) -> ServiceReading:
        """Return what came since an earlier reading; a part that began since counts whole."""
        return ServiceReading(subtract_parts(self.parts, earlier.parts))

    def whole(self) -> ServicePart:
        """Return all parts together."""
        return reduce(add, self.parts.values())

    @property
    def counting(self) -> Mapping[str, ServicePart]:
        """The parts in which anything is counted."""
        return {epoch: part for epoch, part in self.parts.items() if not part.is_empty}


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessMoment:
    """What holds for one process at one moment.

    Attributes:
        taken_ns: the monotonic clock, in nanoseconds.
        unix_ns: the same moment, in nanoseconds since the Unix epoch.
        active: runs that go on, by service and operation.
        folded: ended runs that were folded so far.
        fold_ns: nanoseconds that this took.
        ignored: of these, the runs that the selection left out.
        limited: what the bounds in bytes have cost: values cut of kept `runs`, `samples` stripped.
    """

    taken_ns: int
    unix_ns: int
    active: Mapping[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    folded: int = 0
    fold_ns: int = 0
    ignored: int = 0
    limited: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __add__(self, other: ProcessMoment) -> ProcessMoment:
        """Return the later one, with what both counted: of two windows of one process."""
        last = max(self, other, key=_moment)
        return dataclasses.replace(
            last,
            folded=self.folded + other.folded,
            fold_ns=self.fold_ns + other.fold_ns,
            ignored=self.ignored + other.ignored,
            limited=add_counts(self.limited, other.limited),
        )

    def __sub__(self, earlier: ProcessMoment) -> ProcessMoment:
        """Return this moment, with what was counted since the earlier one."""
        return dataclasses.replace(
            self,
            folded=self.folded - earlier.folded,
            fold_ns=self.fold_ns - earlier.fold_ns,
            ignored=self.ignored - earlier.ignored,
            limited=subtract_counts(self.limited, earlier.limited),
        )


def _moment(moment: ProcessMoment) -> tuple[int, int, tuple[tuple[tuple[str, str], int], ...]]:
    return moment.unix_ns, moment.taken_ns, tuple(sorted(moment.active.items()))


@readable("registry")
@dataclasses.dataclass(frozen=True, slots=True)
class RegistryReading:
    """The registry of one process or of several, at one moment or over a window.

    Attributes:
        services: by name.
        processes: by the epoch of the registry in the process, for one that began anew.
    """

    services: Mapping[str, ServiceReading] = dataclasses.field(default_factory=dict)
    processes: Mapping[str, ProcessMoment] = dataclasses.field(default_factory=dict)

    def __add__(self, other: RegistryReading) -> RegistryReading:
        """Return both together."""
        return RegistryReading(
            add_parts(self.services, other.services), add_parts(self.processes, other.processes)
        )

    def __sub__(self, earlier: RegistryReading) -> RegistryReading:
        """Return the window between an earlier reading and this one."""
        return RegistryReading(
            subtract_parts(self.services, earlier.services),
            subtract_parts(self.processes, earlier.processes),
        )

    @property
    def taken_ns(self) -> int:
        """The latest moment in it, by the monotonic clock, in nanoseconds."""
        return max((moment.taken_ns for moment in self.processes.values()), default=0)

    @property
    def unix_ns(self) -> int:
        """The same, in nanoseconds since the Unix epoch."""
        return max((moment.unix_ns for moment in self.processes.values()), default=0)

    def active(self) -> dict[tuple[str, str], int]:
        """Return how many runs of each service and operation go on."""
        active: dict[tuple[str, str], int] = {}
        for moment in self.processes.values():
            for key, count in moment.active.items():
                active[key] = active.get(key, 0) + count
        return active

    def wholes(self) -> Iterator[tuple[str, ServicePart]]:
        """Yield the services with all their parts together, by name."""
        for name in sorted(self.services):
            yield name, self.services[name].whole()
