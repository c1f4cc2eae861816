"""Makes readings of the registry by the real fold, from rows of small numbers that tests draw."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from hypothesis import strategies as st
from opentelemetry.sdk.trace.id_generator import IdGenerator

import otel_studio
from otel_studio.base.clock import ManualClock
from otel_studio.registry.operation import Operation
from otel_studio.registry.reading import RegistryReading
from otel_studio.testing.isolation import Isolated, isolated

#: Bounds so small that a few runs go past them.
SMALL: dict[str, Any] = {
    "recent_runs_per_operation": 3,
    "slow_samples_per_operation": 2,
    "error_groups_per_service": 2,
    "trace_ids_per_error_group": 2,
    "max_operations_per_service": 2,
    "histogram_bounds": (0.001, 0.01, 0.1),
}
SAMPLED_BY_HALVES: dict[str, Any] = {"sampler": "traceidratio", "sampler_arg": 0.5}

_numbers = itertools.count(1)
_HALF = 1 << 64


class AlternatingIds(IdGenerator):
    """Ids that nobody else has; of their traces each second one is sampled by a ratio of half."""

    def generate_trace_id(self) -> int:
        """Return an id whose lower half is very small or very large."""
        number = next(_numbers)
        return number * _HALF + (number if number % 2 else _HALF - number)

    def generate_span_id(self) -> int:
        """Return the next one."""
        return next(_numbers)


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing that happens."""

    service: int
    operation: int
    outcome: str
    milliseconds: int
    #: Between it and the one before.
    gap_seconds: float = 0.0


OUTCOMES = ("ok", "ok", "error", "other error", "cancelled", "abandoned", "labelled", "parent")
STEPS = st.builds(
    Step,
    st.integers(0, 1),
    st.integers(0, 3),
    st.sampled_from(OUTCOMES),
    st.integers(0, 300),
    st.sampled_from((0.0, 0.001, 0.5, 40.0)),
)
BATCHES = st.lists(STEPS, max_size=8)


@otel_studio.track("labelled", service="service-0", labels=("tenant",))
def labelled(clock: ManualClock, milliseconds: int) -> None:
    operation = otel_studio.current_operation()
    assert operation is not None
    operation.set_attribute("tenant", f"tenant-{milliseconds % 3}")
    clock.advance(milliseconds / 1_000)


def _one_place() -> None:
    raise ValueError("no such clip")


def _other_place() -> None:
    raise KeyError("clip")


@contextmanager
def world(clock: ManualClock | None = None, **settings: Any) -> Iterator[Isolated]:
    """Give a Studio with a clock that only steps move, and ids of its own."""
    clock = ManualClock() if clock is None else clock
    with isolated(clock=clock, id_generator=AlternatingIds(), **settings) as studio:
        yield studio


def run(studio: Isolated, steps: Iterable[Step]) -> None:
    """Let steps happen, and be folded."""
    clock = studio.clock
    assert isinstance(clock, ManualClock)
    for step in steps:
        clock.advance(step.gap_seconds)
        service = otel_studio.service(f"service-{step.service}")
        name, seconds = f"operation-{step.operation}", step.milliseconds / 1_000
        if step.outcome == "labelled":
            labelled(clock, step.milliseconds)
        elif step.outcome == "abandoned":
            abandoned = service.start_operation(name)
            del abandoned
        else:
            with suppress(ValueError, KeyError, asyncio.CancelledError), service.operation(name):
                clock.advance(seconds)
                if step.outcome == "parent":
                    with service.operation("child"):
                        clock.advance(seconds)
                elif step.outcome == "error":
                    _one_place()
                elif step.outcome == "other error":
                    _other_place()
                elif step.outcome == "cancelled":
                    raise asyncio.CancelledError
    studio.registry.reading()


def counted_of(operation: Operation) -> dict[str, Any]:
    """Return what forms a group of one operation, where it is not zero."""
    found: dict[Any, Any] = {
        name: getattr(operation, name)
        for name in ("count", "total", "errors", "cancelled", "abandoned", "label_overflow")
    }
    found["sketch"] = dict(operation.sketch.counts)
    for key, one in operation.series.items():
        found["series", key] = (one.count, one.total, one.buckets) if one.count else None
    return {name: value for name, value in found.items() if value}


def counted(reading: RegistryReading) -> dict[Any, Any]:
    """Return every figure that forms a group, by where it stands; what is zero is left out."""
    found: dict[Any, Any] = {}
    for service, known in reading.services.items():
        for epoch, part in known.parts.items():
            here = service, epoch
            found[here, "groups overflowed"] = part.groups_overflowed
            found[here, "overflowed"] = part.overflowed
            found[here, "ended"] = dict(part.ended)
            for name, operation in part.operations.items():
                found[here, "operation", name] = counted_of(operation)
            for key, group in part.groups.items():
                operations = {name: n for name, n in group.operations.items() if n}
                found[here, "group", key] = (group.count, operations) if group.count else None
    for epoch, moment in reading.processes.items():
        for name in ("folded", "fold_ns", "ignored"):
            found[epoch, name] = getattr(moment, name)
    return {where: figures for where, figures in found.items() if figures}


def numbers_in(value: Any) -> Iterator[int]:
    """Yield every number among what `counted` gives."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from numbers_in(one)
    elif isinstance(value, int):
        yield value
