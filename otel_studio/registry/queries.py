"""The operation queries: pure functions of a reading of the registry."""

from __future__ import annotations

import heapq
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from opentelemetry.trace import format_span_id, format_trace_id

from otel_studio.base import outcome
from otel_studio.base.failure import safe_text
from otel_studio.base.record import iso_time
from otel_studio.base.text import safe_line
from otel_studio.registry.errors import ErrorGroup
from otel_studio.registry.failures import describe_failure, error_text
from otel_studio.registry.kept import Kept
from otel_studio.registry.operation import Operation
from otel_studio.registry.operation_records import (
    ActiveCount,
    ActiveOperation,
    ErrorGroupRecord,
    ErrorStatistics,
    LatencyBucket,
    OperationErrors,
    OperationMetrics,
    Run,
    ServiceErrors,
    ServiceSummary,
    SlowOperation,
    TimeShare,
)
from otel_studio.registry.reading import RegistryReading, ServicePart
from otel_studio.registry.registry import ServiceNotFound
from otel_studio.registry.stacks import current_stack
from otel_studio.spans.active import ThreadMark
from otel_studio.spans.ended_run import EndedRun, duration_of, outcome_of

_MS = 1e6
#: What a run that is kept ends with; one that is abandoned is counted only.
_RUN_OUTCOMES = ("ok", "error", "cancelled")
_ORDERS: dict[str, Callable[[OperationMetrics], float | None]] = {
    "avg": lambda row: row.avg_duration_ms,
    "max": lambda row: row.max_duration_ms,
    "p95": lambda row: row.p95_duration_ms,
    "p99": lambda row: row.p99_duration_ms,
    "total": lambda row: row.total_duration_ms,
}


def summaries(reading: RegistryReading, service_name: str | None = None) -> list[ServiceSummary]:
    """Return the services with their operations, by name.

    Args:
        reading: of the registry.
        service_name: only this service.
    """
    active: dict[str, dict[str, int]] = {}
    for (service, operation), count in reading.active().items():
        active.setdefault(service, {})[operation] = count
    now = reading.taken_ns
    found = []
    for name in sorted({*reading.services, *active}):
        if service_name is None or name == service_name:
            known = reading.services.get(name)
            part = ServicePart(now, 0) if known is None else known.whole()
            found.append(_summary(name, part, active.get(name, {}), now))
    return found


def _summary(name: str, part: ServicePart, active: Mapping[str, int], now: int) -> ServiceSummary:
    operations = {
        operation: operation_metrics(known, active.get(operation, 0))
        for operation, known in part.operations.items()
    }
    for operation, count in active.items():
        if operation not in operations:
            operations[operation] = _not_ended_yet(count)
    count, errors = part.count, part.errors
    return ServiceSummary(
        service_name=name,
        uptime_seconds=(now - part.began_ns) / 1e9,
        total_operations=count,
        total_errors=errors,
        active_operations=sum(active.values()),
        operations_per_second=part.per_second(now),
        error_rate=errors / count if count else None,
        operation_metrics=operations,
    )


def _not_ended_yet(active: int) -> OperationMetrics:
    nothing = (None, None, None, None, None, None)
    return OperationMetrics(0, 0.0, *nothing, 0, 0, 0, active, None, None)


def operation_metrics(operation: Operation, active: int = 0) -> OperationMetrics:
    """Return the record of one operation.

    Args:
        operation: what is known of it.
        active: its runs that go on.
    """
    count, total = operation.count, operation.total
    minimum, maximum = operation.minimum, operation.maximum
    p50, p95, p99 = operation.sketch.quantiles((0.5, 0.95, 0.99))
    recent = operation.recent
    failed = operation.last_failed
    # By position: it is made for every operation of every query.
    return OperationMetrics(
        count,
        total / _MS,
        _ms(minimum),
        _ms(maximum),
        total / count / _MS if count else None,
        _ms(_within(p50, minimum, maximum)),
        _ms(_within(p95, minimum, maximum)),
        _ms(_within(p99, minimum, maximum)),
        operation.errors,
        operation.cancelled,
        operation.abandoned,
        active,
        None if failed is None else error_text(failed),
        iso_time(recent[-1].end_time) if recent else None,
    )


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _MS


def _within(value: float | None, minimum: int | None, maximum: int | None) -> float | None:
    """Keep a percentile, which is a bucket's middle, between the exact extremes."""
    if value is None or minimum is None or maximum is None:
        return value
    return min(max(value, minimum), maximum)


