"""What is sent has the times that the span tells, whatever the wall clock does meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_studio
from otel_studio.base.clock import ManualClock
from otel_studio.exporters.otlp_encoding import SpanEncoder
from otel_studio.spans.export import ExportQueue
from otel_studio.spans.provider import StudioTracerProvider
from otel_studio.testing import isolated

HOUR = 3_600
SECOND = 10**9


def sent(spans: Sequence[ReadableSpan]) -> list[Any]:
    """Return spans as a receiver reads what we send of them."""
    request = ExportTraceServiceRequest.FromString(SpanEncoder().encode(spans))
    return [
        span
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


class Encoding(SpanExporter):
    """Encodes what it is given, after the wall clock was set where that is asked for."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.before: Any = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.before is not None:
            self.before()
        self.spans += sent(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


def built() -> tuple[ManualClock, StudioTracerProvider, ExportQueue, Encoding]:
    clock, exporter = ManualClock(), Encoding()
    provider = StudioTracerProvider(shutdown_on_exit=False, clock=clock)
    queue = ExportQueue(exporter, limit=100, batch_size=100, interval=HOUR)
    provider.line.queues = (queue,)
    return clock, provider, queue, exporter


def step(clock: ManualClock, provider: StudioTracerProvider, seconds: float = HOUR) -> None:
    clock.set_wall(clock.time_ns() / SECOND + seconds)
    provider.ended.fold()  # which follows the clock


def end_one(clock: ManualClock, provider: StudioTracerProvider, name: str = "s") -> None:
    span = provider.get_tracer("t").start_span(name)
    clock.advance(1)
    span.end()


def times(span: Any) -> tuple[int, int]:
    return span.start_time_unix_nano, span.end_time_unix_nano


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_clock_that_is_set_moves_nothing_that_waits(seconds: float) -> None:
    """Spans that ended before it keep their times; those that begin after it have the new ones."""
    clock, provider, queue, exporter = built()
    began = clock.time_ns()
    end_one(clock, provider)
    provider.ended.fold()
    step(clock, provider, seconds)
    later = clock.time_ns()
    end_one(clock, provider)
    provider.ended.fold()
    assert queue.force_flush(5_000)
    first, second = exporter.spans
    assert times(first) == (began, began + SECOND)
    assert times(second) == (later, later + SECOND)
    queue.shutdown()


def test_a_clock_that_is_set_moves_no_running_span() -> None:
    """It began by the old clock, and takes as long as it took."""
    clock, provider, queue, exporter = built()
    began = clock.time_ns()
    span = provider.get_tracer("t").start_span("s")
    clock.advance(1)
    step(clock, provider)
    clock.advance(1)
    span.end()
    provider.ended.fold()
    assert queue.force_flush(5_000)
    assert times(exporter.spans[0]) == (began, began + 2 * SECOND)
    queue.shutdown()


def test_a_clock_that_is_set_moves_nothing_that_is_with_the_exporter() -> None:
    """A batch that was taken off the queue and is not encoded yet keeps its times, too."""
    clock, provider, queue, exporter = built()
    began = clock.time_ns()
    end_one(clock, provider)
    provider.ended.fold()
    exporter.before = lambda: step(clock, provider)
    assert queue.force_flush(5_000)
    assert times(exporter.spans[0]) == (began, began + SECOND)
    queue.shutdown()


@pytest.mark.parametrize("takes_batches", [False, True])
def test_a_processor_of_the_programs_own_keeps_spans_with_their_times(takes_batches: bool) -> None:
    """It may hold them as long as it likes, and read them or send them after the step."""
    clock, provider, _, _ = built()
    held = InMemorySpanExporter()

    class Batches:
        def consume(self, spans: Sequence[Any]) -> None:
            held.export(spans)

    provider.add_span_processor(Batches() if takes_batches else SimpleSpanProcessor(held))  # type: ignore[arg-type]
    began = clock.time_ns()
    end_one(clock, provider)
    provider.ended.fold()
    step(clock, provider)
    [span] = held.get_finished_spans()
    assert (span.start_time, span.end_time) == (began, began + SECOND)
    assert times(sent([span])[0]) == (began, began + SECOND)


def both(start: Any, end: Any, clock: ManualClock | None = None) -> tuple[Any, Any]:
    """Return a span of the SDK's and one of ours with the same explicit times, ended."""
    ended = []
    for provider in (
        TracerProvider(shutdown_on_exit=False),
        StudioTracerProvider(shutdown_on_exit=False, clock=clock),
    ):
        span = provider.get_tracer("t").start_span("s", start_time=start)
        span.end(end_time=end)
        ended.append(span)
    return ended[0], ended[1]


TIMES = st.one_of(
    st.integers(0, 2**63 - 1),
    st.integers(1_600_000_000, 1_900_000_000),  # seconds, where nanoseconds are meant
    st.integers(0, 10),
)


@given(start=TIMES, end=TIMES)
def test_times_that_the_program_gives_are_sent_as_the_sdk_sends_them(start: int, end: int) -> None:
    """To the nanosecond, also where the end lies before the start; and they are what it tells."""
    reference, own = both(start, end)
    request = encode_spans([reference])
    expected = request.resource_spans[0].scope_spans[0].spans[0]
    assert times(sent([own])[0]) == times(expected) == (start, end)
    assert (own.start_time, own.end_time) == (start, end)


def test_an_end_in_seconds_leaves_the_start_where_it_is() -> None:
    """`span.end(end_time=time.time())`: the start is that of the clock, the end as it was given."""
    given = time.time()
    clock = ManualClock()
    _, own = both(None, given, clock)
    assert times(sent([own])[0]) == (clock.time_ns(), int(given))
    assert own.end_time == int(given)


@pytest.mark.parametrize("value", [-1, -(2**70), 2**70, float("nan"), float("inf"), "x"])
def test_a_time_that_none_can_send_costs_no_other_span(value: Any) -> None:
    """One that OTLP has no form for is left out, and counted by the encoder."""
    clock = ManualClock()
    provider = StudioTracerProvider(shutdown_on_exit=False, clock=clock)
    tracer = provider.get_tracer("t")
    spans: list[Any] = []
    for number in range(3):
        span = tracer.start_span(f"s{number}")
        span.end(end_time=value if number == 1 else None)
        spans.append(span)
    encoder = SpanEncoder()
    request = ExportTraceServiceRequest.FromString(encoder.encode(spans))
    names = [span.name for span in request.resource_spans[0].scope_spans[0].spans]
    assert {"s0", "s2"} <= set(names)
    assert len(names) + encoder.unencodable == 3


@pytest.mark.parametrize("value", [1.5, -1, 2**70, float("nan"), "x"])
def test_an_event_at_no_time_costs_nothing(value: Any) -> None:
    """Its time is cut to whole nanoseconds, or unknown; the span and its other events are sent."""
    provider = StudioTracerProvider(shutdown_on_exit=False)
    span: Any = provider.get_tracer("t").start_span("s")
    span.add_event("odd", timestamp=value)
    span.add_event("even", timestamp=7)
    span.end()
    [received] = sent([span])
    expected = 1 if value == 1.5 else 0
    assert [(e.name, e.time_unix_nano) for e in received.events] == [("odd", expected), ("even", 7)]


def test_the_registry_tells_the_same_times() -> None:
    """Its recent runs begin when the span says, and no duration is negative."""
    clock = ManualClock()
    with isolated(clock=clock) as studio:
        tracer = studio.tracer_provider.get_tracer("s")
        tracer.start_span("seconds").end(end_time=int(clock.time_ns() / SECOND))
        clock.set_wall(clock.time_ns() / SECOND + HOUR)
        studio.registry.reading()
        [run] = otel_studio.api.get_recent_operations("s")
        assert run.start_time == "2023-11-14T22:13:20Z" or run.start_time.startswith(
            "2023-11-14T22:13:20"
        )
        assert run.duration_ms == 0
