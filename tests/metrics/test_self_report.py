"""OTel Studio's own metrics: what it dropped, overflowed and failed at."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import otel_studio
from otel_studio.base import codec, guard, limited
from otel_studio.metrics.self_report import SelfPart, SelfReading, read
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
    limited.forget_limited()
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
    limited.forget_limited()


NUMBERS = st.integers(0, 10**12)
COUNTS = st.dictionaries(st.sampled_from("ab"), st.integers(1, 10**12), max_size=2)
PARTS = st.builds(SelfPart, *[NUMBERS] * 3, *[COUNTS] * 4).filter(lambda part: part != SelfPart())
READINGS = st.builds(SelfReading, st.dictionaries(st.sampled_from("xyz"), PARTS, max_size=3))


@given(READINGS, READINGS, READINGS)
def test_readings_are_a_group(a: SelfReading, b: SelfReading, c: SelfReading) -> None:
    """Order and grouping do not matter, and a difference takes back what a sum added."""
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert (a + b) - a == b
    assert a + SelfReading() == a
    assert a - a == SelfReading()


@given(READINGS, READINGS)
def test_every_count_is_in_a_sum(a: SelfReading, b: SelfReading) -> None:
    """Nothing is left out, and nothing counted twice."""
    assert (a + b).whole() == a.whole() + b.whole()
    assert (a + b).whole().folded == a.whole().folded + b.whole().folded
    errors = {
        place: a.whole().errors.get(place, 0) + b.whole().errors.get(place, 0) for place in "ab"
    }
    assert (a + b).whole().errors == {place: count for place, count in errors.items() if count}


@given(PARTS, PARTS)
def test_what_began_anew_counts_from_zero(old: SelfPart, new: SelfPart) -> None:
    """Across a restart a difference holds all that came since, and nothing below zero."""
    window = SelfReading({"new": new}) - SelfReading({"old": old})
    assert window == SelfReading({"new": new})


@given(READINGS)
def test_the_codec_brings_a_reading_back(reading: SelfReading) -> None:
    """Another process reads exactly what this one wrote."""
    assert codec.decode(codec.encode(reading), SelfReading) == reading


def test_a_reset_and_another_registry_begin_anew() -> None:
    """A service that is reset, and a Studio after another one, leave nothing below zero."""

    def fill(names: str) -> None:
        for name in names:
            otel_studio.service("shop").record_operation(name, duration=1)

    guard.forget_said()
    limited.forget_limited()
    with isolated(max_operations_per_service=2) as s:
        fill("abcd")
        then = read(s.registry.reading(), lambda: {"queue_full": 3, "export_failed": 0})
        s.registry.reset("shop")
        fill("abc")
        now = read(s.registry.reading(), lambda: {"queue_full": 4})
    window = (now - then).whole()
    assert (window.folded, window.overflowed, window.dropped) == (3, {"shop": 1}, {"queue_full": 1})
    with isolated() as s:
        fill("a")
        later = read(s.registry.reading(), dict)
    assert (later - now).whole() == SelfPart(folded=1, fold_ns=(later - now).whole().fold_ns)
    assert (later + now).whole().folded == 8
    guard.forget_said()
    limited.forget_limited()
