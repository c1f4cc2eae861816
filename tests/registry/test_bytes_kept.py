"""What is kept of runs is bounded in bytes: of each, and of all together; what goes is counted."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

import otel_studio
from otel_studio.base.clock import SystemClock
from otel_studio.metrics.self_report import read
from otel_studio.registry import queries
from otel_studio.spans.buffer import EndedSpans
from otel_studio.spans.foreign import RegistrySpanProcessor
from otel_studio.spans.light_run import cut_to
from otel_studio.spans.timebase import Timebase
from otel_studio.spans.weight import weight_of, weight_of_runs
from otel_studio.testing.isolation import Isolated, isolated


def limited(s: Isolated) -> dict[str, int]:
    return dict(read(s.registry.reading(), dict).whole().limited)


def test_the_largest_values_are_cut_and_the_others_stay() -> None:
    """The run is kept with all its attributes; what is exported is whole."""
    with isolated(max_run_bytes=4_096) as s:
        with otel_studio.service("llm").operation("chat") as op:
            op.set_attribute("prompt", "p" * 100_000)
            op.set_attribute("answer", "ä" * 100_000)
            op.set_attribute("model", "large")
            op.set_attribute("tokens", 1_234)
            op.set_attribute("choices", ["c" * 400] * 100)
        (run,) = s.runs("llm", "chat")
        assert run.attributes["model"] == "large"
        assert run.attributes["tokens"] == 1_234
        for name, begins in (("prompt", "p" * 900), ("answer", "ä" * 900)):
            assert run.attributes[name].startswith(begins)
            assert run.attributes[name].endswith("...")
        assert 0 < len(run.attributes["choices"]) < 10
        (span,) = s.spans
        assert span.attributes is not None
        assert len(str(span.attributes["prompt"])) == 100_000
        assert limited(s)["runs"] == 3


def test_every_place_that_keeps_a_run_keeps_the_light_one() -> None:
    """Recent, slowest, exemplars, the last failure and the group's samples."""
    with isolated(max_run_bytes=4_096) as s:
        for _ in range(3):
            with otel_studio.service("shop").operation("pay") as op:
                op.set_attribute("body", "b" * 50_000)
                op.fail("refused")
        part = s.registry.reading().services["shop"].whole()
        (operation,) = part.operations.values()
        (group,) = part.groups.values()
        (series,) = operation.series.values()
        kept: list[Any] = [*operation.recent, *operation.slowest, operation.last_failed]
        kept += [group.latest, group.told, *filter(None, series.exemplars)]
        assert all(weight_of(run) < 5_000 for run in kept if run is not None)
        (statistics,) = queries.error_statistics(s.registry.reading()).by_service.values()
        assert statistics.groups[0].message == "refused"


def test_what_is_learnt_after_its_end_reaches_the_light_run() -> None:
    """The time of its parts and its log records are those of the run."""
    with isolated(max_run_bytes=1_024, logging=True) as s:
        service = otel_studio.service("shop")
        with service.operation("pay") as op:
            op.set_attribute("body", "b" * 50_000)
            with service.operation("part"):
                pass
            op.fail("refused")
        (run,) = s.runs("shop", "pay")
        assert {share.operation for share in run.time_split} == {"part", "self"}


def test_attributes_of_another_provider_are_cut_too() -> None:
    """A span of the SDK's is kept in the same bounds, and so are its events."""
    with isolated(max_run_bytes=2_048) as s:
        ended = s.tracer_provider.ended
        provider = TracerProvider(shutdown_on_exit=False)
        processor = RegistrySpanProcessor(ended, SystemClock())
        provider.add_span_processor(processor)
        with provider.get_tracer("lib").start_as_current_span("query") as span:
            span.set_attribute("db.statement", "SELECT " + "x, " * 50_000)
            for number in range(100):
                span.add_event("row", {"text": f"{number}" + "y" * 5_000})
        (operation,) = s.registry.reading().services["lib"].whole().operations.values()
        assert all(weight_of(run) < 16_384 for run in operation.recent)


def test_all_samples_together_stay_within_their_bound() -> None:
    """The oldest lose what they hold; counts, times and errors stay, and the latest are whole."""
    with isolated(max_sample_bytes=100_000, recent_runs_per_operation=3) as s:
        for number in range(60):
            with otel_studio.service("shop").operation(f"op {number}") as op:
                op.set_attribute("body", f"{number} " + "b" * 5_000)
                if number == 0:
                    op.fail("the first")
            s.registry.reading()
        operations = s.registry.reading().services["shop"].whole().operations
        runs = [run for one in operations.values() for run in one.recent]
        assert sum(map(weight_of, runs)) <= 100_000
        assert len(runs) == 60
        assert all(one.count == 1 for one in operations.values())
        (last,) = s.runs("shop", "op 59")
        assert len(last.attributes["body"]) > 5_000
        (first,) = s.runs("shop", "op 0")
        assert first.attributes == {}
        assert first.error == "the first"
        assert limited(s)["samples"] >= 40


def test_runs_with_little_are_kept_as_they_are() -> None:
    """Nothing is made in their place, and nothing is counted."""
    with isolated() as s:
        for _ in range(5):
            with otel_studio.service("shop").operation("pay") as op:
                op.set_attribute("amount", 5)
        (operation,) = s.registry.reading().services["shop"].whole().operations.values()
        assert {type(run).__name__ for run in operation.recent} == {"StudioSpan"}
        assert limited(s).keys().isdisjoint({"runs", "samples"})


