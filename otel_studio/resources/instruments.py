"""The instruments of this room: one table of names, units and where each figure comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_studio.guard import report_internal_error
from otel_studio.resources.collector_watch import GenerationReading
from otel_studio.resources.reading import ResourceReading

Attributes = dict[str, "str | int"]
Point = tuple["int | float | None", Attributes]
Observe = Callable[[ResourceReading], Iterable[Point]]


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One instrument and how its points are taken from a reading."""

    name: str
    kind: Literal["counter", "up_down_counter", "gauge"]
    unit: str
    description: str
    observe: Observe


def _one(get: Callable[[ResourceReading], int | float | None]) -> Observe:
    return lambda reading: [(get(reading), {})]


def _split(
    attribute: str, get: Callable[[ResourceReading], dict[str, int] | dict[str, float]]
) -> Observe:
    """Return what makes one point of each entry of a mapping, its key as an attribute."""
    return lambda reading: [(value, {attribute: key}) for key, value in get(reading).items()]


def _pair(
    attribute: str,
    first: str,
    second: str,
    get: Callable[[ResourceReading], tuple[int | float | None, int | float | None]],
) -> Observe:
    def observe(reading: ResourceReading) -> Iterable[Point]:
        one, other = get(reading)
        return [(one, {attribute: first}), (other, {attribute: second})]

    return observe


def _by_generation(get: Callable[[GenerationReading], int | float | None]) -> Observe:
    return lambda reading: [
        (get(row), {"cpython.gc.generation": row.generation}) for row in reading.generations
    ]


def _shares(states: dict[str, int]) -> dict[str, float]:
    total = sum(states.values())
    return {state: value / total for state, value in states.items()} if total else {}


def _allocators(reading: ResourceReading) -> Iterable[Point]:
    for one in reading.slow.allocators:
        name = {"studio.allocator": one.allocator}
        yield one.used, {**name, "studio.allocator.state": "used"}
        yield one.held - one.used, {**name, "studio.allocator.state": "free"}


def _services(attribute: str) -> Observe:
    return lambda reading: [
        (getattr(row, attribute), {"studio.service": row.service})
        for row in reading.services.values()
    ]


def _loops(reading: ResourceReading) -> Iterable[Point]:
    return [(loop.worst_lag, {"studio.event_loop": loop.name}) for loop in reading.loops]


_SCOPE = " Of the control group where it sets the limit, else of the machine."

