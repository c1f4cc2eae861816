"""OTel Studio's own metrics: what it dropped, overflowed and failed at."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import otel_studio
from otel_studio import guard
from otel_studio.testing.isolation import isolated


class Refusing(SpanExporter):
    """Takes nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close nothing."""


def test_drops_overflows_and_failures_are_metrics() -> None:
    """Each count has its reason, service or place; what is zero has no point."""
    guard.forget_said()
    reader = InMemoryMetricReader()
    with isolated(max_operations_per_service=2, metric_readers=[reader]) as s:
        queue = s.studio.add_span_exporter(Refusing())
        for name in ("a", "b", "c", "c", "d"):
            otel_studio.service("shop").record_operation(name, duration=1)
        s.tracer_provider.ended.fold()
        queue.force_flush(5_000)
        guard.report_internal_error("somewhere", RuntimeError("once"))
        data = reader.get_metrics_data()
        assert data is not None
        found = {
            (metric.name, *point.attributes.values()): point.value
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name.startswith("otel_studio.self.")
        }
    seconds = found.pop(("otel_studio.self.fold.time",))
    assert seconds > 0
    assert found == {
        ("otel_studio.self.spans.folded",): 5,
        ("otel_studio.self.spans.dropped", "export_failed"): 5,
        ("otel_studio.self.operations.overflowed", "shop"): 3,
        ("otel_studio.self.errors", "somewhere"): 1,
    }
    guard.forget_said()
