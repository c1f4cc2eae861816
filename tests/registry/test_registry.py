"""The registry: exact counts of everything, bounded memory, nothing invented."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import StatusCode

import otel_studio
from otel_studio import api
from otel_studio.base import guard
from otel_studio.base.clock import ManualClock
from otel_studio.testing.isolation import IncrementalIds, Isolated, isolated

runs = st.lists(
    st.tuples(
        st.sampled_from(["cache", "jobs"]),
        st.sampled_from(["get", "put"]),
        st.floats(min_value=0, max_value=100),
        st.sampled_from([None, "ValueError", "KeyError"]),
        st.booleans(),
    ),
    max_size=60,
)
ERRORS = {"ValueError": ValueError, "KeyError": KeyError}


@settings(deadline=None, max_examples=60)
@given(runs)
def test_statistics_equal_a_plain_count(recorded: list[Any]) -> None:
    """Counts, sums, extremes and errors equal what a list of the runs says, whenever it folds."""
    with isolated(clock=ManualClock()) as s:
        expected: dict[tuple[str, str], list[tuple[float, str | None]]] = {}
        for service, name, seconds, error, look in recorded:
            otel_studio.service(service).record_operation(
                name, duration=seconds, error=ERRORS[error]("x") if error else None
            )
            expected.setdefault((service, name), []).append((round(seconds * 1e9) / 1e6, error))
            if look:
                api.get_all_metrics()
        for (service, name), rows in expected.items():
            found = s.operation(service, name)
            times = [time for time, _ in rows]
            assert found.count == len(rows)
            assert found.errors == sum(error is not None for _, error in rows)
            assert found.total_duration_ms == pytest.approx(sum(times))
            assert found.min_duration_ms == pytest.approx(min(times))
            assert found.max_duration_ms == pytest.approx(max(times))
            buckets = api.get_latency_buckets(service, name)
            assert sum(bucket.count for bucket in buckets) == len(rows)
            assert all((bucket.sample is not None) == (bucket.count > 0) for bucket in buckets)
        statistics = api.get_error_statistics()
        assert statistics.total_operations == len(recorded)
        assert statistics.total_errors == sum(row[3] is not None for row in recorded)


def test_percentiles_are_within_their_error(otel_studio: Isolated) -> None:
    """p50, p95 and p99 of a thousand runs are at most 1.1% off."""
    service = service_named("percentiles")
    for milliseconds in range(1, 1001):
        service.record_operation("op", duration=milliseconds / 1000)
    found = otel_studio.operation("percentiles", "op")
    assert found.p50_duration_ms == pytest.approx(500, rel=0.011)
    assert found.p95_duration_ms == pytest.approx(950, rel=0.011)
    assert found.p99_duration_ms == pytest.approx(990, rel=0.011)
    assert found.avg_duration_ms == pytest.approx(500.5)


def service_named(name: str) -> Any:
    return otel_studio_module().service(name)


def otel_studio_module() -> Any:
    import otel_studio as module

    return module


def test_an_operation_that_has_not_ended_has_no_durations(otel_studio: Isolated) -> None:
    """Before the first run every duration is `None`, never zero or infinity."""
    tracker = service_named("cache").start_operation("get")
    found = otel_studio.operation("cache", "get")
    assert (found.count, found.active) == (0, 1)
    assert found.min_duration_ms is None
    assert found.avg_duration_ms is None
    assert found.p99_duration_ms is None
    assert found.last_error is None
    assert found.last_operation_time is None
    tracker.complete()
    assert otel_studio.operation("cache", "get").active == 0


def test_a_declared_service_is_known_at_once(otel_studio: Isolated) -> None:
    """`service(name)` registers it, before anything runs."""
    service_named("declared-service")
    summary = api.get_service_metrics("declared-service")
    assert summary is not None
    assert (summary.total_operations, summary.error_rate) == (0, None)
    assert summary.operation_metrics == {}


def test_an_unknown_service_is_none_and_cannot_be_reset(otel_studio: Isolated) -> None:
    """A query for it returns `None`; a reset says which services there are."""
    service_named("known")
    assert api.get_service_metrics("nobody") is None
    with pytest.raises(
        api.ServiceNotFound, match=r"no service is called 'nobody': known are .*known"
    ):
        api.reset_service_metrics("nobody")


def test_a_reset_while_operations_run_leaves_nothing_negative(otel_studio: Isolated) -> None:
    """What runs across a reset is counted once, when it ends."""
    cache = service_named("cache")
    tracker = cache.start_operation("get")
    cache.record_operation("get", duration=1, error="no")
    api.reset_service_metrics("cache")
    found = otel_studio.operation("cache", "get")
    assert (found.count, found.errors, found.active) == (0, 0, 1)
    otel_studio.clock.advance(0.5)
    tracker.complete()
    found = otel_studio.operation("cache", "get")
    assert (found.count, found.errors, found.active) == (1, 0, 0)
    assert found.total_duration_ms == 500


def test_past_the_limit_operations_share_one_row(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The service's name is in the one warning, and no run is lost."""
    guard.forget_said()
    with (
        isolated(max_operations_per_service=10) as s,
        caplog.at_level(logging.WARNING, "otel_studio"),
    ):
        service = otel_studio.service("crowded")
        for number in range(50):
            service.record_operation(f"user-{number}", duration=0.001)
        summary = api.get_service_metrics("crowded")
        assert summary is not None
        assert summary.total_operations == 50
        assert len(summary.operation_metrics) == 11
        assert summary.operation_metrics["__other__"].count == 40
        assert s.registry.reading().services["crowded"].whole().overflowed == 40
    warnings = [r for r in caplog.records if "crowded" in r.getMessage()]
    assert len(warnings) == 1


