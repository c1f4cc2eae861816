"""What a fold keeps of runs as samples: each of them, and all together, within bounds in bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from otel_studio.base import outcome
from otel_studio.base.failure import safe_text
from otel_studio.base.guard import note_internal_error
from otel_studio.registry.errors import ErrorGroup
from otel_studio.registry.failures import ToldFailure, describe_failure
from otel_studio.registry.kept import Kept, order_of
from otel_studio.registry.operation import Operation
from otel_studio.registry.reading import ServicePart
from otel_studio.spans.ended_run import RunFailure, outcome_of
from otel_studio.spans.light_run import LightRun, cut_to
from otel_studio.spans.weight import weight_of

#: Of an error's message, where nothing but that is left of a run.
_BARE_MESSAGE: Final = 256

Services = Mapping[str, tuple[str, ServicePart]]


class Keeping:
    """Takes the runs that one fold keeps: one that holds much is kept with its values cut.

    Args:
        run_bytes: what one may hold of attributes and events.
    """

    __slots__ = ("_run_bytes", "_taken", "bytes", "values_cut")

    def __init__(self, run_bytes: int) -> None:
        self._run_bytes = run_bytes
        #: By the run's identity; each is in the batch that is folded, and so alive.
        self._taken: dict[int, Kept] = {}
        #: What was kept holds so much; what it takes the place of is not taken off.
        self.bytes = 0
        self.values_cut = 0

    def of(self, run: Kept) -> Kept:
        """Return what is kept of a run: itself, or where it holds too much a lighter one."""
        if run._simple and not run._attributes and not run._records:
            return run
        taken = self._taken.get(id(run))
        if taken is None:
            try:
                taken = self._take(run)
            except Exception as error:  # it is counted all the same
                note_internal_error("weighing a run that is kept", error)
                taken = LightRun(run, None, (), run._failure, is_bare=False)
            self._taken[id(run)] = taken
        return taken

    def _take(self, run: Kept) -> Kept:
        weight = weight_of(run)
        if weight <= self._run_bytes:
            self.bytes += weight
            return run
        light: LightRun | None = getattr(run, "_light", None)
        if light is None:
            light, cut = cut_to(run, self._run_bytes)
            run._light = light  # type: ignore[attr-defined]  # so that it is told what comes later
            self.values_cut += cut
        self.bytes += weight_of(light)
        return light


def within(services: Services, limit: int) -> tuple[Services, int, int]:
    """Return what is known with samples that hold no more than a limit together.

    Where they hold more than three quarters of it, the oldest lose their attributes, events,
    stacks and log records until half of it is free: so it is rare, however full it is.

    Args:
        services: epoch and part of each service.
        limit: bytes, for all of them.

    Returns:
        the services, the bytes that their samples hold, and how many runs were stripped.
    """
    runs = {id(run): run for _, part in services.values() for run in _kept_in(part)}
    weights = {key: _weight(run) for key, run in runs.items()}
    held = sum(weights.values())
    if held <= limit * 3 // 4:
        return services, held, 0
    bare: dict[int, Kept] = {}
    for run in sorted(runs.values(), key=order_of):
        weight = weights[id(run)]
        if weight:
            bare[id(run)] = LightRun(run, None, (), _told(run), is_bare=True)
            held -= weight
            if held <= limit // 2:
                break

    def stripped(run: Kept) -> Kept:
        return bare.get(id(run), run)

    return (
        {name: (epoch, _with(part, stripped)) for name, (epoch, part) in services.items()},
        held,
        len(bare),
    )


def _weight(run: Kept) -> int:
    if (run._simple and not run._attributes and not run._records) or (
        isinstance(run, LightRun) and run.is_bare
    ):
        return 0
    return weight_of(run)


def _told(run: Kept) -> RunFailure | None:
    """Return what is left of a run's failure: without its stack."""
    if outcome_of(run) != outcome.ERROR:
        return None
    failure = describe_failure(run)
    message = failure.message
    return ToldFailure(
        safe_text(failure.type_name, _BARE_MESSAGE),
        safe_text(failure.place, _BARE_MESSAGE),
        None if message is None else safe_text(message, _BARE_MESSAGE),
        None,
    )


def _kept_in(part: ServicePart) -> Iterator[Kept]:
    for operation in part.operations.values():
        yield from operation.recent
        yield from operation.slowest
        if operation.last_failed is not None:
            yield operation.last_failed
        for series in operation.series.values():
            yield from _known(series.exemplars)
    for group in part.groups.values():
        yield from _known((group.latest, group.told))


def _known(runs: Iterable[Kept | None]) -> Iterator[Kept]:
    return (run for run in runs if run is not None)


def _with(part: ServicePart, stripped: Callable[[Kept], Kept]) -> ServicePart:
    return dataclasses.replace(
        part,
        operations={name: _operation(one, stripped) for name, one in part.operations.items()},
        groups={key: _group(one, stripped) for key, one in part.groups.items()},
    )


def _operation(operation: Operation, stripped: Callable[[Kept], Kept]) -> Operation:
    failed = operation.last_failed
    return dataclasses.replace(
        operation,
        recent=tuple(map(stripped, operation.recent)),
        slowest=tuple(map(stripped, operation.slowest)),
        last_failed=None if failed is None else stripped(failed),
        series={
            key: dataclasses.replace(
                one,
                exemplars=tuple(None if run is None else stripped(run) for run in one.exemplars),
            )
            for key, one in operation.series.items()
        },
    )


def _group(group: ErrorGroup, stripped: Callable[[Kept], Kept]) -> ErrorGroup:
    return dataclasses.replace(
        group,
        latest=None if group.latest is None else stripped(group.latest),
        told=None if group.told is None else stripped(group.told),
    )
