"""Every answer of one Studio, from readings: what the API, and every other face, asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from otel_studio.base.text import safe_line
from otel_studio.registry import formats, queries
from otel_studio.registry.operation_records import (
    ActiveCount,
    ActiveOperation,
    ErrorStatistics,
    LatencyBucket,
    Run,
    ServiceSummary,
    SlowOperation,
)

if TYPE_CHECKING:
    from otel_studio.assembly.studio import Studio
    from otel_studio.caches.cache_records import CacheAlert, CachePerformance
    from otel_studio.gpu.gpu_records import EncodePerformance, GpuMetrics
    from otel_studio.logs.level_counts import LogCount
    from otel_studio.process.memory_alerts import MemoryThresholds
    from otel_studio.process.memory_records import MemoryUsage


class Queries:
    """The queries of one Studio; each takes one reading of each room that it tells of.

    Names, arguments and answers are those of `otel_studio.api`, which asks the current one.

    Args:
        studio: whose rooms are read.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def __repr__(self) -> str:
        return f"Queries({self._studio!r})"

    # Operations

    def get_all_metrics(self) -> list[ServiceSummary]:
        """Return every service with its operations, by name."""
        return queries.summaries(self._studio.registry.reading())

    def get_service_metrics(self, service_name: str) -> ServiceSummary | None:
        """Return one service with its operations, `None` for an unknown name."""
        found = queries.summaries(self._studio.registry.reading(), safe_line(service_name))
        return found[0] if found else None

    def export_metrics(self, format: str = "json") -> str:  # noqa: A002  (the contract's name)
        """Return all metrics as text: `json`, `csv` or `prometheus`.

        Raises:
            ValueError: for any other format.
        """
        if format == "prometheus":
            return self.export_metrics_prometheus()
        if format == "json":
            return formats.as_json(self.get_all_metrics())
        if format == "csv":
            return formats.as_csv(self.get_all_metrics())
        raise ValueError(f"format is {format!r}: give one of json, csv, prometheus")

    def export_metrics_prometheus(self) -> str:
        """Return all metrics in Prometheus' text format.

        Raises:
            ImportError: if the extra `prometheus` is not installed.
        """
        return self._studio.prometheus_text()

    def reset_service_metrics(self, service_name: str) -> None:
        """Clear a service; what runs now is counted when it ends.

        Raises:
            ServiceNotFound: for an unknown name.
        """
        self._studio.registry.reset(safe_line(service_name))

    def get_active_operations_count(self) -> ActiveCount:
        """Return how many operations run now, in all and by service."""
        return queries.active_count(self._studio.registry.reading())

    def get_active_operations(self) -> list[ActiveOperation]:
        """Return each operation that runs now, longest running first, with its stack."""
        studio = self._studio
        return queries.active_operations(studio.registry.running(), studio.clock.monotonic_ns())

    def get_recent_operations(
        self,
        service: str | None = None,
        operation: str | None = None,
        outcome: str | None = None,
        limit: int = 100,
    ) -> list[Run]:
        """Return the last runs, newest first.

        Raises:
            ValueError: for an outcome or a limit that is none.
        """
        reading = self._studio.registry.reading()
        return queries.recent(reading, _named(service), _named(operation), outcome, limit)

    def get_error_statistics(self) -> ErrorStatistics:
        """Return failures by service, with their groups."""
        return queries.error_statistics(self._studio.registry.reading())

    def get_slow_operations(self, limit: int = 10, by: str = "avg") -> list[SlowOperation]:
        """Return the slowest operations, each with its slowest runs.

        Raises:
            ValueError: for another order, or a limit below 1.
        """
        return queries.slow_operations(self._studio.registry.reading(), limit, by)

    def get_latency_buckets(self, service: str, operation: str) -> list[LatencyBucket]:
        """Return an operation's histogram with the latest run of every latency bucket.

        Raises:
            ServiceNotFound: if the operation has not run in that service.
        """
        registry = self._studio.registry
        bounds = registry.limits.bounds.buckets_ns
        named = safe_line(service), safe_line(operation)
        return queries.latency_buckets(registry.reading(), *named, bounds)

    # Caches

    def get_cache_performance_metrics(self, cache: str | None = None) -> list[CachePerformance]:
        """Return what is known of each cache, or of those of one name."""
        return self._studio.caches.get_cache_performance_metrics(_named(cache))

    def set_cache_alert_thresholds(
        self, thresholds: Mapping[str, float | None], cache: str | None = None
    ) -> None:
        """Change when cache alerts are raised.

        Raises:
            ValueError: for an unknown name or a value out of range.
            CacheNotFound: if no cache has the name.
        """
        self._studio.caches.set_cache_alert_thresholds(thresholds, _named(cache))

    def get_cache_alerts(self) -> list[CacheAlert]:
        """Return the cache alerts that are active now."""
        return self._studio.caches.get_cache_alerts()

    # The process and its machine

    def get_gpu_utilization_metrics(self) -> list[GpuMetrics]:
        """Return one record per GPU; an empty list where there is none."""
        return self._studio.gpu.utilization_metrics()

    def get_encode_performance_metrics(self) -> EncodePerformance:
        """Return how the encodes of this process do, with a GPU and without one."""
        return self._studio.gpu.encode_performance()

    def get_memory_usage_metrics(self) -> MemoryUsage:
        """Return the memory of the process, and by service where it is tracked."""
        return self._studio.process.memory_usage_metrics()

    def set_memory_alert_thresholds(
        self, thresholds: Mapping[str, float | None]
    ) -> MemoryThresholds:
        """Change when memory alerts are raised.

        Raises:
            ValueError: for an unknown name or a value out of range.
        """
        return self._studio.process.set_memory_alert_thresholds(thresholds)

    # Logs

    def get_log_counts(self) -> list[LogCount]:
        """Return how many log records of each level were made in each operation."""
        return self._studio.log_counts()


def _named(name: str | None) -> str | None:
    """Return the name that something is kept under, which was made safe where it came in."""
    return None if name is None else safe_line(name)
