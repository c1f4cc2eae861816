"""What the tests of this package share: the instrumentation on, with spans and metrics at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import otel_studio_instrumentation_executors as measured
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class HandClock:
    """A monotonic clock in nanoseconds, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now_ns += round(seconds * 1e9)


@dataclass
class ExecutorBench:
    """The clock of waits and runs, and what the instrumentation tells."""

    clock: HandClock = field(default_factory=HandClock)
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self.reader])

    def instrument(self) -> None:
        """Turn the instrumentation on, with this bench's providers."""
        measured.ExecutorsInstrumentor().instrument(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
        )

    def spans(self) -> list[ReadableSpan]:
        """Return the spans ended so far."""
        return list(self.exporter.get_finished_spans())

    def pool(self, name: str) -> measured.PoolStatistics:
        """Return the figures of one pool."""
        (found,) = [each for each in measured.pools() if each.name == name]
        return found

    def metric(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return the points of a metric by their attributes."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            tuple(sorted((point.attributes or {}).items())): point.value
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }


@pytest.fixture
def executors(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExecutorBench]:
    """A bench with the instrumentation on and the clock of its book in hand."""
    # Children started anew import their tasks from here.
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    bench = ExecutorBench()
    measured._after_fork()
    monkeypatch.setattr(measured._book, "monotonic_ns", bench.clock)
    bench.instrument()
    yield bench
    measured.ExecutorsInstrumentor().uninstrument()
    measured._after_fork()
    bench.meter_provider.shutdown()
    bench.tracer_provider.shutdown()
