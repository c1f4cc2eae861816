"""Exporters of log records and metrics that count what became of what they were given.

The SDK's queues and readers ask nobody whether an export succeeded, and a `SystemExit` that one
raises ends their threads for good. (Spans have a queue of ours, which does both by itself.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult

from otel_studio.base import otel_sdk_private
from otel_studio.base.delivery import Ledger, deliver


class CountedLogExporter(LogRecordExporter):
    """Exports log records through another exporter.

    Args:
        exporter: gets every batch.
    """

    def __init__(self, exporter: Any) -> None:
        self.exporter = exporter
        self.ledger = Ledger()

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        """Export a batch."""
        is_sent = _export(self.exporter, self.ledger, batch, len(batch))
        return LogRecordExportResult.SUCCESS if is_sent else LogRecordExportResult.FAILURE

    def force_flush(self, *args: Any, **options: Any) -> Any:
        """As the exporter does."""
        flush = getattr(self.exporter, "force_flush", None)
        return True if flush is None else flush(*args, **options)

    def shutdown(self, *args: Any, **options: Any) -> None:
        """As the exporter does."""
        self.exporter.shutdown(*args, **options)


class CountedMetricExporter(MetricExporter):
    """Exports metrics through another exporter.

    Args:
        exporter: gets every collection.
    """

    def __init__(self, exporter: Any) -> None:
        super().__init__(*otel_sdk_private.metric_preferences(exporter))
        self.exporter = exporter
        self.ledger = Ledger()

    def export(
        self, metrics_data: Any, timeout_millis: float = 10_000, **options: Any
    ) -> MetricExportResult:
        """Export what was collected."""
        count = points_in(metrics_data)
        options["timeout_millis"] = timeout_millis
        is_sent = _export(self.exporter, self.ledger, metrics_data, count, options)
        return MetricExportResult.SUCCESS if is_sent else MetricExportResult.FAILURE

    def force_flush(self, *args: Any, **options: Any) -> Any:
        """As the exporter does."""
        return self.exporter.force_flush(*args, **options)

    def shutdown(self, *args: Any, **options: Any) -> None:
        """As the exporter does."""
        self.exporter.shutdown(*args, **options)


def _export(
    exporter: Any, ledger: Ledger, batch: Any, count: int, options: dict[str, Any] | None = None
) -> bool:
    ledger.in_hand = count
    try:
        delivery = deliver(exporter, batch, count, **(options or {}))
    finally:
        ledger.in_hand = 0
    ledger.enter(delivery)
    return not delivery.lost


def points_in(data: Any) -> int:
    """Return how many data points metrics data holds."""
    return sum(
        len(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )
