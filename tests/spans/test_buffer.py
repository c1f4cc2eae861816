"""The buffer of ended spans, and what counts as running."""

from __future__ import annotations

import gc
import sys
import threading
from contextvars import ContextVar
from typing import Any

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_studio.base import guard, limited
from otel_studio.base.clock import ManualClock
from otel_studio.spans.buffer import EndedSpans
from otel_studio.spans.ended_run import duration_of
from otel_studio.spans.handover import Handover
from otel_studio.spans.pipeline import Pipeline
from otel_studio.spans.provider import StudioTracerProvider
from otel_studio.spans.timebase import Timebase

from parts import wait_until


class Interrupted:
    """A run with only what a fold looks at; its end was interrupted."""

    def __init__(self, token: Any) -> None:
        self._token = token
        self._attributes = None
        self._simple = True


class Counter:
    """Counts what it is handed."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.names: list[str] = []

    def consume(self, spans: Any) -> None:
        self.batches.append(len(spans))
        self.names.extend(span._name for span in spans)


def test_a_full_backlog_is_folded_by_the_thread_that_ends_a_span() -> None:
    """Nothing waits without bound: past the limit the caller folds."""
    provider = StudioTracerProvider(shutdown_on_exit=False, backlog=10)
    counter = Counter()
    provider.add_span_processor(counter)
    tracer = provider.get_tracer("t")
    for number in range(100):
        tracer.start_span(str(number)).end()
    assert len(provider.ended.spans) <= 10
    provider.ended.fold()
    assert counter.names == [str(number) for number in range(100)]


def test_runs_that_hold_much_wait_for_a_fold_sooner() -> None:
    """Beside a fold in progress, light runs go on to eight times the limit, heavy ones to two."""
    provider = StudioTracerProvider(shutdown_on_exit=False, backlog=1_000)
    ended, tracer = provider.ended, provider.get_tracer("t")
    waited: list[int] = []

    def end_until_it_waits() -> None:
        while not waited:
            tracer.start_span("s").end()

    for limit, most in ((100, 2), (1_000, 8)):
        ended.fold()
        ended.limit = limit
        waited.clear()
        with ended.lock:
            ended._busy = True  # as in a fold
            thread = threading.Thread(target=end_until_it_waits)
            thread.start()
            wait_until(lambda: len(ended.spans) > limit * most, what="the backlog")  # noqa: B023
            waited.append(len(ended.spans))
            ended._busy = False
        thread.join(10)
        assert waited == [limit * most + 1]


def test_nothing_is_lost_between_threads() -> None:
    """Spans that 8 threads end while others fold are handed over exactly once."""
    provider = StudioTracerProvider(shutdown_on_exit=False, backlog=50)
    counter = Counter()
    provider.add_span_processor(counter)
    tracer = provider.get_tracer("t")

    def work(thread: int) -> None:
        for number in range(2_000):
            tracer.start_span(f"{thread}.{number}").end()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        provider.ended.fold()
    provider.ended.fold()
    assert len(counter.names) == len(set(counter.names)) == 16_000


def test_a_consumer_that_raises_does_not_stop_the_others() -> None:
    """Its failure is counted, and the batch still reaches the next consumer."""
    guard.forget_said()

    class Broken:
        def consume(self, spans: Any) -> None:
            raise RuntimeError("no")

    provider = StudioTracerProvider(shutdown_on_exit=False)
    counter = Counter()
    provider.add_span_processor(Broken())
    provider.add_span_processor(counter)
    provider.get_tracer("t").start_span("s").end()
    provider.ended.fold()
    assert counter.names == ["s"]
    assert guard.internal_errors == {"folding spans into Broken": 1}


def test_a_span_that_ends_inside_a_read_waits_its_turn() -> None:
    """A finalizer that ends a span while this thread reads neither deadlocks nor is lost."""
    provider = StudioTracerProvider(shutdown_on_exit=False, backlog=1)
    counter = Counter()
    provider.add_span_processor(counter)
    tracer = provider.get_tracer("t")
    with provider.ended.lock:
        provider.ended.cut()
        for number in range(50):
            tracer.start_span(str(number)).end()
        assert counter.names == []
    provider.ended.fold()
    assert len(counter.names) == 50


def test_a_wall_clock_that_is_set_back_makes_no_negative_duration() -> None:
    """Durations are monotonic; start times follow the clock that the machine shows."""
    clock = ManualClock(start=1_000_000.0)
    provider = StudioTracerProvider(shutdown_on_exit=False, clock=clock)
    tracer = provider.get_tracer("t")
    span = tracer.start_span("s")
    clock.advance(2)
    clock.set_wall(500_000.0)
    span.end()
    assert span.end_time - span.start_time == 2_000_000_000
    provider.ended.fold()
    later = tracer.start_span("later")
    later.end()
    assert later.start_time == 500_000 * 10**9


def test_an_end_before_the_start_counts_as_zero() -> None:
    """Times that a caller gives in the wrong order make a duration of zero, not a negative one.

    What the span tells, and what is sent, is what was given, as it is with the SDK.
    """
    provider = StudioTracerProvider(shutdown_on_exit=False)
    span = provider.get_tracer("t").start_span("s", start_time=5_000)
    span.end(end_time=1_000)
    assert duration_of(span) == 0
    assert (span.start_time, span.end_time) == (5_000, 1_000)


def test_running_spans_are_known_and_dropped_ones_leave() -> None:
    """A span is running until its end; one that is dropped without an end is abandoned."""
    provider = StudioTracerProvider(shutdown_on_exit=False)
    counter = Counter()
    provider.add_span_processor(counter)
    tracer = provider.get_tracer("t")
    span = tracer.start_span("kept")
    dropped = tracer.start_span("dropped")
    assert sorted(s._name for s in provider.running()) == ["dropped", "kept"]
    del dropped
    gc.collect()
    assert [s._name for s in provider.running()] == ["kept"]
    span.end()
    assert provider.running() == set()
    provider.ended.fold()
    assert counter.names == ["dropped", "kept"]


def test_a_span_that_two_threads_end_is_counted_once() -> None:
    """The second end is ignored, whoever comes first."""
    provider = StudioTracerProvider(shutdown_on_exit=False)
    counter = Counter()
    provider.add_span_processor(counter)
    tracer = provider.get_tracer("t")
    for _ in range(200):
        span = tracer.start_span("s")
        threads = [threading.Thread(target=span.end) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    provider.ended.fold()
    assert len(counter.names) == 200


def test_the_timebase_ignores_jitter_and_follows_steps() -> None:
    """An offset moves for a step of the wall clock, not for a microsecond of drift."""
    clock = ManualClock(start=100.0)
    timebase = Timebase(clock)
    before = timebase.offset
    clock.set_wall(100.0005)
    timebase.refresh()
    assert timebase.offset == before
    clock.set_wall(50.0)
    timebase.refresh()
    assert timebase.offset == before - 50 * 10**9


def test_a_fold_of_nothing_calls_nobody() -> None:
    """Consumers see no empty batch."""
    ended = EndedSpans(10, Timebase(ManualClock()))
    counter = Counter()
    ended.line = line = Pipeline()
    line.handovers = (Handover(counter),)
    ended.fold()
    assert counter.batches == []


def test_a_run_with_its_context_token_left_is_folded() -> None:
    """An interrupted end leaves the token and may hand a run over twice; the batch is whole."""
    ended = EndedSpans(10, Timebase(ManualClock()))
    waiting: Any = Interrupted(ContextVar[int]("v").set(1))
    ended.active.add(waiting)
    ended.append(waiting)
    ended.append(waiting)
    ended.fold()
    assert ended.running() == set()
    assert not ended.spans


def test_a_fold_that_interrupts_a_fold_neither_waits_nor_repeats() -> None:
    """A signal handler may read wherever the thread stands, right behind the lock included."""
    provider = StudioTracerProvider(shutdown_on_exit=False)
    counter = Counter()
    ended = provider.ended
    provider.add_span_processor(counter)  # type: ignore[arg-type]
    provider.get_tracer("t").start_span("s").end()
    lines: list[int] = []

    def read_everywhere(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != ended.fold.__code__.co_filename:
            return None
        lines.append(frame.f_lineno)
        sys.settrace(None)
        try:
            ended.fold()
            ended.relieve()
            with ended.lock:
                ended.cut()
            ended.settle()
        finally:
            sys.settrace(read_everywhere)
        return read_everywhere

    before = sys.gettrace()
    reader = threading.Thread(target=lambda: (sys.settrace(read_everywhere), ended.fold()))
    reader.daemon = True
    reader.start()
    reader.join(10)
    assert sys.gettrace() is before
    assert not reader.is_alive()
    assert len(lines) > 5
    assert counter.names == ["s"]


def test_a_finalizer_may_ask_for_a_tracer_while_one_is_made(monkeypatch: Any) -> None:
    """Garbage collected inside `get_tracer` uses tracers of its own without a deadlock."""
    provider = StudioTracerProvider(shutdown_on_exit=False)
    hash_of = InstrumentationScope.__hash__
    asked: list[str] = []

    def collecting(scope: Any) -> int:
        if not asked:
            asked.append(scope.name)
            provider.get_tracer("finalizer").start_span("close").end()
        return hash_of(scope)

    monkeypatch.setattr(InstrumentationScope, "__hash__", collecting)
    asking = threading.Thread(target=provider.get_tracer, args=("library",), daemon=True)
    asking.start()
    asking.join(10)
    assert not asking.is_alive()
    assert asked == ["library"]


def test_what_waits_for_a_consumer_is_bounded() -> None:
    """While it is at one batch, so many runs wait, and so many bytes; the others are counted."""
    limited.forget_limited()
    counter = Counter()
    handover = Handover(counter)
    tracer = StudioTracerProvider(shutdown_on_exit=False).get_tracer("t")
    spans: list[Any] = [
        tracer.start_span(f"s{number}", attributes={"body": "x" * 2_000_000})
        for number in range(100)
    ]
    for number in range(0, 100, 10):
        for function, argument in handover.prepare(spans[number : number + 10]):
            function(argument)
    handover.after()
    handover.deliver()
    assert counter.batches == [10] * 3
    assert limited.limited["handover"] == 70
    for function, argument in handover.prepare(spans):  # alone it finds room, whatever it holds
        function(argument)
    handover.deliver()
    assert counter.batches[-1] == 100
