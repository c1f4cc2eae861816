"""The export queue: bounded, counted, in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_studio.base import guard, locks
from otel_studio.base.delivery import Delivery
from otel_studio.spans.constant_attributes import ConstantAttributes
from otel_studio.spans.export import ExportQueue
from otel_studio.spans.provider import StudioTracerProvider
from otel_studio.spans.sampling import RecordAll


class Sink(SpanExporter):
    """Keeps batches; can be held, can fail."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error: BaseException | None = None
        self.result = SpanExportResult.SUCCESS
        self.closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        self.batches.append([span.name for span in spans])
        return self.result

    def shutdown(self) -> None:
        self.closed = True
        self.gate.set()


class Spans(Sink):
    """Keeps the spans themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[list[ReadableSpan]] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans.append(list(spans))
        return super().export(spans)


def built(sink: Sink, **options: Any) -> tuple[StudioTracerProvider, ExportQueue]:
    settings = {"limit": 100, "batch_size": 10, "interval": 60.0, **options}
    queue = ExportQueue(sink, **settings)
    provider = StudioTracerProvider(shutdown_on_exit=False)
    provider.line.queues = (queue,)
    return provider, queue


def end_spans(provider: StudioTracerProvider, count: int, name: str = "s") -> None:
    tracer = provider.get_tracer("t")
    for number in range(count):
        tracer.start_span(f"{name}{number}").end()
    provider.ended.fold()


def test_spans_are_sent_in_batches_in_their_order() -> None:
    """Every span goes out once, in the order of the ends, at most a batch at a time."""
    sink = Sink()
    provider, queue = built(sink)
    end_spans(provider, 25)
    assert queue.force_flush(5_000)
    assert [len(batch) for batch in sink.batches] == [10, 10, 5]
    assert [name for batch in sink.batches for name in batch] == [f"s{n}" for n in range(25)]
    assert queue.exported == 25
    assert not queue.dropped


def test_a_full_queue_drops_and_counts() -> None:
    """What has no room is dropped by reason; what was queued is sent."""
    sink = Sink()
    sink.gate.clear()
    provider, queue = built(sink, limit=20, batch_size=10)
    end_spans(provider, 10)
    assert sink.entered.wait(5)  # the first batch is with the exporter, and stays there
    end_spans(provider, 50)
    assert queue.waiting == 20
    assert queue.dropped == {"queue_full": 30}
    sink.gate.set()
    assert queue.force_flush(5_000)
    assert queue.exported == 30


def test_unsampled_spans_are_not_queued() -> None:
    """A span that is recorded only is for the registry, not for the exporter."""
    sink = Sink()
    queue = ExportQueue(sink, limit=10, batch_size=10, interval=60)
    provider = StudioTracerProvider(sampler=RecordAll(ALWAYS_OFF), shutdown_on_exit=False)
    provider.line.queues = (queue,)
    end_spans(provider, 5)
    assert queue.force_flush(1_000)
    assert sink.batches == []
    assert not queue.dropped


def test_an_exporter_that_raises_or_fails_is_counted() -> None:
    """A failed batch is counted, logged once, and the next one is tried; a flush says so."""
    guard.forget_said()
    sink = Sink()
    sink.error = RuntimeError("broken")
    provider, queue = built(sink)
    end_spans(provider, 10)
    assert queue.force_flush(5_000) is False
    assert queue.dropped == {"export_failed": 10}
    assert guard.internal_errors == {"exporter Sink": 1}
    sink.error, sink.result = None, SpanExportResult.FAILURE
    end_spans(provider, 10)
    assert queue.force_flush(5_000) is False
    assert queue.dropped == {"export_failed": 20}


def test_a_flush_keeps_its_time() -> None:
    """With an exporter that hangs, `force_flush` gives up when its time is over."""
    sink = Sink()
    sink.gate.clear()
    provider, queue = built(sink)
    end_spans(provider, 10)
    began = time.monotonic()
    assert queue.force_flush(200) is False
    assert 0.15 < time.monotonic() - began < 2
    sink.gate.set()
    assert queue.force_flush(5_000)


def test_a_shutdown_keeps_its_time_and_counts_what_it_loses() -> None:
    """With an exporter that hangs, `shutdown` aborts it; what was not sent is counted."""

    class Hanging(Sink):
        def shutdown(self) -> None:
            self.closed = True

    sink = Hanging()
    sink.gate.clear()
    provider, queue = built(sink, limit=50)
    end_spans(provider, 30)
    assert sink.entered.wait(5)
    began = time.monotonic()
    assert queue.shutdown(0.5) is False
    assert time.monotonic() - began < 2
    assert sink.closed
    assert queue.dropped == {"shutdown": 20}
    sink.gate.set()
    end_spans(provider, 1)
    assert queue.dropped == {"shutdown": 21}


def test_a_shutdown_sends_what_waits() -> None:
    """What is queued at shutdown is sent before the exporter is closed."""
    sink = Sink()
    provider, queue = built(sink)
    end_spans(provider, 3)
    assert queue.shutdown(5)
    assert sink.batches == [["s0", "s1", "s2"]]
    assert sink.closed
    assert queue.shutdown(5)


def test_a_shutdown_whose_export_fails_says_so() -> None:
    """What the exporter refuses at shutdown was not sent; a failure before it is another matter."""
    sink = Sink()
    sink.result = SpanExportResult.FAILURE
    provider, queue = built(sink)
    end_spans(provider, 3)
    assert queue.shutdown(5) is False
    assert queue.dropped == {"export_failed": 3}

    sink = Sink()
    sink.result = SpanExportResult.FAILURE
    provider, queue = built(sink)
    end_spans(provider, 3)
    queue.force_flush(5_000)
    sink.result = SpanExportResult.SUCCESS
    end_spans(provider, 3)
    assert queue.shutdown(5)
    assert queue.dropped == {"export_failed": 3}


def test_where_no_thread_can_be_started_a_flush_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython 3.12.1 starts none once the interpreter exits; what waits is sent all the same."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    sink = Sink()
    provider, queue = built(sink)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    end_spans(provider, 12)
    assert queue.shutdown(5)
    assert [len(batch) for batch in sink.batches] == [10, 2]
    assert sink.closed
    assert not queue.dropped


def test_a_flush_does_not_wait_for_what_comes_after_it() -> None:
    """Under a load that never lets the queue run empty, `force_flush` ends with its own spans."""

    class Producing(Sink):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            if len(self.batches) < 1_000:
                end_spans(provider, 10)
            return super().export(spans)

    sink = Producing()
    provider, queue = built(sink)
    end_spans(provider, 10)
    assert queue.force_flush(20_000)
    assert len(sink.batches) < 1_000
    queue.shutdown(5)


def test_spans_are_sent_by_themselves() -> None:
    """Without a flush, the thread sends what has waited for the interval."""
    sink = Sink()
    provider, _ = built(sink, interval=0.01)
    end_spans(provider, 1)
    assert sink.entered.wait(5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_an_empty_queue_and_a_thread_of_its_own() -> None:
    """The child sends its own spans, and none of its parent's."""
    from forked import in_forked_child

    sink = Sink()
    sink.gate.clear()
    provider, queue = built(sink)
    end_spans(provider, 15, "parent")
    assert sink.entered.wait(5)

    def child() -> list[str]:
        locks.renew_in_child()
        provider.after_fork_in_child()
        queue.after_fork_in_child()
        sink.gate.set()
        end_spans(provider, 2, "child")
        queue.force_flush(5_000)
        return [name for batch in sink.batches for name in batch]

    assert in_forked_child(child) == ["child0", "child1"]
    sink.gate.set()
    assert queue.force_flush(5_000)
    assert queue.exported == 15


