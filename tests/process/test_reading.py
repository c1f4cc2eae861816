"""The algebra of the readings of processes: what adds, what stands, what begins anew."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_studio.base import codec
from otel_studio.base.clock import ManualClock
from otel_studio.base.figures import points_of
from otel_studio.process.allocators import AllocatorReading
from otel_studio.process.event_loop import LoopReading
from otel_studio.process.instruments import FIGURES
from otel_studio.process.machine_reading import MachineReading
from otel_studio.process.memory_report import memory_usage
from otel_studio.process.monitor import ProcessMonitor
from otel_studio.process.process_reading import CollectionCounts, ProcessCounts, ProcessPart
from otel_studio.process.reading import ResourceReading
from otel_studio.process.service_memory import ServiceReading
from otel_studio.process.system import SystemReading
from otel_studio.process.watch_reading import AllocationSums, PauseReading, WatchPart
from plain_data import unplain_fields

#: A busy machine is no failure.
UNTIMED = settings(deadline=None)
EPOCHS = ("a", "b", "c")
#: One number tells all of a part: hundreds of figures drawn one by one would take minutes.
SEEDS = st.integers(1, 10**9)


def size(random: Random) -> int:
    return random.choice((0, 1, random.randrange(10**12)))


def process_of(seed: int) -> ProcessPart:
    """A process; no two readings of it are of one moment, so the moment tells what was seen."""
    random = Random(seed)
    return ProcessPart(
        unix_ns=seed,
        counts=ProcessCounts(*(size(random) for _ in dataclasses.fields(ProcessCounts))),
        collections=tuple(
            CollectionCounts(row, *(size(random) for _ in range(3))) for row in range(3)
        ),
        pid=seed % 100,
        resident=size(random),
        threads=seed % 7,
        peak_resident=size(random),
        uptime=float(seed % 11),
        cpu={"user": seed % 13 / 13},
        allocators=(AllocatorReading("malloc", size(random), 0, "test"),),
        gc_enabled=bool(seed % 2),
    )


def watch_of(seed: int) -> WatchPart:
    random = Random(seed)
    names = random.sample(("s", "t", "u"), random.randrange(3))
    return WatchPart(
        unix_ns=seed,
        pauses=tuple(
            PauseReading(row, size(random), size(random), (size(random), size(random)))
            for row in range(3)
        ),
        operations={
            (name, "op"): AllocationSums(*(1 + size(random) for _ in range(6))) for name in names
        },
        services={
            name: ServiceReading(name, size(random), size(random), "test", seed) for name in names
        },
        loops=(LoopReading("main", seed % 3 / 3, None, 1),),
    )


def machine_of(seed: int) -> MachineReading:
    return MachineReading(seed, EPOCHS[seed % 3], "boot", SystemReading(memory_limit=seed % 1_000))


def by_epoch(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(EPOCHS), values, min_size=1, max_size=3)


PROCESSES, WATCHES = st.builds(process_of, SEEDS), st.builds(watch_of, SEEDS)
MACHINES = st.builds(machine_of, SEEDS)
READINGS = st.builds(ResourceReading, by_epoch(PROCESSES), by_epoch(WATCHES), MACHINES)


def counts(reading: ResourceReading) -> dict[str, Any]:
    """What forms a group: every count, where there is any."""
    found: dict[str, Any] = {}
    for epoch, part in reading.processes.items():
        for field in dataclasses.fields(ProcessCounts):
            found[f"{epoch}.{field.name}"] = getattr(part.counts, field.name)
        for row in part.collections:
            numbers = (row.collections, row.collected, row.uncollectable)
            for number, value in enumerate(numbers):
                found[f"{epoch}.collections.{row.generation}.{number}"] = value
    for epoch, watch in reading.watches.items():
        for pause in watch.pauses:
            for number, value in enumerate((pause.total_ns, *pause.buckets)):
                found[f"{epoch}.pauses.{pause.generation}.{number}"] = value
        for key, sums in watch.operations.items():
            for name in ("runs", "overlapped", "allocations", "deallocations", "resident"):
                found[f"{epoch}.{key}.{name}"] = getattr(sums, name)
    return {name: value for name, value in found.items() if value}


@UNTIMED
@given(READINGS, READINGS)
def test_the_order_of_a_sum_does_not_matter(a: ResourceReading, b: ResourceReading) -> None:
    """Counts, last values and peaks come out the same whichever is added to which."""
    assert a + b == b + a


@UNTIMED
@given(READINGS, READINGS, READINGS)
def test_the_grouping_of_a_sum_does_not_matter(
    a: ResourceReading, b: ResourceReading, c: ResourceReading
) -> None:
    """Three workers may be added in any grouping."""
    assert (a + b) + c == a + (b + c)


@UNTIMED
@given(READINGS, READINGS)
def test_a_difference_takes_back_what_a_sum_added(a: ResourceReading, b: ResourceReading) -> None:
    """(a + b) - a counts what b does."""
    assert counts((a + b) - a) == counts(b)
    assert counts((a + b) - b) == counts(a)


@UNTIMED
@given(READINGS, READINGS)
def test_every_count_is_in_a_sum(a: ResourceReading, b: ResourceReading) -> None:
    """A sum counts what both count: nothing is left out, nothing twice."""
    both, one, other = counts(a + b), counts(a), counts(b)
    names = one.keys() | other.keys()
    assert both == {name: one.get(name, 0) + other.get(name, 0) for name in names}


@UNTIMED
@given(PROCESSES, PROCESSES, WATCHES, WATCHES)
def test_what_began_anew_counts_from_zero(
    before: ProcessPart, after: ProcessPart, watch: WatchPart, other: WatchPart
) -> None:
    """Across a restart a difference holds all that the new process counted, and nothing below."""
    old = ResourceReading({"a": before}, {"a": watch})
    new = ResourceReading({"b": after}, {"b": other})
    assert counts(new - old) == counts(new)


@UNTIMED
@given(PROCESSES, PROCESSES)
def test_what_a_process_holds_is_as_it_was_last_seen(one: ProcessPart, other: ProcessPart) -> None:
    """Memory of one process is that of the later reading; the peak is the larger."""
    later = max((one, other), key=lambda part: part.unix_ns)
    together = ResourceReading({"a": one}) + ResourceReading({"a": other})
    assert together.held("resident") == later.resident
    assert together.latest.cpu == later.cpu
    assert together.peak_resident == max(one.peak_resident or 0, other.peak_resident or 0)


@UNTIMED
@given(PROCESSES, PROCESSES)
def test_what_several_processes_hold_is_added(one: ProcessPart, other: ProcessPart) -> None:
    """Two workers hold what both hold, and have the larger of their peaks."""
    together = ResourceReading({"a": one}) + ResourceReading({"b": other})
    assert together.held("resident") == (one.resident or 0) + (other.resident or 0)
    assert together.held("virtual") is None
    assert together.allocators[0].held == one.allocators[0].held + other.allocators[0].held
    assert together.peak_resident == max(one.peak_resident or 0, other.peak_resident or 0)


def test_services_add_over_processes_and_stand_within_one() -> None:
    """A service's memory is that of all its processes; of one process, as it was last sampled."""

    def holding(moment: int, held: int, peak: int, epoch: str) -> ResourceReading:
        row = ServiceReading("a", held, peak, "test", moment)
        return ResourceReading(watches={epoch: WatchPart(moment, services={"a": row})})

    first, second = holding(1, 50, 80, "a"), holding(2, 30, 60, "a")
    assert (first + second).services["a"] == ServiceReading("a", 30, 80, "test", 2)
    worker = holding(1, 7, 9, "b")
    assert (first + second + worker).services["a"] == ServiceReading("a", 37, 80, "test", 2)
    assert (second - first).services["a"].held == 30


