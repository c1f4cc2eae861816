"""The operation queries, on one registry; `otel_studio.api` offers them on the current one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import format_span_id, format_trace_id

from otel_studio.failure import safe_text
from otel_studio.record import iso_time
from otel_studio.registry.errors import ErrorGroup, describe_failure
from otel_studio.registry.records import (
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
from otel_studio.registry.registry import Registry, ServiceStatistics
from otel_studio.registry.stacks import current_stack
from otel_studio.registry.statistics import OperationStatistics, duration_of, outcome_of
from otel_studio.tracing.span import (
    OUTCOME_ABANDONED,
    OUTCOME_CANCELLED,
    OUTCOME_ERROR,
    OUTCOME_OK,
)

_MS = 1e6
OUTCOME_NAMES = {
    OUTCOME_OK: "ok",
    OUTCOME_ERROR: "error",
    OUTCOME_CANCELLED: "cancelled",
    OUTCOME_ABANDONED: "abandoned",
}
#: What a run that is kept ends with; one that is abandoned is counted only.
_RUN_OUTCOMES = ("ok", "error", "cancelled")
_ORDERS: dict[str, Callable[[SlowOperation], float]] = {
    "avg": lambda row: row.avg_duration_ms,
    "max": lambda row: row.max_duration_ms,
    "p95": lambda row: row.p95_duration_ms,
    "p99": lambda row: row.p99_duration_ms,
    "total": lambda row: row.total_duration_ms,
}


class ServiceNotFound(LookupError):
    """A service that has neither been declared nor run anything."""


def summaries(registry: Registry, service_name: str | None = None) -> list[ServiceSummary]:
    """Return the services with their operations, by name."""
    active = registry.active_counts()
    with registry.reading() as services:
        now = registry.now()
        return [
            _summary(services[name], active, now)
            for name in sorted(services)
            if service_name is None or name == service_name
        ]


def _summary(
    service: ServiceStatistics, active: dict[tuple[str, str], int], now: int
) -> ServiceSummary:
    operations = {
        name: _metrics(operation, active.get((service.name, name), 0))
        for name, operation in list(service.operations.items())
    }
    count = sum(metrics.count for metrics in operations.values())
    errors = sum(metrics.errors for metrics in operations.values())
    return ServiceSummary(
        service_name=service.name,
        uptime_seconds=(now - service.began) / 1e9,
        total_operations=count,
        total_errors=errors,
        active_operations=sum(n for key, n in active.items() if key[0] == service.name),
        operations_per_second=service.rate.per_second(now),
        error_rate=errors / count if count else None,
        operation_metrics=operations,
    )


def _metrics(operation: OperationStatistics, active: int) -> OperationMetrics:
    count, total = operation.count, operation.total
    minimum, maximum = operation.minimum, operation.maximum
    p50, p95, p99 = operation.sketch.quantiles((0.5, 0.95, 0.99))
    last = operation.recent[-1] if operation.recent else None
    return OperationMetrics(
        count=count,
        total_duration_ms=total / _MS,
        min_duration_ms=_ms(minimum),
        max_duration_ms=_ms(maximum),
        avg_duration_ms=total / count / _MS if count else None,
        p50_duration_ms=_ms(_within(p50, minimum, maximum)),
        p95_duration_ms=_ms(_within(p95, minimum, maximum)),
        p99_duration_ms=_ms(_within(p99, minimum, maximum)),
        errors=operation.errors,
        cancelled=operation.cancelled,
        abandoned=operation.abandoned,
        active=active,
        last_error=error_text(operation.last_failed, operation.name),
        last_operation_time=iso_time(last.end_time) if last is not None else None,
    )


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _MS


def _within(value: float | None, minimum: int | None, maximum: int | None) -> float | None:
    """Keep a percentile, which is a bucket's middle, between the exact extremes."""
    if value is None or minimum is None or maximum is None:
        return value
    return min(max(value, minimum), maximum)