def active_count(reading: RegistryReading) -> ActiveCount:
    """Return how many operations run at the moment of a reading."""
    by_service: dict[str, int] = {}
    for (service, _), count in reading.active().items():
        by_service[service] = by_service.get(service, 0) + count
    return ActiveCount(sum(by_service.values()), dict(sorted(by_service.items())))


def active_operations(running: Iterable[EndedRun], now_ns: int) -> list[ActiveOperation]:
    """Return the runs that go on, with their current stacks.

    Args:
        running: in the order in which they are returned.
        now_ns: the monotonic clock, in nanoseconds.
    """
    frames = sys._current_frames()
    threads = {thread.ident: safe_line(str(thread.name)) for thread in threading.enumerate()}
    found = []
    for run in running:
        reference = getattr(run, "_task", None)
        task = None if reference is None else reference()
        mark = run._thread
        ident = mark.living_ident if isinstance(mark, ThreadMark) else None
        # The task is gone with what ran in it: what its thread does now is something else.
        frame = frames.get(ident) if ident is not None and reference is None else None
        found.append(
            ActiveOperation(
                service=run._tracer.name,
                operation=run._name,
                age_seconds=max(now_ns - run._start, 0) / 1e9,
                start_time=iso_time(run.start_time),
                thread=threads.get(ident),
                task=None if task is None else safe_line(str(task.get_name())),
                trace_id=format_trace_id(run._trace_id),
                span_id=format_span_id(run._span_id),
                stack=current_stack(frame, task),
            )
        )
    return found


def recent(
    reading: RegistryReading,
    service: str | None = None,
    operation: str | None = None,
    outcome: str | None = None,
    limit: int = 100,
) -> list[Run]:
    """Return the last runs, newest first.

    Raises:
        ValueError: for an outcome that is none, or a limit below 1.
    """
    if outcome is not None and outcome not in _RUN_OUTCOMES:
        raise ValueError(
            f"outcome is {outcome!r}: give one of ok, error, cancelled, or leave it out"
        )
    _check_limit(limit)
    return [run_of(run) for run in _latest(_recents(reading, service, operation, outcome), limit)]


def _recents(
    reading: RegistryReading, service: str | None, operation: str | None, outcome: str | None
) -> Iterator[tuple[Kept, ...]]:
    """Yield each operation's last runs, oldest first."""
    for name, known in reading.services.items():
        if service is not None and name != service:
            continue
        for part in known.parts.values():
            for called, one in part.operations.items():
                if operation is not None and called != operation:
                    continue
                runs = one.recent
                if outcome is not None:
                    runs = tuple(run for run in runs if _outcome_name(run) == outcome)
                if runs:
                    yield runs


def _latest(recents: Iterable[tuple[Kept, ...]], limit: int) -> list[Kept]:
    """Return the latest of many runs, newest first, looking at no more of each than is needed."""
    # Of those that ended at the same instant, the one folded last comes first.
    heads = [(-runs[-1]._end, -place, len(runs) - 1, runs) for place, runs in enumerate(recents)]
    heapq.heapify(heads)
    found: list[Kept] = []
    while heads and len(found) < limit:
        _, place, index, runs = heads[0]
        found.append(runs[index])
        if index:
            heapq.heapreplace(heads, (-runs[index - 1]._end, place, index - 1, runs))
        else:
            heapq.heappop(heads)
    return found


def error_statistics(reading: RegistryReading) -> ErrorStatistics:
    """Return failures by service, with their groups."""
    by_service: dict[str, ServiceErrors] = {}
    for name, part in reading.wholes():
        total, errors = part.count, part.errors
        groups = sorted(part.groups.items(), key=lambda row: row[1].count, reverse=True)
        by_service[name] = ServiceErrors(
            total_errors=errors,
            total_operations=total,
            error_rate=errors / total if total else None,
            operations_with_errors=[
                OperationErrors(
                    operation=called,
                    errors=operation.errors,
                    total=operation.count,
                    last_error=error_text(operation.last_failed),
                )
                for called, operation in part.operations.items()
                if operation.errors
            ],
            groups=[_group(*key, group) for key, group in groups],
        )
    errors = sum(service.total_errors for service in by_service.values())
    total = sum(service.total_operations for service in by_service.values())
    return ErrorStatistics(errors, total, errors / total if total else None, by_service)


def _group(error_type: str, place: str, group: ErrorGroup) -> ErrorGroupRecord:
    latest = group.latest
    told = group.told
    return ErrorGroupRecord(
        error_type=error_type,
        place=place,
        message=None if latest is None else describe_failure(latest).message,
        count=group.count,
        first_seen=iso_time(group.first_seen),
        last_seen=iso_time(group.last_seen),
        operations=dict(group.operations),
        sample_stack=None if told is None else describe_failure(told).stack(),
        trace_ids=[format_trace_id(trace_id) for _, trace_id in group.trace_ids],
        log_records=[] if told is None else [r.to_dict() for r in told._records or ()],
    )