@UNTIMED
@given(MACHINES, MACHINES)
def test_the_machine_is_never_added(one: MachineReading, other: MachineReading) -> None:
    """Of two workers on one machine it is the later reading that stands."""
    together = ResourceReading(machine=one) + ResourceReading(machine=other)
    later = max((one, other), key=lambda machine: (machine.unix_ns, machine.epoch))
    assert together.machine.unix_ns == later.unix_ns
    assert together.machine.system == later.system


def machine(boot: str = "first", source: str = "machine", **figures: Any) -> ResourceReading:
    system = SystemReading(memory_source=source, cpu_source=source, **figures)
    return ResourceReading(machine=MachineReading(1, "a", boot, system))


def test_the_machines_counts_subtract() -> None:
    """Processor time, faults and what the group was denied are those of the window."""
    then = machine(cpu={"user": 5.0}, faults={"major": 3}, throttled_periods=4, oom_kills=1)
    now = machine(
        cpu={"user": 7.5, "idle": 1.0}, faults={"major": 3}, throttled_periods=6, oom_kills=1
    )
    window = (now - then).machine.system
    assert window.cpu == {"user": 2.5, "idle": 1.0}
    assert window.faults == {"major": 0}
    assert (window.throttled_periods, window.oom_kills) == (2, 0)


def test_a_reboot_or_another_group_counts_from_zero() -> None:
    """What began anew is never negative, and not short of what came before it either."""
    then = machine(cpu={"user": 5.0}, faults={"major": 3}, throttled_seconds=4.0)
    for now in (
        machine("second", cpu={"user": 7.5}, faults={"major": 9}, throttled_seconds=6.0),
        machine("first", "cgroup", cpu={"user": 7.5}, faults={"major": 9}, throttled_seconds=6.0),
        machine("first", cpu={"user": 2.5}, faults={"major": 1}, throttled_seconds=1.0),
    ):
        assert (now - then).machine.system == now.machine.system


@UNTIMED
@given(READINGS)
def test_every_figure_and_the_record_can_be_made_of_any_reading(reading: ResourceReading) -> None:
    """Instruments and queries are functions of a reading, of one process or of several."""
    for _figure, (value, _attributes) in points_of(FIGURES, reading):
        assert value is not None
    usage = memory_usage(reading, [])
    assert usage.to_json()
    assert usage.total_memory_mb == (reading.held("resident") or 0) / 1e6


def test_a_reading_is_plain_data() -> None:
    """Nothing in it but numbers, text, mappings, tuples and frozen records."""
    assert unplain_fields(ResourceReading) == []


@UNTIMED
@given(READINGS)
def test_the_codec_brings_a_reading_back(reading: ResourceReading) -> None:
    """Another process reads exactly what this one wrote."""
    assert codec.decode(codec.encode(reading), ResourceReading) == reading


def test_each_monitor_begins_anew() -> None:
    """Two that measured one after the other in one process are not taken for one."""
    first, second = (ProcessMonitor(ManualClock()).reading() for _ in range(2))
    assert len((first + second).watches) == 2
    assert len((first + second).processes) == 1
    assert (second - first).watches == second.watches