def test_the_rate_looks_back_a_minute(otel_studio: Isolated) -> None:
    """Operations per second over 60 s, or since the start when that is shorter."""
    service = service_named("rated")
    for _ in range(60):
        otel_studio.clock.advance(1)
        service.record_operation("op", duration=0)
        api.get_all_metrics()
    summary = api.get_service_metrics("rated")
    assert summary is not None
    assert summary.operations_per_second == pytest.approx(1, rel=0.05)
    assert summary.uptime_seconds == pytest.approx(60)
    otel_studio.clock.advance(61)
    later = api.get_service_metrics("rated")
    assert later is not None
    assert later.operations_per_second == 0


def test_recent_runs_come_newest_first_and_can_be_chosen(otel_studio: Isolated) -> None:
    """Each run with its time, outcome, error, ids and attributes; filters narrow them."""
    cache, jobs = service_named("cache"), service_named("jobs")
    for number in range(3):
        otel_studio.clock.advance(1)
        with cache.operation("get") as op:
            op.set_attribute("number", number)
            otel_studio.clock.advance(0.25)
    jobs.record_operation("run", duration=0.1, error=ValueError("no"))
    found = api.get_recent_operations()
    assert [(run.operation, run.attributes.get("number")) for run in found] == [
        ("run", None),
        ("get", 2),
        ("get", 1),
        ("get", 0),
    ]
    assert found[0].outcome == "error"
    assert found[0].error == "ValueError: no"
    assert found[1].duration_ms == 250
    assert found[1].trace_id == f"{3:032x}"
    assert [run.operation for run in api.get_recent_operations(service="jobs")] == ["run"]
    assert len(api.get_recent_operations(outcome="ok", limit=2)) == 2
    with pytest.raises(ValueError, match="one of ok, error, cancelled"):
        api.get_recent_operations(outcome="fine")
    with pytest.raises(ValueError, match="'abandoned': give one of ok, error, cancelled"):
        api.get_recent_operations(outcome="abandoned")
    with pytest.raises(ValueError, match="at least 1"):
        api.get_recent_operations(limit=0)


