"""The logs as a whole: forks, threads, hours on end, and another provider's spans."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from typing import Any

import pytest

import otel_studio
from forked import in_forked_child
from joined_logs import failed_run, joined_logs
from otel_studio import api
from otel_studio.base.clock import ManualClock

log = logging.getLogger("shop.room")


def failing() -> None:
    with failed_run():
        log.info("inside")


def test_a_forked_child_begins_from_nothing() -> None:
    """Its counts are its own, its reporting thread lives, and the parent's reports stay there."""
    with joined_logs() as joined:
        joined.logs.start()
        for _ in range(3):
            log.info("in the parent")

        def in_child() -> dict[str, Any]:
            studio = joined.isolated.studio
            studio.tracer_provider.after_fork_in_child()
            studio.registry.after_fork_in_child()
            joined.logs.after_fork_in_child()
            threads = threading.active_count()
            joined.handler.records.clear()
            before = len(joined.logs.counts())
            failing()
            joined.logs.stop(5)
            return {
                "threads": threads,
                "before": before,
                "after": [[c.operation, c.level, c.count] for c in joined.logs.counts()],
                "reports": [r.getMessage() for r in joined.handler.of("otel_studio.operations")],
            }

        child = in_forked_child(in_child)
        assert child["threads"] == 1  # none is started inside the fork's own hook
        assert child["before"] == 0
        assert child["after"] == [["b", "INFO", 1]]
        assert child["reports"] == ["a/b failed after 0.0 ms: ValueError: broken"]
        assert [(c.operation, c.count) for c in joined.logs.counts()] == [(None, 3)]
        assert joined.reports == []


def test_a_fork_while_other_threads_log_leaves_the_child_able() -> None:
    """Locks of ours that other threads held at the fork are not waited for."""
    with joined_logs() as joined:
        logs = joined.logs
        assert logs._kept is not None
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with (
                logs._counts._lock,
                logs._kept._lock,
                logs.reports.rates._lock,
            ):
                held.set()
                release.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()

        def in_child() -> int:
            joined.isolated.studio.tracer_provider.after_fork_in_child()
            logs.after_fork_in_child()
            failing()
            logs.flush()
            return len(logs.counts())

        try:
            assert in_forked_child(in_child) == 1
        finally:
            release.set()
            thread.join()


def test_a_handler_may_flush_from_another_thread_while_reports_are_written() -> None:
    """No lock is held while handlers run: a flush that one waits for comes back."""
    with joined_logs() as joined:
        answered: list[bool] = []

        class Flushing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                thread = threading.Thread(target=joined.logs.flush, args=(0.05,))
                thread.start()
                thread.join(10)
                answered.append(not thread.is_alive())

        handler = Flushing()
        logging.getLogger("otel_studio.operations").addHandler(handler)
        try:
            failing()
            joined.logs.flush()
        finally:
            logging.getLogger("otel_studio.operations").removeHandler(handler)
        assert answered == [True]


def test_a_flush_waits_for_what_another_thread_writes() -> None:
    """Once it returns, a report that was being written is written."""
    with joined_logs() as joined:
        inside, release, written = threading.Event(), threading.Event(), []

        class Slow(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                inside.set()
                release.wait(10)
                written.append(record)

        handler = Slow()
        logging.getLogger("otel_studio.operations").addHandler(handler)
        try:
            failing()
            joined.isolated.studio.tracer_provider.ended.fold()
            thread = threading.Thread(target=joined.logs._reporter.write_waiting)
            thread.start()
            assert inside.wait(10)
            threading.Timer(0.05, release.set).start()
            joined.logs.flush(10)
            assert len(written) == 1
            thread.join()
        finally:
            logging.getLogger("otel_studio.operations").removeHandler(handler)


def test_threads_log_into_one_run_and_lose_nothing() -> None:
    """Records of threads that share a run are kept with it, each once."""
    import contextvars

    with joined_logs(log_records_per_run=1_000) as joined:
        with failed_run():
            contexts = [contextvars.copy_context() for _ in range(4)]

            def work(number: int) -> None:
                for line in range(100):
                    log.info("%d-%d", number, line)

            threads = [
                threading.Thread(target=context.run, args=(work, number))
                for number, context in enumerate(contexts)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        messages = [r["message"] for r in api.get_recent_operations()[0].log_records]
        assert sorted(messages) == sorted(f"{n}-{line}" for n in range(4) for line in range(100))
        assert joined.logs.counts()[0].count == 400


@pytest.mark.patient
def test_eight_hours_stay_bounded() -> None:
    """Eight simulated hours of failing, slow and quick runs leave the same memory behind."""
    with joined_logs(log_level="info") as joined:
        clock = joined.clock
        assert isinstance(clock, ManualClock)
        service = otel_studio.service("a")

        def minutes(count: int) -> None:
            for _ in range(count):
                clock.advance(60)
                failing()
                with service.operation("quick"):
                    log.info("x")
                with service.operation("slow"):
                    log.warning("y")
                    clock.advance(2)
                joined.logs.flush()
                joined.handler.records.clear()
                joined.isolated._spans.spans.clear()  # what the test itself collects
                for handler in logging.getLogger().handlers:
                    getattr(handler, "reset", lambda: None)()

        minutes(30)
        gc.collect()
        before = sys.getallocatedblocks()
        minutes(480)
        gc.collect()
        assert sys.getallocatedblocks() - before < 2_000


def test_runs_of_another_provider_are_joined_too() -> None:
    """With somebody else's provider the run is found by its span, and keeps its records."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import StatusCode

    from otel_studio.assembly.from_settings import registry_limits
    from otel_studio.logs.room import StudioLogs
    from otel_studio.registry import queries
    from otel_studio.registry.registry import Registry
    from otel_studio.settings.loading import load_settings
    from otel_studio.spans.buffer import EndedSpans
    from otel_studio.spans.foreign import RegistrySpanProcessor
    from otel_studio.spans.pipeline import Pipeline
    from otel_studio.spans.redaction import Redactor
    from otel_studio.spans.timebase import Timebase

    clock = ManualClock()
    settings = load_settings({}, "/", logging=True)
    ended = EndedSpans(100, Timebase(clock))
    registry = Registry(ended, clock, registry_limits(settings))
    provider = TracerProvider(shutdown_on_exit=False)
    processor = RegistrySpanProcessor(ended, clock)
    provider.add_span_processor(processor)

    def find(span: Any) -> Any:
        context = span.get_span_context()
        return processor._running.get((context.trace_id, context.span_id))

    logs = StudioLogs(settings, clock, ended, Redactor(), provider, find)
    ended.line = Pipeline(registry=registry, reports=logs.reports)
    logs.start()
    try:
        with provider.get_tracer("foreign").start_as_current_span("b") as span:
            log.error("about to fail")
            span.set_status(StatusCode.ERROR, "broken")
    finally:
        logs.stop()
    (run,) = queries.recent(registry.reading())
    assert [r["message"] for r in run.log_records] == ["about to fail"]
    assert [(c.service, c.operation, c.level) for c in logs.counts()] == [("foreign", "b", "ERROR")]


def test_two_studios_each_keep_their_own() -> None:
    """A test's Studio inside of another takes the records of its own runs alone."""
    with joined_logs() as outer:
        with joined_logs() as inner:
            failing()
            assert len(api.get_recent_operations()[0].log_records) == 1
            assert [c.operation for c in inner.logs.counts()] == ["b"]
        assert [c.operation for c in outer.logs.counts()] == [None]
        assert api.get_recent_operations() == []