FIGURES = (
    Figure(
        "process.cpu.time", "counter", "s",
        "Total CPU seconds broken down by different CPU modes.",
        _pair("cpu.mode", "user", "system", lambda r: (r.process.cpu_user, r.process.cpu_system)),
    ),
    Figure(
        "process.cpu.utilization", "gauge", "1",
        "Difference in process.cpu.time over the last window, divided by its length and by the "
        "number of CPUs available to the process.",
        _split("cpu.mode", lambda r: r.process_cpu),
    ),
    Figure(
        "process.memory.usage", "up_down_counter", "By",
        "The amount of physical memory in use.",
        _one(lambda r: r.process.resident),
    ),
    Figure(
        "process.memory.virtual", "up_down_counter", "By",
        "The amount of committed virtual memory.",
        _one(lambda r: r.process.virtual),
    ),
    Figure(
        "process.disk.io", "counter", "By",
        "Disk bytes transferred.",
        _pair("disk.io.direction", "read", "write",
              lambda r: (r.process.disk_read, r.process.disk_written)),
    ),
    Figure(
        "process.thread.count", "up_down_counter", "{thread}",
        "Process threads count.",
        _one(lambda r: r.process.threads),
    ),
    Figure(
        "process.unix.file_descriptor.count", "up_down_counter", "{file_descriptor}",
        "Number of UNIX file descriptors in use by the process.",
        _one(lambda r: r.process.descriptors),
    ),
    Figure(
        "process.context_switches", "counter", "{context_switch}",
        "Number of times the process has been context switched.",
        _pair("process.context_switch.type", "voluntary", "involuntary",
              lambda r: (r.process.voluntary_switches, r.process.involuntary_switches)),
    ),
    Figure(
        "process.paging.faults", "counter", "{fault}",
        "Number of page faults the process has made.",
        _pair("system.paging.fault.type", "minor", "major",
              lambda r: (r.process.minor_faults, r.process.major_faults)),
    ),
    Figure(
        "process.uptime", "gauge", "s",
        "The time the process has been running.",
        _one(lambda r: r.process.uptime),
    ),
    Figure(
        "system.memory.usage", "up_down_counter", "By",
        "Reports memory in use by state." + _SCOPE,
        _split("system.memory.state", lambda r: r.system.memory),
    ),
    Figure(
        "system.memory.utilization", "gauge", "1",
        "Fraction of the memory in each state." + _SCOPE,
        _split("system.memory.state", lambda r: _shares(r.system.memory)),
    ),
    Figure(
        "system.memory.limit", "up_down_counter", "By",
        "Total memory available." + _SCOPE,
        _one(lambda r: r.system.memory_limit),
    ),
    Figure(
        "system.paging.usage", "up_down_counter", "By",
        "Swap usage by state." + _SCOPE,
        _split("system.paging.state", lambda r: r.system.swap),
    ),
    Figure(
        "system.paging.utilization", "gauge", "1",
        "Fraction of the swap in each state." + _SCOPE,
        _split("system.paging.state", lambda r: _shares(r.system.swap)),
    ),
    Figure(
        "system.paging.faults", "counter", "{fault}",
        "The number of page faults." + _SCOPE,
        _split("system.paging.fault.type", lambda r: r.system.faults),
    ),
    Figure(
        "system.paging.operations", "counter", "{operation}",
        "Pages swapped in and out by the machine.",
        _split("system.paging.direction", lambda r: r.system.swapping),
    ),
    Figure(
        "system.cpu.time", "counter", "s",
        "Seconds that all CPUs together spent in each mode." + _SCOPE,
        _split("cpu.mode", lambda r: r.system.cpu),
    ),
    Figure(
        "system.cpu.utilization", "gauge", "1",
        "Difference in system.cpu.time over the last window, divided by its length and by the "
        "number of CPUs." + _SCOPE,
        _split("cpu.mode", lambda r: r.system_cpu),
    ),
    Figure(
        "cpython.gc.collections", "counter", "{collection}",
        "The number of times a generation was collected since interpreter start.",
        _by_generation(lambda row: row.collections),
    ),
    Figure(
        "cpython.gc.collected_objects", "counter", "{object}",
        "The total number of objects collected inside a generation since interpreter start.",
        _by_generation(lambda row: row.collected),
    ),
    Figure(
        "cpython.gc.uncollectable_objects", "counter", "{object}",
        "The total number of objects which were found to be uncollectable inside a generation "
        "since interpreter start.",
        _by_generation(lambda row: row.uncollectable),
    ),
    Figure(
        "otel_studio.gc.pause.time", "counter", "s",
        "Time that the program stood still for collections, since the SDK started.",
        _by_generation(lambda row: row.pause_seconds),
    ),
    Figure(
        "otel_studio.gc.pause.count", "counter", "{collection}",
        "Collections that otel_studio.gc.pause.time adds up.",
        _by_generation(lambda row: row.pauses),
    ),
    Figure(
        "otel_studio.gc.pause.longest", "gauge", "s",
        "The longest that the program stood still for one collection, since the SDK started.",
        _by_generation(lambda row: row.longest_pause_seconds),
    ),
    Figure(
        "otel_studio.event_loop.lag", "gauge", "s",
        "The longest that a due timer of a watched event loop waited, over the last window.",
        _loops,
    ),
    Figure(
        "otel_studio.process.memory.peak", "gauge", "By",
        "The most physical memory that was in use since the process began.",
        _one(lambda r: r.process.peak_resident),
    ),
    Figure(
        "otel_studio.process.cpu.available", "gauge", "{cpu}",
        "CPUs that the process may use: its affinity and the quota of its control group.",
        _one(lambda r: r.system.cpus_available),
    ),
    Figure(
        "otel_studio.cgroup.cpu.throttled.time", "counter", "s",
        "Time that the control group stood still for having used its quota.",
        _one(lambda r: r.system.throttled_seconds),
    ),
    Figure(
        "otel_studio.cgroup.cpu.throttled.periods", "counter", "{period}",
        "Periods in which the control group used up its quota.",
        _one(lambda r: r.system.throttled_periods),
    ),
    Figure(
        "otel_studio.cgroup.memory.oom_kills", "counter", "{process}",
        "Processes of the control group that were ended for want of memory.",
        _one(lambda r: r.system.oom_kills),
    ),
    Figure(
        "otel_studio.allocator.memory", "gauge", "By",
        "What an allocator holds from the system, in use or free.",
        _allocators,
    ),
    Figure(
        "otel_studio.service.memory.usage", "gauge", "By",
        "Memory that a service holds, by its probes and tracked objects.",
        _services("held"),
    ),
    Figure(
        "otel_studio.service.memory.peak", "gauge", "By",
        "The most memory that a service was seen to hold.",
        _services("peak"),
    ),
)  # fmt: skip


def register(meter: Meter, read: Callable[[], ResourceReading]) -> None:
    """Create every instrument of the table.

    Args:
        meter: makes the instruments.
        read: returns the present reading; called once per instrument and collection.
    """
    for figure in FIGURES:
        create = getattr(meter, f"create_observable_{figure.kind}")
        create(
            figure.name,
            callbacks=[_callback(figure, read)],
            unit=figure.unit,
            description=figure.description,
        )


def _callback(
    figure: Figure, read: Callable[[], ResourceReading]
) -> Callable[[CallbackOptions], Iterator[Observation]]:
    def observe(_: CallbackOptions) -> Iterator[Observation]:
        try:
            points = [point for point in figure.observe(read()) if point[0] is not None]
        except Exception as error:
            report_internal_error(f"the figure {figure.name}", error)
            return
        for value, attributes in points:
            if value is not None:
                yield Observation(value, attributes)

    return observe