def sent_sizes(provider: StudioTracerProvider, queue: ExportQueue, sink: Spans) -> list[int]:
    """Return the bytes that each batch takes when OpenTelemetry's own exporter encodes it."""
    provider.ended.fold()
    assert queue.force_flush(60_000)
    queue.shutdown()
    return [encode_spans(batch).ByteSize() for batch in sink.spans]


def fail_deep(depth: int) -> None:
    if depth:
        fail_deep(depth - 1)
    raise ValueError("x" * 1_000)


def test_failures_travel_in_requests_of_bearable_size() -> None:
    """An exporter of the program's own gets no batch above 4 MiB, however deep the stacks are."""
    sink = Spans()
    provider, queue = built(sink, batch_size=2_048, limit=10_000)
    tracer = provider.get_tracer("t")
    for number in range(600):
        with pytest.raises(ValueError, match="x"), tracer.start_as_current_span(f"s{number}"):
            fail_deep(60)
    sizes = sent_sizes(provider, queue, sink)
    assert sum(map(len, sink.spans)) == 600
    assert max(sizes) <= 4 << 20
    assert len(sizes) <= 6  # and not in tiny ones


@pytest.mark.parametrize(
    "text", ["x", "\u00e9", "\u6f22", "\U0001f600"], ids=["ascii", "latin", "han", "emoji"]
)
def test_text_of_any_alphabet_travels_in_requests_of_bearable_size(text: str) -> None:
    """What Python keeps in one byte takes two when it is sent."""
    sink = Spans()
    provider, queue = built(sink, batch_size=2_048, limit=10_000)
    tracer = provider.get_tracer("t")
    for number in range(3_000):
        tracer.start_span(f"s{number}", attributes={"query": text * 2_500}).end()
    assert max(sent_sizes(provider, queue, sink)) <= 4 << 20
    assert sum(map(len, sink.spans)) == 3_000


