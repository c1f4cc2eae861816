"""The fold: from what is known of the operations and a batch of ended runs to what is known then.

A pure step. Nothing that was known before is changed, so whatever interrupts it, a signal
handler's exception too, leaves it to be done again; nothing of the program's runs in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from opentelemetry.trace import StatusCode

from otel_studio.base import outcome
from otel_studio.base.frozen import draft_of
from otel_studio.base.guard import note_internal_error
from otel_studio.base.sketch import Sketch
from otel_studio.registry.errors import GroupDrafts, GroupKey, group_of
from otel_studio.registry.keeping import Keeping
from otel_studio.registry.labels import batches_of
from otel_studio.registry.limits import Limits
from otel_studio.registry.operation import Operation
from otel_studio.registry.placing import operations_in, place_operation, place_service
from otel_studio.registry.reading import RATE_SECONDS, ServicePart
from otel_studio.registry.series import SeriesKey, empty
from otel_studio.registry.series import with_runs as with_runs_in
from otel_studio.spans.ended_run import EndedRun, duration_of, outcome_of

#: Runs by service and operation.
Groups = Mapping[tuple[str, str], list[EndedRun]]
#: The names of the labels that an operation declares.
Labels = Callable[[str, str], tuple[str, ...]]

_OperationDraft = draft_of(Operation)
_UNSET = StatusCode.UNSET
#: A bucket's exemplar is looked for again only after this long, in nanoseconds.
_SAMPLE_AGE_NS: Final = 1_000_000_000


def fold(
    services: Mapping[str, tuple[str, ServicePart]],
    groups: Groups,
    limits: Limits,
    labels: Labels,
    now_ns: int,
    new_part: Callable[[int], tuple[str, ServicePart]],
    keeping: Keeping,
) -> dict[str, tuple[str, ServicePart]]:
    """Return what is known of every service with a batch of runs in it.

    Args:
        services: what is known: epoch and part of each.
        groups: the batch, by service and operation.
        limits: every bound.
        labels: returns the names of the labels that an operation declares.
        now_ns: the monotonic clock.
        new_part: makes the part of a service that is not known yet, from when it began.
        keeping: takes the runs that are kept.
    """
    by_service: dict[str, list[tuple[str, list[EndedRun]]]] = {}
    for (service, operation), runs in groups.items():
        by_service.setdefault(service, []).append((operation, runs))
    folded = dict(services)
    known = operations_in(folded)
    for name, batches in by_service.items():
        home = place_service(folded, name, limits)
        epoch, part = folded.get(home) or new_part(_first_start(batches, now_ns))
        try:
            others = known - len(part.operations)
            part = _fold_service(home, part, batches, limits, labels, now_ns, keeping, others)
            folded[home] = epoch, part
            known = others + len(part.operations)
        except Exception as error:  # the other services are counted all the same
            note_internal_error("counting the runs of a service", error)
            folded.setdefault(home, (epoch, part))
    return folded


def _first_start(batches: Iterable[tuple[str, list[EndedRun]]], now_ns: int) -> int:
    starts = (run._start for _, runs in batches for run in runs)
    return min((start for start in starts if start), default=now_ns)


def _fold_service(
    service: str,
    part: ServicePart,
    batches: Iterable[tuple[str, list[EndedRun]]],
    limits: Limits,
    labels: Labels,
    now_ns: int,
    keeping: Keeping,
    others: int,
) -> ServicePart:
    operations = dict(part.operations)
    errors = GroupDrafts(part.groups, limits.error_groups, limits.trace_ids, keeping.of)
    ended = overflowed = 0
    for name, runs in batches:
        home = place_operation(service, operations, name, limits, others)
        before = operations.get(home)
        if before is None:
            before = operations[home] = Operation(limits.bounds, Sketch())
        try:
            unusual = [run for run in runs if not run._simple]
            failed = _failed(unusual) if unusual else []
            after = with_runs(before, runs, unusual, failed, labels(service, name), keeping.of)
            errors.add(failed, home)
        except Exception as error:  # the other operations are counted all the same
            note_internal_error("counting the runs of an operation", error)
            continue
        operations[home] = after
        counted = after.count - before.count
        ended += counted
        if home != name:
            overflowed += counted
    return dataclasses.replace(
        part,
        operations=operations,
        groups=errors.groups(),
        groups_overflowed=part.groups_overflowed + errors.overflowed,
        overflowed=part.overflowed + overflowed,
        ended=_with_ended(part.ended, now_ns // 1_000_000_000, ended),
    )


def _with_ended(ended: Mapping[int, int], second: int, count: int) -> Mapping[int, int]:
    if not count:
        return ended
    oldest = second - RATE_SECONDS
    kept = {past: number for past, number in ended.items() if past > oldest}
    kept[second] = kept.get(second, 0) + count
    return kept


def _is_plain(run: EndedRun) -> bool:
    return not run._outcome and run._status_code is _UNSET


def _failed(unusual: Iterable[EndedRun]) -> list[tuple[EndedRun, GroupKey]]:
    return [(run, group_of(run)) for run in unusual if outcome_of(run) == outcome.ERROR]


def with_runs(
    before: Operation,
    runs: list[EndedRun],
    unusual: Sequence[EndedRun],
    failed: Sequence[tuple[EndedRun, GroupKey]] = (),
    label_names: tuple[str, ...] = (),
    keep: Callable[[EndedRun], EndedRun] = lambda run: run,
) -> Operation:
    """Return an operation with a batch of its runs in it.

    Args:
        before: what is known of it.
        runs: in the order of their ends, at least one.
        unusual: those of them that are not simple.
        failed: those of them that failed, with the groups of their errors.
        label_names: the labels that it declares.
        keep: returns what is kept of a run.
    """
    # Mostly there is none: then there is nothing to look through.
    plain = [r for r in runs if r._simple or _is_plain(r)] if unusual else runs
    abandoned = cancelled = 0
    if len(plain) != len(runs):
        outcomes = [outcome_of(run) for run in runs]
        abandoned = outcomes.count(outcome.ABANDONED)
        cancelled = outcomes.count(outcome.CANCELLED)
        fine = (outcome.OK, outcome.CANCELLED)
        plain = [run for run, how in zip(runs, outcomes, strict=True) if how in fine]
        if abandoned:
            runs = [r for r, how in zip(runs, outcomes, strict=True) if how != outcome.ABANDONED]
            if not runs:
                return dataclasses.replace(before, abandoned=before.abandoned + abandoned)
    names = before.label_names or label_names
    batches, overflow = batches_of(before, plain, failed, names)
    return _with_batches(
        before,
        runs,
        batches,
        errors=len(failed),
        cancelled=cancelled,
        abandoned=abandoned,
        label_names=names,
        label_overflow=overflow,
        last_failed=keep(failed[-1][0]) if failed else before.last_failed,
        keep=keep,
    )


def _with_batches(
    before: Operation,
    runs: Sequence[EndedRun],
    batches: Mapping[SeriesKey, list[EndedRun]],
    *,
    errors: int,
    cancelled: int,
    abandoned: int,
    label_names: tuple[str, ...],
    label_overflow: int,
    last_failed: EndedRun | None,
    keep: Callable[[EndedRun], EndedRun],
) -> Operation:
    bounds = before.bounds
    sketch = before.sketch.copy()
    series = dict(before.series)
    total, sampled = before.total, before.next_sampling
    shortest, longest = before.minimum, before.maximum
    of_batch = 0
    for key, batch in batches.items():
        if not batch:
            continue
        durations = [run._end - run._start for run in batch]
        if len(batch) == 1:
            sketch.add(durations[0])
        else:
            durations.sort()
            sketch.add_sorted(durations)
        last = batch[-1]._end
        is_due = last >= before.next_sampling
        if is_due and last + _SAMPLE_AGE_NS > sampled:
            sampled = last + _SAMPLE_AGE_NS
        known = series.get(key)
        if known is None:
            known = empty(len(bounds.buckets_ns) + 1, with_sketch=bounds.series_sketches)
        series[key] = made = with_runs_in(
            known, batch, durations, bounds.buckets_ns, samples_are_old=is_due, keep=keep
        )
        total += made.total - known.total
        if shortest is None or durations[0] < shortest:
            shortest = durations[0]
        of_batch = max(of_batch, durations[-1])
    made_now = _OperationDraft()
    made_now.bounds = bounds
    made_now.sketch = sketch
    made_now.count = before.count + len(runs)
    made_now.total = total
    made_now.minimum = shortest
    made_now.maximum = of_batch if longest is None or of_batch > longest else longest
    made_now.exact_extremes = before.exact_extremes
    made_now.errors = before.errors + errors
    made_now.cancelled = before.cancelled + cancelled
    made_now.abandoned = before.abandoned + abandoned
    made_now.series = series
    made_now.label_names = label_names
    made_now.label_overflow = before.label_overflow + label_overflow
    room = bounds.recent_runs
    made_now.recent = (*before.recent, *map(keep, runs[-room:]))[-room:]
    made_now.slowest = _with_slowest(before.slowest, runs, of_batch, bounds.slow_samples, keep)
    made_now.last_failed = last_failed
    made_now.next_sampling = sampled
    made_now.__class__ = Operation
    frozen: Operation = made_now
    return frozen


def _with_slowest(
    slowest: tuple[EndedRun, ...],
    runs: Sequence[EndedRun],
    longest: int,
    room: int,
    keep: Callable[[EndedRun], EndedRun],
) -> tuple[EndedRun, ...]:
    if not room:
        return ()
    limit = duration_of(slowest[-1]) if len(slowest) >= room else -1
    if longest <= limit:
        return slowest
    slower = [run for run in runs if run._end - run._start > limit]
    kept = sorted((*slowest, *slower), key=duration_of, reverse=True)[:room]
    known = set(map(id, slowest))
    return tuple(run if id(run) in known else keep(run) for run in kept)
