"""The line that every ended run passes through, in the order in which it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, Protocol

from otel_studio.base import outcome
from otel_studio.base.guard import note_internal_error
from otel_studio.spans.buffer import Change, exhaust
from otel_studio.spans.ended_run import Children, EndedRun, OpenRun
from otel_studio.spans.handover import Handover

#: Runs by service and operation, in the order of their ends.
Groups = Mapping[tuple[str, str], list[EndedRun]]
#: Operations that are folded in one step.
_MAX_GROUPS: Final = 64
#: Parts of a run whose time is told apart.
_MAX_CHILDREN: Final = 50


class Redactor(Protocol):
    """Takes secrets out of runs, in place; a second time changes nothing."""

    def redact_all(self, runs: Iterable[OpenRun]) -> None:
        """Redact a batch."""


class Selection(Protocol):
    """Says which operations are left out."""

    def leaves_out(self, service: str, operation: str) -> bool:
        """Tell whether an operation's runs are ignored."""
        ...


class Counting(Protocol):
    """The registry, as the line feeds it."""

    def prepare(self, groups: Groups, ended: int, ignored: int) -> Change:
        """Return what puts a batch among what is known."""
        ...

    def keep_times(self) -> None:
        """Have the runs that are kept keep their times."""


class Outlet(Protocol):
    """Where runs go once they are counted: reports, export queues."""

    def prepare(self, runs: Sequence[OpenRun]) -> Iterable[Change]:
        """Return what takes a batch over; functions in C."""
        ...

    def after(self) -> None:
        """Wake the thread that works on it; runs no foreign code."""

    def keep_times(self) -> None:
        """Have the runs that wait keep their times."""


class Pipeline:
    """Redactor, selection, registry, reports, export queues: in this order, and no other.

    Args:
        redactor: takes secrets out before anything keeps or sends them.
        selection: leaves operations out.
        registry: counts.
        reports: makes log records of slow and failed runs.
        queues: send sampled spans.
    """

    def __init__(
        self,
        redactor: Redactor | None = None,
        selection: Selection | None = None,
        registry: Counting | None = None,
        reports: Outlet | None = None,
        queues: Sequence[Outlet] = (),
    ) -> None:
        self.redactor = redactor
        self.selection = selection
        self.registry = registry
        self.reports = reports
        self.queues: tuple[Outlet, ...] = tuple(queues)
        #: Of the program's own processors that take batches.
        self.handovers: tuple[Handover, ...] = ()

    @property
    def outlets(self) -> Iterator[Outlet]:
        """Where counted runs go, in order."""
        if self.reports is not None:
            yield self.reports
        yield from self.queues
        yield from self.handovers

    def prepare(self, runs: list[OpenRun]) -> tuple[list[Change], list[OpenRun]]:
        """Return what takes a batch over everywhere, and the runs that it takes.

        Changes nothing that anybody reads. Of a batch of very many operations only the first are
        taken, so that no step is long.
        """
        changes: list[Change] = []
        groups, parts = _grouped(runs)
        ended = sum(map(len, groups.values()))
        if ended < len(runs):
            runs = runs[:ended]
        self.redact(runs)
        taken = runs
        left_out = self._left_out(groups)
        if left_out:
            groups = {key: of_key for key, of_key in groups.items() if key not in left_out}
            runs = [run for run in runs if (run._tracer.name, run._name) not in left_out]
            parts = [run for run in parts if (run._tracer.name, run._name) not in left_out]
        if self.registry is not None:
            try:
                changes.append(self.registry.prepare(groups, ended, ended - len(runs)))
            except Exception as error:
                note_internal_error("counting ended runs", error)
        for outlet in self.outlets:
            try:
                changes.extend(outlet.prepare(runs))
            except Exception as error:
                note_internal_error(f"handing ended runs to {type(outlet).__name__}", error)
        if parts:
            changes.extend(_told_to_parents(parts))
        return changes, taken

    def redact(self, runs: Iterable[OpenRun]) -> None:
        """Take secrets out of runs, in place; a second time changes nothing."""
        if self.redactor is not None:
            self.redactor.redact_all(runs)

    def _left_out(self, groups: Groups) -> set[tuple[str, str]]:
        selection = self.selection
        if selection is None:
            return set()
        return {key for key in groups if selection.leaves_out(*key)}

    def after(self) -> None:
        """Wake whoever has something to do with what was taken over."""
        for outlet in self.outlets:
            outlet.after()

    @property
    def has_deliveries(self) -> bool:
        """Whether a consumer of the program's own has something to take."""
        return any(handover.has_waiting for handover in self.handovers)

    def deliver(self) -> None:
        """Hand runs to the program's own consumers, on the thread that calls."""
        for handover in self.handovers:
            handover.deliver()

    def keep_times(self) -> None:
        """Have the runs that are kept keep their times, before the wall clock is followed."""
        if self.registry is not None:
            self.registry.keep_times()
        for outlet in self.outlets:
            outlet.keep_times()


def _grouped(runs: Iterable[EndedRun]) -> tuple[dict[tuple[str, str], list[EndedRun]], list[Any]]:
    """Return runs by service and operation, and those that are a part of another run.

    It stops before the first run of one operation too many for one step.
    """
    groups: dict[tuple[str, str], list[EndedRun]] = {}
    parts: list[EndedRun] = []
    tracer: Any = None
    name: Any = None
    group: list[EndedRun] = []
    for run in runs:
        # The same operation again, as often: nothing to look up.
        if run._name is not name or run._tracer is not tracer:
            tracer, name = run._tracer, run._name
            key = (tracer.name, name)
            found = groups.get(key)
            if found is None:
                if len(groups) >= _MAX_GROUPS:
                    break
                found = groups[key] = []
            group = found
        group.append(run)
        if run._parent_span is not None:
            parts.append(run)
    return groups, parts


def _told_to_parents(parts: Sequence[EndedRun]) -> Iterator[Change]:
    """Yield what gives each parent the time that its parts took of its own, and cuts the link.

    What goes on after the parent's end is none of its time. The link is cut so that no chain of
    ended runs is kept alive.
    """
    told: dict[int, tuple[EndedRun, dict[tuple[str, str], tuple[int, int]]]] = {}
    for run in parts:
        parent = run._parent_span
        if parent is None or run._outcome == outcome.ABANDONED:
            continue
        start, end = run._start, run._end
        if start < parent._start:  # measured elsewhere, and told afterwards
            start = min(parent._start, end)
        if 0 < parent._end < end:
            end = parent._end
            if start >= end:
                continue
        found = told.get(id(parent))
        if found is None:
            before: Children = parent._children or {}
            found = told[id(parent)] = parent, dict(before)
        children = found[1]
        key = (run._tracer.name, run._name)
        spent = children.get(key)
        if spent is not None:
            children[key] = (spent[0] + end - start, spent[1] + 1)
        elif len(children) < _MAX_CHILDREN:
            children[key] = (end - start, 1)
    parents = [parent for parent, _ in told.values()]
    children_of = [children for _, children in told.values()]
    yield exhaust, map(setattr, parents, repeat("_children"), children_of)
    for parent, children in told.values():
        light = getattr(parent, "_light", None)
        if light is not None:
            yield exhaust, map(setattr, (light,), repeat("_children"), (children,))
    yield exhaust, map(setattr, parts, repeat("_parent_span"), repeat(None))