def test_slow_operations_show_where_the_time_went(otel_studio: Isolated) -> None:
    """The slowest runs come with attributes and the split over child operations."""
    service = service_named("shop")
    for seconds in (1, 3, 2):
        with service.operation("checkout") as op:
            op.set_attribute("seconds", seconds)
            otel_studio.clock.advance(0.5)
            for _ in range(2):
                with service.operation("pay"):
                    otel_studio.clock.advance(seconds / 2)
    service.record_operation("quick", duration=0.001)
    found = api.get_slow_operations(limit=2, by="max")
    assert [row.operation for row in found] == ["checkout", "pay"]
    slowest = found[0].samples[0]
    assert slowest.attributes == {"seconds": 3}
    assert slowest.duration_ms == 3500
    assert [(s.operation, s.duration_ms, s.count) for s in slowest.time_split] == [
        ("pay", 3000.0, 2),
        ("self", 500.0, 1),
    ]
    assert [s.duration_ms for s in found[0].samples] == [3500, 2500, 1500]
    assert {
        by: api.get_slow_operations(1, by)[0].operation for by in ("avg", "p95", "p99", "total")
    } == {
        "avg": "checkout",
        "p95": "checkout",
        "p99": "checkout",
        "total": "checkout",
    }
    with pytest.raises(ValueError, match="one of avg, max, p95, p99, total"):
        api.get_slow_operations(by="median")


def raise_here(kind: type[Exception]) -> None:
    raise kind("from here")


def raise_there() -> None:
    raise ValueError("from there")


def test_errors_group_by_type_and_place(otel_studio: Isolated) -> None:
    """One group per exception type and function, without line numbers, with a stack and traces."""
    service = service_named("shop")
    for kind in (ValueError, ValueError, KeyError):
        otel_studio.clock.advance(1)
        with pytest.raises(kind), service.operation("pay"):
            raise_here(kind)
    with pytest.raises(ValueError, match="there"), service.operation("refund"):
        raise_there()
    with service.operation("send") as op:
        op.fail("no answer")
    service.record_operation("send", duration=0.1)
    statistics = api.get_error_statistics()
    assert (statistics.total_errors, statistics.total_operations) == (5, 6)
    assert statistics.overall_error_rate == pytest.approx(5 / 6)
    found = statistics.by_service["shop"]
    groups = {(g.error_type, g.place.rpartition(" ")[2]): g for g in found.groups}
    assert {key: group.count for key, group in groups.items()} == {
        ("ValueError", "raise_here"): 2,
        ("KeyError", "raise_here"): 1,
        ("ValueError", "raise_there"): 1,
        ("_OTHER", "send"): 1,
    }
    group = groups["ValueError", "raise_here"]
    assert group.place.endswith("test_registry.py in raise_here")
    assert group.first_seen is not None
    assert group.last_seen is not None
    assert group.first_seen < group.last_seen
    assert group.trace_ids == [f"{1:032x}", f"{2:032x}"]
    assert group.sample_stack is not None
    assert "raise kind(" in group.sample_stack
    assert group.sample_stack.endswith("ValueError: from here\n")
    assert {o.operation: (o.errors, o.total) for o in found.operations_with_errors} == {
        "pay": (3, 3),
        "refund": (1, 1),
        "send": (1, 2),
    }
    assert groups["_OTHER", "send"].message == "no answer"


def test_error_groups_are_bounded() -> None:
    """Past the limit failures share one group, and are counted."""
    with isolated(error_groups_per_service=3) as s:
        service = otel_studio.service("shop")
        for number in range(10):
            service.record_operation("op", duration=0, error=type(f"E{number}", (Exception,), {})())
        found = api.get_error_statistics().by_service["shop"]
        assert len(found.groups) == 4
        assert found.groups[0].error_type == "__other__"
        assert found.groups[0].count == 7
        assert s.registry.reading().services["shop"].whole().groups_overflowed == 7


def test_spans_of_other_instrumentations_are_services_of_their_own(otel_studio: Isolated) -> None:
    """A span made through OpenTelemetry's API counts under its scope's name, failures included."""
    from opentelemetry import trace

    tracer = trace.get_tracer("contrib.scope")
    with tracer.start_as_current_span("GET /") as span:
        otel_studio.clock.advance(0.1)
        span.set_status(StatusCode.ERROR, "500")
    span = tracer.start_span("typed")
    span.set_attribute("error.type", "504")
    span.set_status(StatusCode.ERROR)
    span.end()
    otel_studio.assert_operation("contrib.scope", "GET /", count=1, errors=1, outcome="error")
    groups = api.get_error_statistics().by_service["contrib.scope"].groups
    assert sorted(group.error_type for group in groups) == ["504", "_OTHER"]