def slow_operations(
    reading: RegistryReading, limit: int = 10, by: str = "avg"
) -> list[SlowOperation]:
    """Return the slowest operations with their slowest runs.

    Raises:
        ValueError: for an order that is none, or a limit below 1.
    """
    order = _ORDERS.get(by)
    if order is None:
        raise ValueError(f"by is {by!r}: give one of {', '.join(_ORDERS)}")
    _check_limit(limit)
    rows = [
        (service, called, operation, operation_metrics(operation))
        for service, part in reading.wholes()
        for called, operation in part.operations.items()
        if operation.count
    ]
    slowest = heapq.nlargest(limit, rows, key=lambda row: order(row[3]) or 0.0)
    return [
        SlowOperation(
            service=service,
            operation=called,
            avg_duration_ms=metrics.avg_duration_ms or 0.0,
            max_duration_ms=metrics.max_duration_ms or 0.0,
            p95_duration_ms=metrics.p95_duration_ms or 0.0,
            p99_duration_ms=metrics.p99_duration_ms or 0.0,
            total_duration_ms=metrics.total_duration_ms,
            count=metrics.count,
            samples=[run_of(run) for run in operation.slowest],
        )
        for service, called, operation, metrics in slowest
    ]


def latency_buckets(
    reading: RegistryReading, service: str, operation: str, bounds_ns: tuple[int, ...] = ()
) -> list[LatencyBucket]:
    """Return an operation's histogram with the latest run of each bucket, failures included.

    Args:
        reading: of the registry.
        service: the operation's.
        operation: its name.
        bounds_ns: the bounds of one of which no run has ended yet, in nanoseconds.

    Raises:
        ServiceNotFound: if the service or the operation is unknown.
    """
    known = reading.services.get(service)
    found = None if known is None else known.whole().operations.get(operation)
    if found is None:
        if (service, operation) not in reading.active():
            raise ServiceNotFound(f"no operation {operation!r} has run in a service {service!r}")
        # It runs for the first time: no run has ended yet.
        return [LatencyBucket(_ms(bound), 0, None) for bound in (*bounds_ns, None)]
    bounds: list[int | None] = [*found.bounds.buckets_ns, None]
    buckets = []
    for index, bound in enumerate(bounds):
        runs = [s.exemplars[index] for s in found.series.values()]
        latest = max((run for run in runs if run is not None), key=lambda r: r._end, default=None)
        buckets.append(
            LatencyBucket(
                up_to_ms=_ms(bound),
                count=sum(s.buckets[index] for s in found.series.values()),
                sample=None if latest is None else run_of(latest),
            )
        )
    return buckets


def run_of(run: EndedRun) -> Run:
    """Return the record of an ended run."""
    how = outcome_of(run)
    duration = duration_of(run)
    return Run(
        service=run._tracer.name,
        operation=run._name,
        start_time=iso_time(run.start_time),
        duration_ms=duration / _MS,
        outcome=outcome.NAMES[how],
        error=error_text(run) if how == outcome.ERROR else None,
        trace_id=format_trace_id(run._trace_id),
        span_id=format_span_id(run._span_id),
        attributes={key: _shown(value) for key, value in (run._attributes or {}).items()},
        time_split=_time_split(run, duration),
        log_records=[record.to_dict() for record in run._records or ()],
    )


def _shown(value: Any) -> Any:
    """Return an attribute's value as JSON takes it: bytes as text."""
    if isinstance(value, bytes):
        return safe_text(value)
    if isinstance(value, list | tuple) and any(isinstance(one, bytes) for one in value):
        return tuple(_shown(one) for one in value)
    return value


def _outcome_name(run: EndedRun) -> str:
    return outcome.NAMES[outcome_of(run)]


def _time_split(run: EndedRun, duration: int) -> list[TimeShare]:
    children = run._children or {}
    if not children:
        return []
    shares = [
        TimeShare(service, operation, spent / _MS, count)
        for (service, operation), (spent, count) in children.items()
    ]
    own = duration - sum(spent for spent, _ in children.values())
    if own > 0:
        shares.append(TimeShare(run._tracer.name, "self", own / _MS, 1))
    return sorted(shares, key=lambda share: share.duration_ms, reverse=True)


def _check_limit(limit: int) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"limit is {limit!r}: give a whole number of at least 1")