def reset(registry: Registry, service_name: str) -> None:
    """Clear a service's statistics; what runs now is counted when it ends.

    Raises:
        ServiceNotFound: if the name is unknown.
    """
    with registry.reading() as services:
        service = services.get(service_name)
        if service is None:
            known = ", ".join(sorted(services)) or "none yet"
            raise ServiceNotFound(f"no service is called {service_name!r}: known are {known}")
        service.clear()


def active_count(registry: Registry) -> ActiveCount:
    """Return how many operations run now."""
    by_service: dict[str, int] = {}
    for (service, _), count in registry.active_counts().items():
        by_service[service] = by_service.get(service, 0) + count
    return ActiveCount(sum(by_service.values()), dict(sorted(by_service.items())))


def active_operations(registry: Registry) -> list[ActiveOperation]:
    """Return every operation that runs now with its current stack, longest running first."""
    spans = registry.active_spans()
    now = registry.now()
    frames = sys._current_frames()
    threads = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    for span in spans:
        task = span._task
        found.append(
            ActiveOperation(
                service=span._tracer.name,
                operation=span._name,
                age_seconds=max(now - span._start, 0) / 1e9,
                start_time=iso_time(span.start_time),
                thread=threads.get(span._thread),
                task=None if task is None else task.get_name(),
                trace_id=format_trace_id(span._trace_id),
                span_id=format_span_id(span._span_id),
                stack=current_stack(frames.get(span._thread), task),
            )
        )
    return found