def test_running_operations_show_their_age_and_stack(otel_studio: Isolated) -> None:
    """A thread's operation shows that thread's stack; a task's, its own chain of awaits."""
    service = service_named("shop")
    with service.operation("pay"):
        otel_studio.clock.advance(2)
        (found,) = api.get_active_operations()
    assert (found.service, found.operation, found.age_seconds) == ("shop", "pay", 2)
    assert found.thread == "MainThread"
    assert found.stack[-1].endswith("in test_running_operations_show_their_age_and_stack")

    @service.track("wait")
    async def waiting(gate: asyncio.Event) -> None:
        await gate.wait()

    async def main() -> None:
        gate = asyncio.Event()
        task = asyncio.create_task(waiting(gate), name="the task")
        await asyncio.sleep(0)
        (found,) = api.get_active_operations()
        assert found.task == "the task"
        assert found.stack[0].endswith("<locals>.waiting")
        assert found.stack[-1].endswith("in Event.wait")
        assert api.get_active_operations_count().to_dict() == {
            "total": 1,
            "by_service": {"shop": 1},
        }
        gate.set()
        await task

    asyncio.run(main())
    assert api.get_active_operations_count().total == 0


def test_head_sampling_leaves_the_statistics_exact() -> None:
    """With 1% of the traces exported, every run is counted, and exported traces are whole."""
    with isolated(sampler="parentbased_traceidratio", sampler_arg=0.01) as s:
        service = otel_studio.service("shop")
        for _ in range(5_000):
            with service.operation("outer"), service.operation("inner"):
                pass
        assert s.operation("shop", "outer").count == 5_000
        assert s.operation("shop", "inner").count == 5_000
        sampled: dict[int, list[str]] = {}
        for span in s.spans:
            if span.context.trace_flags & 1:
                sampled.setdefault(span.context.trace_id, []).append(span.name)
        assert 15 <= len(sampled) <= 110  # 50 expected; outside this once in 10 million runs
        assert all(names == ["inner", "outer"] for names in sampled.values())


def test_the_formats_say_the_same(otel_studio: Isolated) -> None:
    """JSON and CSV carry the same numbers; an unknown format names the known ones."""
    import csv
    import json

    service_named("cache").record_operation("get", duration=0.012)
    services = json.loads(api.export_metrics("json"))
    (row,) = csv.DictReader(api.export_metrics("csv").splitlines())
    metrics = services[0]["operation_metrics"]["get"]
    assert float(row["total_duration_ms"]) == metrics["total_duration_ms"] == 12
    assert row["last_error"] == ""
    with pytest.raises(ValueError, match="one of json, csv, prometheus"):
        api.export_metrics("xml")


def test_samples_keep_no_chain_of_ended_spans(otel_studio: Isolated) -> None:
    """A task that starts the next under its own span, for ever, keeps no ancestors alive."""
    import gc
    import weakref

    from opentelemetry import trace

    tracer = trace.get_tracer("chain")
    first = tracer.start_span("link")
    watched = weakref.ref(first)
    current = first
    del first
    for _ in range(100):
        following = tracer.start_span("link", context=trace.set_span_in_context(current))
        current.end()
        current = following
        del following
    current.end()
    api.get_all_metrics()
    otel_studio._spans.spans.clear()
    gc.collect()
    kept = otel_studio.registry.reading().services["chain"].whole().operations["link"]
    exemplars = kept.series[None, ()].exemplars
    assert watched() is None or watched() in kept.slowest or watched() in exemplars


def test_incremental_ids_are_per_isolation() -> None:
    """Each isolated Studio counts its ids from one."""
    for _ in range(2):
        with isolated(id_generator=IncrementalIds()) as s:
            with otel_studio.service("shop").operation("pay"):
                pass
            assert s.spans[0].context.trace_id == 1