def test_attributes_that_all_runs_share_count_when_they_are_sent() -> None:
    """They are held once, and sent with each span; so are names and keys."""
    sink = Spans()
    provider, queue = built(sink, batch_size=2_048, limit=10_000)
    tracer = provider.get_tracer("t")
    shared = ConstantAttributes({"k" * 200 + str(n): "v" * 200 for n in range(8)})
    for number in range(3_000):
        span = tracer.start_span(f"s{number}")
        span._attributes = shared
        span.end()
    assert max(sent_sizes(provider, queue, sink)) <= 4 << 20
    assert sum(map(len, sink.spans)) == 3_000


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_an_exporter_that_ends_its_thread_ends_nothing(error: BaseException) -> None:
    """The batch counts as failed, it is reported once, and the next one is sent."""
    guard.forget_said()
    sink = Sink()
    sink.error = error
    provider, queue = built(sink)
    end_spans(provider, 20)
    assert queue.force_flush(5_000) is False
    assert queue.dropped == {"export_failed": 20}
    assert guard.internal_errors == {"exporter Sink": 2}
    sink.error = None
    end_spans(provider, 10)
    assert queue.force_flush(5_000)
    assert queue.exported == 10
    queue.shutdown()


def test_an_exporter_whose_shutdown_raises_is_reported() -> None:
    """A `SystemExit` there too: the shutdown returns, and nothing is printed by the thread."""
    guard.forget_said()

    class Leaving(Sink):
        def shutdown(self) -> None:
            raise SystemExit(3)

    _, queue = built(Leaving())
    assert queue.shutdown(5)
    assert guard.internal_errors == {"shutting down Leaving": 1}


def test_what_an_exporter_tells_of_a_batch_is_counted() -> None:
    """Of one that knows what became of each span, the reasons are those of the queue."""

    class Telling(Sink):
        def deliver(self, spans: Sequence[ReadableSpan]) -> Delivery:
            return Delivery(len(spans) - 3, {"rejected": 2, "too_large": 1})

    provider, queue = built(Telling())
    end_spans(provider, 10)
    assert queue.force_flush(5_000) is False
    assert queue.exported == 7
    assert queue.dropped == {"rejected": 2, "too_large": 1}
    assert queue.outstanding == 0
    queue.shutdown()


def end_large(provider: StudioTracerProvider, sizes: Sequence[int]) -> None:
    tracer = provider.get_tracer("t")
    for number, size in enumerate(sizes):
        tracer.start_span(f"s{number}", attributes={"body": "x" * size}).end()
    provider.ended.fold()


def test_what_waits_is_bounded_in_bytes() -> None:
    """A span that finds no room is dropped and counted; a small one behind it still does."""
    sink = Sink()
    sink.gate.clear()
    provider, queue = built(sink, max_bytes=100_000, batch_size=100)
    end_large(provider, [40_000, 40_000, 40_000, 1_000, 40_000, 1_000])
    assert queue.waiting == 4
    assert 80_000 < queue.bytes_waiting <= 100_000
    assert queue.dropped == {"queue_bytes": 2}
    sink.gate.set()
    queue.force_flush(5_000)
    assert [name for batch in sink.batches for name in batch] == ["s0", "s1", "s3", "s5"]
    assert queue.bytes_waiting == 0
    end_large(provider, [40_000, 40_000])
    assert queue.waiting == 2
    queue.shutdown()
    assert queue.bytes_waiting == 0


def test_events_count_among_what_waits() -> None:
    """A span without attributes may hold much, too."""
    provider, queue = built(Sink(), max_bytes=100_000)
    for _ in range(3):
        span = provider.get_tracer("t").start_span("s")
        span.add_event("answer", {"body": "x" * 60_000})
        span.end()
    provider.ended.fold()
    assert queue.waiting == 1
    assert queue.dropped == {"queue_bytes": 2}
    queue.shutdown()


def test_a_batch_of_large_spans_is_a_request_of_bearable_size() -> None:
    """Receivers refuse more than 4 MiB: a batch ends before it holds more than half of that."""
    sink = Sink()
    provider, queue = built(sink, batch_size=100, limit=1_000)
    end_large(provider, [600_000] * 7 + [5_000_000] + [10] * 20)
    assert queue.force_flush(10_000)
    names = [name for batch in sink.batches for name in batch]
    assert names == [f"s{number}" for number in range(28)]
    assert [len(batch) for batch in sink.batches[:2]] == [3, 3]
    assert ["s7"] in sink.batches
    assert queue.bytes_waiting == 0
    queue.shutdown()


def test_a_forked_child_begins_with_no_bytes() -> None:
    """Like with no spans."""
    provider, queue = built(Sink(), max_bytes=100_000)
    end_large(provider, [40_000, 40_000])
    queue.after_fork_in_child()
    assert queue.bytes_waiting == 0
    queue.shutdown()


def test_a_queue_is_added_to_a_provider_as_a_processor_is() -> None:
    """It gets what has ended, behind everything else, and is flushed with the rest."""
    exporter = InMemorySpanExporter()
    provider = StudioTracerProvider(shutdown_on_exit=False)
    queue = ExportQueue(exporter, limit=10, batch_size=10, interval=3_600)
    provider.add_span_processor(queue)  # type: ignore[arg-type]
    provider.get_tracer("t").start_span("one").end()
    assert provider.force_flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["one"]
    provider.shutdown()
