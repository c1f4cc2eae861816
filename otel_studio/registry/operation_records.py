"""The records that the operation queries return; their field names are a contract."""

from __future__ import annotations

import dataclasses
from typing import Any

from otel_studio.base.record import Record


@dataclasses.dataclass(frozen=True, slots=True)
class OperationMetrics(Record):
    """One operation since the process began, or since its service was reset.

    Durations are milliseconds. A duration is `None` before the first run.
    """

    count: int
    total_duration_ms: float
    min_duration_ms: float | None
    max_duration_ms: float | None
    avg_duration_ms: float | None
    p50_duration_ms: float | None
    p95_duration_ms: float | None
    p99_duration_ms: float | None
    errors: int
    cancelled: int
    abandoned: int
    active: int
    last_error: str | None
    last_operation_time: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceSummary(Record):
    """One service with all its operations.

    `operations_per_second` looks back a minute, or to the start when that is shorter.
    `error_rate` is errors by count, 0 to 1, and `None` before the first run.
    """

    service_name: str
    uptime_seconds: float
    total_operations: int
    total_errors: int
    active_operations: int
    operations_per_second: float
    error_rate: float | None
    operation_metrics: dict[str, OperationMetrics]


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveCount(Record):
    """How many operations run now."""

    total: int
    by_service: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveOperation(Record):
    """One operation that runs now.

    `stack` is the current stack of the thread or task, outermost call first; empty when
    it cannot be told which code runs it.
    """

    service: str
    operation: str
    age_seconds: float
    start_time: str | None
    thread: str | None
    task: str | None
    trace_id: str
    span_id: str
    stack: list[str]


@dataclasses.dataclass(frozen=True, slots=True)
class TimeShare(Record):
    """A part of a run's time: a child operation, or the run's own code (`operation` "self")."""

    service: str
    operation: str
    duration_ms: float
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Run(Record):
    """One run that ended.

    `time_split` says where the time went; children that overlap (tasks, threads) may
    add up to more than the run. `log_records` are the run's last ones, where logs are joined.
    """

    service: str
    operation: str
    start_time: str | None
    duration_ms: float
    outcome: str
    error: str | None
    trace_id: str
    span_id: str
    attributes: dict[str, Any]
    time_split: list[TimeShare]
    log_records: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class SlowOperation(Record):
    """An operation in the order of slowness, with its slowest runs."""

    service: str
    operation: str
    avg_duration_ms: float
    max_duration_ms: float
    p95_duration_ms: float
    p99_duration_ms: float
    total_duration_ms: float
    count: int
    samples: list[Run]


@dataclasses.dataclass(frozen=True, slots=True)
class LatencyBucket(Record):
    """One bucket of an operation's durations, with the latest run that fell into it.

    `up_to_ms` is the bucket's upper bound, `None` for the last one.
    """

    up_to_ms: float | None
    count: int
    sample: Run | None


@dataclasses.dataclass(frozen=True, slots=True)
class OperationErrors(Record):
    """The failures of one operation."""

    operation: str
    errors: int
    total: int
    last_error: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorGroupRecord(Record):
    """One exception type at one place in the code."""

    error_type: str
    place: str
    message: str | None
    count: int
    first_seen: str | None
    last_seen: str | None
    operations: dict[str, int]
    sample_stack: str | None
    trace_ids: list[str]
    log_records: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceErrors(Record):
    """The failures of one service."""

    total_errors: int
    total_operations: int
    error_rate: float | None
    operations_with_errors: list[OperationErrors]
    groups: list[ErrorGroupRecord]


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorStatistics(Record):
    """The failures of the whole process."""

    total_errors: int
    total_operations: int
    overall_error_rate: float | None
    by_service: dict[str, ServiceErrors]