def recent(
    registry: Registry,
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
    with registry.reading() as services:
        spans = [
            (span, statistics.name)
            for name, statistics_of in list(services.items())
            if service is None or name == service
            for statistics in list(statistics_of.operations.values())
            if operation is None or statistics.name == operation
            for span in statistics.recent
        ]
        if outcome is not None:
            spans = [pair for pair in spans if OUTCOME_NAMES[outcome_of(pair[0])] == outcome]
        spans.reverse()  # of those that ended at the same instant, the one folded last comes first
        spans.sort(key=lambda pair: pair[0]._end, reverse=True)
        return [run_of(span) for span, _ in spans[:limit]]


def error_statistics(registry: Registry) -> ErrorStatistics:
    """Return failures by service, with their groups."""
    by_service: dict[str, ServiceErrors] = {}
    with registry.reading() as services:
        for name in sorted(services):
            service = services[name]
            operations = list(service.operations.values())
            total = sum(operation.count for operation in operations)
            errors = sum(operation.errors for operation in operations)
            groups = sorted(service.errors.groups.values(), key=lambda g: g.count, reverse=True)
            by_service[name] = ServiceErrors(
                total_errors=errors,
                total_operations=total,
                error_rate=errors / total if total else None,
                operations_with_errors=[
                    OperationErrors(
                        operation=operation.name,
                        errors=operation.errors,
                        total=operation.count,
                        last_error=error_text(operation.last_failed, operation.name),
                    )
                    for operation in operations
                    if operation.errors
                ],
                groups=[_group(group) for group in groups],
            )
    errors = sum(service.total_errors for service in by_service.values())
    total = sum(service.total_operations for service in by_service.values())
    return ErrorStatistics(errors, total, errors / total if total else None, by_service)


def _group(group: ErrorGroup) -> ErrorGroupRecord:
    return ErrorGroupRecord(
        error_type=group.error_type,
        place=group.place,
        message=group.message,
        count=group.count,
        first_seen=iso_time(group.first_seen),
        last_seen=iso_time(group.last_seen),
        operations=dict(group.operations),
        sample_stack=group.stack(),
        trace_ids=[format_trace_id(trace_id) for trace_id in group.trace_ids],
        log_records=list(group.records or ()),
    )


def slow_operations(registry: Registry, limit: int = 10, by: str = "avg") -> list[SlowOperation]:
    """Return the slowest operations with their slowest runs.

    Raises:
        ValueError: for an order that is none, or a limit below 1.
    """
    order = _ORDERS.get(by)
    if order is None:
        raise ValueError(f"by is {by!r}: give one of {', '.join(_ORDERS)}")
    _check_limit(limit)
    with registry.reading() as services:
        rows = []
        for service in list(services.values()):
            for operation in list(service.operations.values()):
                metrics = _metrics(operation, 0)
                if not metrics.count:
                    continue
                rows.append(
                    SlowOperation(
                        service=service.name,
                        operation=operation.name,
                        avg_duration_ms=metrics.avg_duration_ms or 0.0,
                        max_duration_ms=metrics.max_duration_ms or 0.0,
                        p95_duration_ms=metrics.p95_duration_ms or 0.0,
                        p99_duration_ms=metrics.p99_duration_ms or 0.0,
                        total_duration_ms=metrics.total_duration_ms,
                        count=metrics.count,
                        samples=[],
                    )
                )
        rows.sort(key=order, reverse=True)
        return [
            SlowOperation(
                **{
                    **{f: getattr(row, f) for f in row.__dataclass_fields__},
                    "samples": [
                        run_of(span)
                        for span in services[row.service].operations[row.operation].slowest
                    ],
                }
            )
            for row in rows[:limit]
        ]


def latency_buckets(registry: Registry, service: str, operation: str) -> list[LatencyBucket]:
    """Return an operation's histogram with the latest run of each bucket, failures included.

    Raises:
        ServiceNotFound: if the service or the operation is unknown.
    """
    with registry.reading() as services:
        found = services.get(service)
        statistics = found.operations.get(operation) if found else None
        if statistics is None:
            raise ServiceNotFound(f"no operation {operation!r} has run in a service {service!r}")
        bounds: list[int | None] = [*registry.limits.bounds.buckets_ns, None]
        buckets = []
        for index, bound in enumerate(bounds):
            samples = [s.exemplars[index] for s in statistics.series.values()]
            latest = max((s for s in samples if s is not None), key=lambda s: s._end, default=None)
            buckets.append(
                LatencyBucket(
                    up_to_ms=_ms(bound),
                    count=sum(s.buckets[index] for s in statistics.series.values()),
                    sample=None if latest is None else run_of(latest),
                )
            )
        return buckets


def run_of(span: Any) -> Run:
    """Return the record of an ended span."""
    outcome = outcome_of(span)
    duration = duration_of(span)
    return Run(
        service=span._tracer.name,
        operation=span._name,
        start_time=iso_time(span.start_time),
        duration_ms=duration / _MS,
        outcome=OUTCOME_NAMES[outcome],
        error=error_text(span, span._name) if outcome == OUTCOME_ERROR else None,
        trace_id=format_trace_id(span._trace_id),
        span_id=format_span_id(span._span_id),
        attributes=dict(span._attributes or {}),
        time_split=_time_split(span, duration),
        log_records=list(span._records or ()),
    )


def _time_split(span: Any, duration: int) -> list[TimeShare]:
    children: dict[tuple[str, str], list[int]] = span._children or {}
    if not children:
        return []
    shares = [
        TimeShare(service, operation, spent / _MS, count)
        for (service, operation), (spent, count) in list(children.items())
    ]
    own = duration - sum(spent for spent, _ in children.values())
    if own > 0:
        shares.append(TimeShare(span._tracer.name, "self", own / _MS, 1))
    return sorted(shares, key=lambda share: share.duration_ms, reverse=True)


def error_text(span: Any, operation: str) -> str | None:
    """Return what a failed span's error said, with its type where that is known."""
    if span is None:
        return None
    error_type, _, message, _ = describe_failure(span, operation)
    if error_type == "_OTHER":
        return message or "failed"
    return f"{error_type}: {safe_text(message)}" if message else error_type


def _check_limit(limit: int) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"limit is {limit!r}: give a whole number of at least 1")