def test_a_value_whose_size_cannot_be_told_loses_no_run() -> None:
    """A text that fails when it is looked at is the program's; its run is counted all the same."""

    class Odd(str):
        __slots__ = ()

        def __sizeof__(self) -> int:
            raise RuntimeError("no size")

    with isolated() as s:
        with otel_studio.service("shop").operation("pay") as op:
            op.set_attribute("odd", Odd("text"))
        assert s.operation("shop", "pay").count == 1


@pytest.mark.parametrize("in_one_fold", [True, False])
def test_types_made_at_run_time_share_a_series(in_one_fold: bool) -> None:
    """Twenty types have a series of their own, whether they come in one fold or in many."""
    with isolated(registry_backlog=10_000) as s:
        for number in range(200):
            kind = type(f"Fault{number}" + "x" * 1_000, (Exception,), {})
            with pytest.raises(kind), otel_studio.service("soap").operation("charge"):
                raise kind("no")
            if not in_one_fold:
                s.registry.reading()
        part = s.registry.reading().services["soap"].whole()
        (operation,) = part.operations.values()
        assert len(operation.series) == 21
        assert sum(one.count for one in operation.series.values()) == 200
        assert all(len(kind or "") <= 256 for kind, _ in operation.series)
        assert len(part.groups) <= 101


@pytest.mark.parametrize(
    "temporality", [AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE]
)
def test_what_a_reset_cleared_stays_in_no_reader(temporality: AggregationTemporality) -> None:
    """Nobody who has shown a run keeps it: not the readers of metrics, nor the text of a scrape."""
    reader = InMemoryMetricReader(
        preferred_temporality={Counter: temporality, Histogram: temporality}
    )
    with isolated(metric_readers=[reader]) as s:
        with otel_studio.service("shop").operation("pay"):
            held = weakref.ref(trace.get_current_span())
        reader.get_metrics_data()
        assert "pay" in s.studio.prometheus_text()
        s.registry.reset("shop")
        s._spans.spans.clear()  # those of the test's own
        gc.collect()
        assert held() is None


def test_deltas_are_right_across_what_a_reader_keeps() -> None:
    """Counts since the last collection, and from zero after a reset."""
    delta = AggregationTemporality.DELTA
    reader = InMemoryMetricReader(preferred_temporality={Counter: delta, Histogram: delta})
    counts = []
    with isolated(metric_readers=[reader]) as s:
        for runs in (3, 2, 0, 4):
            if not runs:
                s.registry.reset("shop")
                continue
            for _ in range(runs):
                with otel_studio.service("shop").operation("pay"):
                    pass
            data = reader.get_metrics_data()
            assert data is not None
            counts += [
                point.count
                for resource in data.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
                if metric.name == "otel_studio.operation.duration"
                for point in metric.data.data_points
            ]
    assert counts == [3, 2, 4]


def test_few_runs_wait_where_they_hold_much() -> None:
    """The backlog follows what the last batch held, and grows again behind small runs."""
    ended = EndedSpans(1_024, Timebase(SystemClock()))
    assert ended.limit <= 128
    with isolated() as s:
        buffer = s.tracer_provider.ended
        for _ in range(20):
            with otel_studio.service("shop").operation("pay") as op:
                op.set_attribute("body", "b" * 2_000_000)
        s.registry.reading()
        assert buffer.limit <= 8
        for _ in range(1_000):
            with otel_studio.service("shop").operation("pay"):
                pass
        for _ in range(6):
            with otel_studio.service("shop").operation("pay"):
                pass
            s.registry.reading()
        assert buffer.limit == 1_024


def test_weights_are_those_of_texts_wherever_they_are() -> None:
    """In attributes, events, failures and what led to them, links and sequences."""
    with isolated() as s:
        with trace.get_tracer("t").start_as_current_span("a") as span:
            span.set_attribute("list", ["x" * 1_000, "y" * 1_000])
            span.add_event("event", {"text": "z" * 3_000})
            span.add_link(trace.SpanContext(1, 2, is_remote=True), {"link": "l" * 2_000})
            error = ValueError("v" * 2_000)
            error.__cause__ = KeyError("k" * 2_000)
            span.record_exception(error)
            span.set_status(trace.StatusCode.ERROR, "it failed")
        (run,) = s.spans
        found: Any = run
        assert 11_000 < weight_of(found) < 13_000
        assert weight_of_runs((found,)) == weight_of(found)
        light, _ = cut_to(found, 2_048)
        assert light.start_time == run.start_time
        assert light._status_description == run.status.description


def test_operations_of_all_services_are_bounded_together() -> None:
    """One service's count against the others'; what goes past is counted in its own service."""
    with isolated(max_operations=5) as s:
        for service in ("a", "b", "c"):
            for number in range(4):
                with otel_studio.service(service).operation(f"op {number}"):
                    pass
        with otel_studio.service("c").operation("still runs"):
            found = {name: set(s.operations(name)) for name in ("a", "b", "c")}
        assert found["a"] == {"op 0", "op 1", "op 2", "op 3"}
        assert found["b"] == {"op 0", "__other__"}
        assert found["c"] == {"__other__"}
        assert s.operation("b", "__other__").count == 3
        assert s.operation("c", "__other__").count == 5
        overflowed = read(s.registry.reading(), dict).whole().overflowed
        assert overflowed == {"b": 3, "c": 5}
