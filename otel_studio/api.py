"""The local registry API: one function per query, each returning plain frozen records.

Durations are float milliseconds, rates 0 to 1, times ISO 8601 in UTC. Every query folds what
has ended first: its answer is exact at the moment of the call. The records are importable from
here, too; those of caches, memory and GPUs are loaded when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otel_studio.base.record import Record
from otel_studio.lifecycle import NotConfigured, required
from otel_studio.queries import Queries
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
from otel_studio.registry.registry import ServiceNotFound

if TYPE_CHECKING:
    from otel_studio.caches.cache_records import (
        CacheAlert,
        CachePerformance,
        KeyAccesses,
        SizePrediction,
        SlowAccess,
    )
    from otel_studio.caches.registry import CacheNotFound
    from otel_studio.gpu.gpu_records import (
        EncodePerformance,
        EncodingSession,
        GpuMetrics,
        GpuProcessShare,
    )
    from otel_studio.logs.level_counts import LogCount
    from otel_studio.process.memory_alerts import MemoryThresholds
    from otel_studio.process.memory_records import (
        AllocationWindow,
        AllocatorMemory,
        Fragmentation,
        GcStats,
        GenerationStats,
        MemoryAlert,
        MemoryUsage,
        OperationAllocations,
        PackageMemory,
        ServiceMemory,
    )

__all__ = [
    "ActiveCount",
    "ActiveOperation",
    "AllocationWindow",
    "AllocatorMemory",
    "CacheAlert",
    "CacheNotFound",
    "CachePerformance",
    "EncodePerformance",
    "EncodingSession",
    "ErrorGroupRecord",
    "ErrorStatistics",
    "Fragmentation",
    "GcStats",
    "GenerationStats",
    "GpuMetrics",
    "GpuProcessShare",
    "KeyAccesses",
    "LatencyBucket",
    "LogCount",
    "MemoryAlert",
    "MemoryThresholds",
    "MemoryUsage",
    "NotConfigured",
    "OperationAllocations",
    "OperationErrors",
    "OperationMetrics",
    "PackageMemory",
    "Record",
    "Run",
    "ServiceErrors",
    "ServiceMemory",
    "ServiceNotFound",
    "ServiceSummary",
    "SizePrediction",
    "SlowAccess",
    "SlowOperation",
    "TimeShare",
    "export_metrics",
    "export_metrics_prometheus",
    "get_active_operations",
    "get_active_operations_count",
    "get_all_metrics",
    "get_cache_alerts",
    "get_cache_performance_metrics",
    "get_encode_performance_metrics",
    "get_error_statistics",
    "get_gpu_utilization_metrics",
    "get_latency_buckets",
    "get_log_counts",
    "get_memory_usage_metrics",
    "get_recent_operations",
    "get_service_metrics",
    "get_slow_operations",
    "reset_service_metrics",
    "set_cache_alert_thresholds",
    "set_memory_alert_thresholds",
]

_HOMES = (
    "caches.cache_records",
    "caches.registry",
    "logs.level_counts",
    "process.memory_alerts",
    "process.memory_records",
    "gpu.gpu_records",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        for home in _HOMES:
            found = getattr(import_module(f"otel_studio.{home}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module 'otel_studio.api' has no attribute {name!r}")


def _queries() -> Queries:
    return Queries(required())


def get_all_metrics() -> list[ServiceSummary]:
    """Return every service with its operations, by name.

    Raises:
        NotConfigured: before `configure()`; so do all the others.

    Example:
        >>> import otel_studio
        >>> with otel_studio.isolated():
        ...     otel_studio.service("cache-service").record_operation("get", duration=0.012)
        ...     get_all_metrics()[0].operation_metrics["get"].avg_duration_ms
        12.0
    """
    return _queries().get_all_metrics()


def get_service_metrics(service_name: str) -> ServiceSummary | None:
    """Return one service with its operations, `None` for an unknown name.

    Args:
        service_name: as `get_all_metrics` names it.
    """
    return _queries().get_service_metrics(service_name)


def export_metrics(format: str = "json") -> str:  # noqa: A002  (the name is the contract's)
    """Return all metrics as text.

    Args:
        format: `json`, `csv` (one line per operation) or `prometheus`.

    Raises:
        ValueError: for any other format.
    """
    return _queries().export_metrics(format)


def export_metrics_prometheus() -> str:
    """Return all metrics in Prometheus' text format, as `/metrics` answers it.

    Raises:
        ImportError: if the extra `prometheus` is not installed.
    """
    return _queries().export_metrics_prometheus()


def reset_service_metrics(service_name: str) -> None:
    """Clear a service's statistics; operations that run now are counted when they end.

    Args:
        service_name: as `get_all_metrics` names it.

    Raises:
        ServiceNotFound: for an unknown name.
    """
    _queries().reset_service_metrics(service_name)


def get_active_operations_count() -> ActiveCount:
    """Return how many operations run now, in all and by service."""
    return _queries().get_active_operations_count()


def get_active_operations() -> list[ActiveOperation]:
    """Return each operation that runs now, longest running first, with its current stack."""
    return _queries().get_active_operations()


def get_recent_operations(
    service: str | None = None,
    operation: str | None = None,
    outcome: str | None = None,
    limit: int = 100,
) -> list[Run]:
    """Return the last runs, newest first.

    Args:
        service: only this service's.
        operation: only this operation's.
        outcome: only `ok`, `error` or `cancelled`.
        limit: how many at most. The setting `recent_runs_per_operation` bounds what is kept.

    Raises:
        ValueError: for an outcome or a limit that is none.
    """
    return _queries().get_recent_operations(service, operation, outcome, limit)


def get_error_statistics() -> ErrorStatistics:
    """Return failures by service, with groups of one exception type at one place each."""
    return _queries().get_error_statistics()


def get_slow_operations(limit: int = 10, by: str = "avg") -> list[SlowOperation]:
    """Return the slowest operations, each with its slowest runs and where their time went.

    Args:
        limit: how many operations at most.
        by: `avg`, `max`, `p95`, `p99` or `total`.

    Raises:
        ValueError: for another order, or a limit below 1.
    """
    return _queries().get_slow_operations(limit, by)


def get_latency_buckets(service: str, operation: str) -> list[LatencyBucket]:
    """Return an operation's histogram with the latest run of every latency bucket.

    Args:
        service: the operation's service.
        operation: its name.

    Raises:
        ServiceNotFound: if the operation has not run in that service.
    """
    return _queries().get_latency_buckets(service, operation)


def get_cache_performance_metrics(cache: str | None = None) -> list[CachePerformance]:
    """Return hit rates, response times, sizes, top keys and slow accesses of each cache.

    Args:
        cache: only the caches of this name; an unknown one gives an empty list.
    """
    return _queries().get_cache_performance_metrics(cache)


def set_cache_alert_thresholds(
    thresholds: Mapping[str, float | None], cache: str | None = None
) -> None:
    """Change when cache alerts are raised.

    Args:
        thresholds: new values by name: `min_hit_rate` (0 to 1), `max_memory_usage_mb`,
            `max_response_time_ms`, `max_fragmentation` (0 to 1).
        cache: only for the caches of this name; by default for all.

    Raises:
        ValueError: for an unknown name or a value out of range.
        CacheNotFound: if no cache has the name.
    """
    _queries().set_cache_alert_thresholds(thresholds, cache)


def get_cache_alerts() -> list[CacheAlert]:
    """Return the cache alerts that are active now."""
    return _queries().get_cache_alerts()


def get_gpu_utilization_metrics() -> list[GpuMetrics]:
    """Return one record per GPU; an empty list where there is none.

    A figure that the card or the driver does not give is `None`. Why the list is empty says
    `otel_studio.configure().gpu.reason`.
    """
    return _queries().get_gpu_utilization_metrics()


def get_encode_performance_metrics() -> EncodePerformance:
    """Return how the encodes of this process do, with a GPU and without one.

    They are told by whoever runs or follows encoders, as the package for ffmpeg and PyAV does: a
    figure that nobody tells is `None`. Beside each GPU they are `performance_metrics`.
    """
    return _queries().get_encode_performance_metrics()


def get_memory_usage_metrics() -> MemoryUsage:
    """Return the memory of the process, and by service where `track_memory` was asked for."""
    return _queries().get_memory_usage_metrics()


def set_memory_alert_thresholds(thresholds: Mapping[str, float | None]) -> MemoryThresholds:
    """Change when memory alerts are raised.

    Args:
        thresholds: new values by name: `max_process_utilization`, `max_system_utilization` and
            `max_fragmentation` (0 to 1), `max_memory_mb` and `max_service_memory_mb`. `None`
            raises that alert never; what is not named stays.

    Returns:
        all thresholds as they are now.

    Raises:
        ValueError: for an unknown name or a value out of range.
    """
    return _queries().set_memory_alert_thresholds(thresholds)


def get_log_counts() -> list[LogCount]:
    """Return how many log records of each level were made in each operation.

    An empty list where logs are not joined (setting `logging`).
    """
    return _queries().get_log_counts()
