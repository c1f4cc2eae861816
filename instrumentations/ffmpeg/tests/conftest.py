"""What the tests of this package share: ffmpeg followed, with its spans and metrics at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import otel_studio_instrumentation_ffmpeg as followed
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from parts import need

LAVFI = ["-f", "lavfi", "-i"]


@dataclass
class FFmpegBench:
    """The program, a folder, and what the instrumentation tells."""

    program: str
    folder: Path
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self.reader])

    def instrument(self) -> None:
        """Turn the instrumentation on, with this bench's providers."""
        followed.FFmpegInstrumentor().instrument(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
        )

    def spans(self) -> list[ReadableSpan]:
        """Return the spans ended so far."""
        return list(self.exporter.get_finished_spans())

    def encode(
        self, name: str, *, frames: int = 50, options: tuple[str, ...] = (), codec: str = "libx264"
    ) -> list[str]:
        """Return a command line that encodes so many frames of a test picture."""
        source = f"testsrc=size=160x120:rate=25:duration={frames / 25}"
        output = str(self.folder / name)
        fast = ["-preset", "ultrafast"] if codec == "libx264" else []
        return [self.program, "-y", *options, *LAVFI, source, "-c:v", codec, *fast, output]

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
def ffmpeg(tmp_path: Path) -> Iterator[FFmpegBench]:
    """A bench with the instrumentation on; afterwards all is as it was and nothing is left."""
    bench = FFmpegBench(str(need("ffmpeg")), tmp_path)
    followed._book.forget_all()
    bench.instrument()
    yield bench
    followed.FFmpegInstrumentor().uninstrument()
    assert followed.wait_until_idle(10), "a child is still followed"
    bench.meter_provider.shutdown()
    bench.tracer_provider.shutdown()
