"""The instruments of this room: one table of names, units and where each figure comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from otel_studio.base.figures import Figure, Point, one, split
from otel_studio.process.process_reading import CollectionCounts
from otel_studio.process.reading import ResourceReading
from otel_studio.process.watch_reading import PauseReading

Points = Callable[[ResourceReading], Iterable[Point]]


def _pair(
    attribute: str,
    first: tuple[str, str],
    second: tuple[str, str],
    get: Callable[[ResourceReading, str], int | float | None],
) -> Points:
    """Return what makes two points of two counts, each by its word for the attribute."""
    return lambda reading: [
        (get(reading, name), {attribute: word}) for word, name in (first, second)
    ]


def _counted(reading: ResourceReading, name: str) -> int | None:
    return reading.counted(name)


def _counted_seconds(reading: ResourceReading, name: str) -> float | None:
    nanoseconds = reading.counted(name)
    return None if nanoseconds is None else nanoseconds / 1e9


def _held(name: str) -> Points:
    return one(lambda reading: reading.held(name))


def _collections(get: Callable[[CollectionCounts], int]) -> Points:
    return lambda reading: [
        (get(row), {"cpython.gc.generation": row.generation}) for row in reading.collections
    ]


def _pauses(get: Callable[[PauseReading], int | float | None]) -> Points:
    return lambda reading: [
        (get(row), {"cpython.gc.generation": row.generation}) for row in reading.pauses
    ]


def _longest(row: PauseReading) -> float | None:
    return None if row.longest_ns is None else row.longest_ns / 1e9


def _shares(states: dict[str, int]) -> dict[str, float]:
    total = sum(states.values())
    return {state: value / total for state, value in states.items()} if total else {}


def _allocators(reading: ResourceReading) -> Iterable[Point]:
    for row in reading.allocators:
        yield row.used, {"studio.allocator": row.allocator, "studio.allocator.state": "used"}
        free = row.held - row.used
        yield free, {"studio.allocator": row.allocator, "studio.allocator.state": "free"}


def _services(field: str) -> Points:
    return lambda reading: [
        (getattr(row, field), {"studio.service": row.service}) for row in reading.services.values()
    ]


def _loops(reading: ResourceReading) -> Iterable[Point]:
    return [(loop.worst_lag, {"studio.event_loop": loop.name}) for loop in reading.loops]


_SCOPE = " Of the control group where it sets the limit, else of the machine."

FIGURES: tuple[Figure[ResourceReading], ...] = (
    Figure(
        "process.cpu.time", "counter", "s",
        "Total CPU seconds broken down by different CPU modes.",
        _pair("cpu.mode", ("user", "cpu_user_ns"), ("system", "cpu_system_ns"), _counted_seconds),
    ),
    Figure(
        "process.cpu.utilization", "gauge", "1",
        "Difference in process.cpu.time over the last window, divided by its length and by the "
        "number of CPUs available to the process.",
        split("cpu.mode", lambda r: dict(r.latest.cpu)),
    ),
    Figure(
        "process.memory.usage", "up_down_counter", "By",
        "The amount of physical memory in use.",
        _held("resident"),
    ),
    Figure(
        "process.memory.virtual", "up_down_counter", "By",
        "The amount of committed virtual memory.",
        _held("virtual"),
    ),
    Figure(
        "process.disk.io", "counter", "By",
        "Disk bytes transferred.",
        _pair("disk.io.direction", ("read", "disk_read"), ("write", "disk_written"), _counted),
    ),
    Figure(
        "process.thread.count", "up_down_counter", "{thread}",
        "Process threads count.",
        _held("threads"),
    ),
    Figure(
        "process.unix.file_descriptor.count", "up_down_counter", "{file_descriptor}",
        "Number of UNIX file descriptors in use by the process.",
        _held("descriptors"),
    ),
    Figure(
        "process.context_switches", "counter", "{context_switch}",
        "Number of times the process has been context switched.",
        _pair("process.context_switch.type", ("voluntary", "voluntary_switches"),
              ("involuntary", "involuntary_switches"), _counted),
    ),
    Figure(
        "process.paging.faults", "counter", "{fault}",
        "Number of page faults the process has made.",
        _pair("system.paging.fault.type", ("minor", "minor_faults"), ("major", "major_faults"),
              _counted),
    ),
    Figure(
        "process.uptime", "gauge", "s",
        "The time the process has been running.",
        one(lambda r: r.latest.uptime),
    ),
    Figure(
        "system.memory.usage", "up_down_counter", "By",
        "Reports memory in use by state." + _SCOPE,
        split("system.memory.state", lambda r: r.machine.system.memory),
        machine=True,
    ),
    Figure(
        "system.memory.utilization", "gauge", "1",
        "Fraction of the memory in each state." + _SCOPE,
        split("system.memory.state", lambda r: _shares(r.machine.system.memory)),
        machine=True,
    ),
    Figure(
        "system.memory.limit", "up_down_counter", "By",
        "Total memory available." + _SCOPE,
        one(lambda r: r.machine.system.memory_limit),
        machine=True,
    ),
    Figure(
        "system.paging.usage", "up_down_counter", "By",
        "Swap usage by state." + _SCOPE,
        split("system.paging.state", lambda r: r.machine.system.swap),
        machine=True,
    ),
    Figure(
        "system.paging.utilization", "gauge", "1",
        "Fraction of the swap in each state." + _SCOPE,
        split("system.paging.state", lambda r: _shares(r.machine.system.swap)),
        machine=True,
    ),
    Figure(
        "system.paging.faults", "counter", "{fault}",
        "The number of page faults." + _SCOPE,
        split("system.paging.fault.type", lambda r: r.machine.system.faults),
        machine=True,
    ),
    Figure(
        "system.paging.operations", "counter", "{operation}",
        "Pages swapped in and out by the machine.",
        split("system.paging.direction", lambda r: r.machine.system.swapping),
        machine=True,
    ),
    Figure(
        "system.cpu.time", "counter", "s",
        "Seconds that all CPUs together spent in each mode." + _SCOPE,
        split("cpu.mode", lambda r: r.machine.system.cpu),
        machine=True,
    ),
    Figure(
        "system.cpu.utilization", "gauge", "1",
        "Difference in system.cpu.time over the last window, divided by its length and by the "
        "number of CPUs." + _SCOPE,
        split("cpu.mode", lambda r: dict(r.machine.cpu)),
        machine=True,
    ),
    Figure(
        "cpython.gc.collections", "counter", "{collection}",
        "The number of times a generation was collected since interpreter start.",
        _collections(lambda row: row.collections),
    ),
    Figure(
        "cpython.gc.collected_objects", "counter", "{object}",
        "The total number of objects collected inside a generation since interpreter start.",
        _collections(lambda row: row.collected),
    ),
    Figure(
        "cpython.gc.uncollectable_objects", "counter", "{object}",
        "The total number of objects which were found to be uncollectable inside a generation "
        "since interpreter start.",
        _collections(lambda row: row.uncollectable),
    ),
    Figure(
        "otel_studio.gc.pause.time", "counter", "s",
        "Time that the program stood still for collections, since the SDK started.",
        _pauses(lambda row: row.total_ns / 1e9),
    ),
    Figure(
        "otel_studio.gc.pause.count", "counter", "{collection}",
        "Collections that otel_studio.gc.pause.time adds up.",
        _pauses(lambda row: row.count),
    ),
    Figure(
        "otel_studio.gc.pause.longest", "gauge", "s",
        "The longest that the program stood still for one collection, since the SDK started.",
        _pauses(_longest),
    ),
    Figure(
        "otel_studio.event_loop.lag", "gauge", "s",
        "The longest that a due timer of a watched event loop waited, over the last window.",
        _loops,
    ),
    Figure(
        "otel_studio.process.memory.peak", "gauge", "By",
        "The most physical memory that was in use since the process began.",
        one(lambda r: r.peak_resident),
    ),
    Figure(
        "otel_studio.process.cpu.available", "gauge", "{cpu}",
        "CPUs that the process may use: its affinity and the quota of its control group.",
        one(lambda r: r.machine.system.cpus_available),
    ),
    Figure(
        "otel_studio.cgroup.cpu.throttled.time", "counter", "s",
        "Time that the control group stood still for having used its quota.",
        one(lambda r: r.machine.system.throttled_seconds),
        machine=True,
    ),
    Figure(
        "otel_studio.cgroup.cpu.throttled.periods", "counter", "{period}",
        "Periods in which the control group used up its quota.",
        one(lambda r: r.machine.system.throttled_periods),
        machine=True,
    ),
    Figure(
        "otel_studio.cgroup.memory.oom_kills", "counter", "{process}",
        "Processes of the control group that were ended for want of memory.",
        one(lambda r: r.machine.system.oom_kills),
        machine=True,
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
