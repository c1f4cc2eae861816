"""Services, runs that are ended by hand, and runs measured elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading

import pytest
from opentelemetry import trace

import otel_studio
from otel_studio import api, service
from otel_studio.base.clock import ManualClock
from otel_studio.testing.isolation import isolated

SERVICE = "cache-service"


def test_a_service_is_registered_at_once_and_is_the_same_for_the_same_name(s):
    """It shows up before it has run anything."""
    cache = service("declared-only")
    assert service("declared-only") is cache
    assert cache.name == "declared-only"
    found = api.get_service_metrics("declared-only")
    assert found is not None
    assert found.total_operations == 0
    assert found.error_rate is None


def test_a_tracker_completes(s):
    """`start_operation` is active until `complete`, and does not become current."""
    with service(SERVICE).operation("parent"):
        outer = trace.get_current_span()
        tracker = service(SERVICE).start_operation("get", attributes={"key": "a"})
        assert trace.get_current_span() is outer
    s.assert_operation(SERVICE, "get", count=0, active=1)
    tracker.set_attribute("hit", True)
    tracker.complete()
    s.assert_operation(
        SERVICE,
        "get",
        count=1,
        active=0,
        outcome="ok",
        attributes={"key": "a", "hit": True},
        parent="parent",
    )


@pytest.mark.parametrize("error", [ValueError("no"), "no room"])
def test_a_tracker_fails(s, error):
    """`fail` takes an exception or a sentence."""
    service(SERVICE).start_operation("get").fail(error)
    metrics = s.assert_operation(SERVICE, "get", count=1, errors=1, active=0, outcome="error")
    assert str(error) in metrics.last_error


def test_a_tracker_may_end_in_another_thread(s):
    """It belongs to no context."""
    tracker = service(SERVICE).start_operation("get")
    thread = threading.Thread(target=tracker.complete)
    thread.start()
    thread.join()
    s.assert_operation(SERVICE, "get", count=1, active=0)


@pytest.mark.parametrize("second", ["complete", "fail"])
@pytest.mark.parametrize("first", ["complete", "fail"])
def test_a_second_end_is_ignored_and_logged_once(s, said, first, second):
    """The first end stands, whatever follows, and the log says so one time."""
    arguments = {"complete": (), "fail": ("broken",)}
    for _ in range(3):
        tracker = service(SERVICE).start_operation("get")
        getattr(tracker, first)(*arguments[first])
        getattr(tracker, second)(*arguments[second])
    errors = 3 if first == "fail" else 0
    s.assert_operation(SERVICE, "get", count=3, errors=errors, active=0)
    assert said.text.count("has ended already") == 1
    assert "cache-service/get" in said.text


def test_a_dropped_tracker_is_abandoned_and_warned_of_once(s, said):
    """It leaves the active count, adds nothing to count or duration, and is said once."""
    for _ in range(3):
        tracker = service(SERVICE).start_operation("get")
        s.assert_operation(SERVICE, "get", active=1)
        del tracker
        gc.collect()
    s.assert_operation(SERVICE, "get", count=0, active=0, abandoned=3, errors=0)
    assert s.operation(SERVICE, "get").total_duration_ms == 0
    assert said.text.count("abandoned") == 1


def test_a_run_that_was_measured_elsewhere():
    """Its duration is what was given, in seconds, to the nanosecond."""
    with isolated(clock=ManualClock()) as s:
        cache = service(SERVICE)
        cache.record_operation("get", duration=0.012, attributes={"key": "a"})
        cache.record_operation("get", 0.036, error=TimeoutError("slow"))
        cache.record_operation("get", 0, error="no room")
        metrics = s.assert_operation(SERVICE, "get", count=3, errors=2, active=0)
        assert metrics.total_duration_ms == 48
        assert metrics.max_duration_ms == 36
        assert s.runs(SERVICE, "get")[-1].attributes["key"] == "a"


@pytest.mark.parametrize("kind", ["block", "current", "tracker"])
@pytest.mark.parametrize(
    ("error", "outcome"),
    [("no room", "error"), (ValueError("no"), "error"), (asyncio.CancelledError(), "cancelled")],
    ids=["sentence", "exception", "cancellation"],
)
def test_every_run_has_the_same_view(s, kind, error, outcome):
    """A block, the current operation and a tracker take attributes and failures alike."""
    with contextlib.ExitStack() as stack:
        if kind == "tracker":
            run = service(SERVICE).start_operation("get")
        else:
            run = stack.enter_context(service(SERVICE).operation("get"))
            if kind == "current":
                run = otel_studio.current_operation()
        run.set_attribute("key", "a")
        run.set_attributes({"hit": True, "size": 3})
        run.fail(error)
        trace_id = run.trace_id
    s.assert_operation(
        SERVICE, "get", count=1, outcome=outcome, attributes={"key": "a", "hit": True, "size": 3}
    )
    assert s.runs(SERVICE, "get")[0].trace_id == trace_id


def test_a_run_says_what_it_is(s):
    """Its operation, whether it runs, and its trace."""
    with service(SERVICE).operation("get") as op:
        traced = f"trace_id={op.trace_id}"
        assert repr(op) == f"<OperationRun {SERVICE}/get, running, {traced}>"
        assert repr(otel_studio.current_operation()) == repr(op)
        tracker = service(SERVICE).start_operation("set")
    assert repr(op) == f"<OperationRun {SERVICE}/get, {traced}>"
    assert repr(tracker) == f"<Tracker {SERVICE}/set, running, {traced}>"
    tracker.complete()
    assert repr(tracker) == f"<Tracker {SERVICE}/set, {traced}>"
    assert repr(service(SERVICE).operation("get")) == f"<OperationRun {SERVICE}/get>"


def test_a_run_that_was_measured_elsewhere_on_any_provider(s):
    """The SDK's provider counts the given duration too, not the microseconds of the call."""
    service(SERVICE).record_operation("get", duration=2.5)
    metrics = s.assert_operation(SERVICE, "get", count=1, outcome="ok")
    assert metrics.max_duration_ms == pytest.approx(2500, abs=0.01)


def test_names_without_bound_are_not_kept(s):
    """Ids in names are unwise; they fill neither the service nor the registry."""
    many = service("careless")
    for number in range(1_200):
        with many.operation(f"get {number}"):
            pass
    assert len(many._bindings) <= 1_000
    operations = s.operations("careless")
    assert len(operations) == 1_001
    assert operations["__other__"].count == 200


def test_before_configure_operations_run_and_cost_nothing():
    """Without a Studio, code under `track` works; queries say that nothing runs."""
    with service(SERVICE).operation("early") as op:
        op.set_attribute("a", 1)
        op.fail("no")
    service(SERVICE).start_operation("early").complete()
    service(SERVICE).record_operation("early", 0.1)
    with pytest.raises(otel_studio.NotConfigured, match=r"call otel_studio\.configure\(\)"):
        api.get_all_metrics()


def test_what_was_bound_early_follows_the_provider():
    """An operation that ran before a Studio started is seen by it, and by the next one."""
    cache = service(SERVICE)
    with cache.operation("get"):
        pass
    for _ in range(2):
        with isolated() as s:
            with cache.operation("get"):
                pass
            s.assert_operation(SERVICE, "get", count=1)
