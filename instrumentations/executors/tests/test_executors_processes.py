"""Process pools: the trace and the times go across, results and exceptions come back unchanged."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import otel_studio_instrumentation_executors as measured
import pytest
from opentelemetry import baggage, context

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork.*:DeprecationWarning"  # said by Python 3.12 and later
)


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def process_pool(request: pytest.FixtureRequest, executors: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool of two workers, by each way of starting them, on the machine's own clock."""
    with pytest.MonkeyPatch.context() as patch:
        import time

        patch.setattr(measured._book, "monotonic_ns", time.monotonic_ns)
        methods = multiprocessing.get_context(request.param)
        with ProcessPoolExecutor(2, mp_context=methods) as pool:
            measured.name_executor(pool, "frames")
            yield pool


@pytest.fixture
def tasks(executors: Any) -> Any:
    """The module of tasks, importable in children."""
    import executors_child_tasks

    return executors_child_tasks


def test_the_trace_and_baggage_are_carried_across(
    executors: Any, process_pool: ProcessPoolExecutor, tasks: Any
) -> None:
    """A task in another process is in the submitter's trace, and sees its baggage."""
    tracer = executors.tracer_provider.get_tracer("caller")
    token = context.attach(baggage.set_baggage("tenant", "alice"))
    try:
        with tracer.start_as_current_span("request") as request:
            trace_id, span_id, seen, pid = process_pool.submit(tasks.where).result()
    finally:
        context.detach(token)
    assert trace_id == request.get_span_context().trace_id
    assert span_id != 0
    assert seen == "alice"
    assert pid != os.getpid()
    # Without a trace there is none in the child either, whatever ran there before.
    assert process_pool.submit(tasks.where).result()[2] is None


def test_waits_and_runs_are_measured_in_the_child(
    executors: Any, process_pool: ProcessPoolExecutor, tasks: Any
) -> None:
    """The run is the task's own time; results are what the tasks returned."""
    assert list(process_pool.map(tasks.work, [0.02] * 4)) == [0.02] * 4
    assert list(process_pool.map(tasks.double, range(6), chunksize=3)) == [0, 2, 4, 6, 8, 10]
    figures = executors.pool("frames")
    assert (figures.kind, figures.workers, figures.completed) == ("process", 2, 6)
    assert (figures.queued, figures.running) == (0, 0)
    assert figures.max_run_ms is not None
    assert figures.max_run_ms >= 20
    assert figures.average_wait_ms is not None
    assert figures.average_wait_ms > 0


def test_exceptions_come_back_unchanged(
    executors: Any, process_pool: ProcessPoolExecutor, tasks: Any
) -> None:
    """Type, arguments, own state and the remote traceback are as without the instrumentation."""
    error = process_pool.submit(tasks.fail, 7).exception()
    assert type(error) is ValueError
    assert error.args == ("code 7",)
    assert vars(error) == {"code": 7}
    assert "in fail" in str(error.__cause__)
    odd = process_pool.submit(tasks.fail_oddly, 8).exception()
    assert type(odd).__name__ == "OddError"
    assert vars(odd) == {"code": 8}
    figures = executors.pool("frames")
    assert (figures.failed, figures.completed) == (2, 0)
    assert figures.max_run_ms is not None


@pytest.mark.parametrize(
    "name", ["ByPartial", "BySetState", "ByValues", "ByProtocol", "Registered"]
)
def test_exceptions_that_are_made_anew_from_their_state(
    executors: Any, tasks: Any, name: str
) -> None:
    """Nothing of ours is in the state that they make themselves from; the pool survives them."""
    kind = getattr(tasks, name)
    with ProcessPoolExecutor(1) as pool:
        for _ in range(2):
            error = pool.submit(tasks.fail_by, kind).exception()
            assert type(error) is kind
            assert vars(error) == {"job": "resize", "code": 3}
            assert pickle.loads(pickle.dumps(error)).code == 3
            assert pool.submit(tasks.double, 2).result() == 4
    assert executors.pool("ProcessPoolExecutor").failed == 2


def test_an_exception_is_not_touched(executors: Any, tasks: Any) -> None:
    """It has no attribute of ours, in the child too, and one without any room for them is sent."""
    with ProcessPoolExecutor(1) as pool:
        with pytest.raises(tasks.Seen) as seen:
            pool.submit(tasks.fail_and_look).result(30)
        assert seen.value.attributes == ["code"]
        with pytest.raises(tasks.Slotted, match="7"):
            pool.submit(tasks.fail_slotted).result(30)
        with pytest.raises(ExceptionGroup) as group:
            pool.submit(tasks.fail_in_a_group).result(30)
        assert [type(each) for each in group.value.exceptions] == [ValueError, KeyError]
        assert pool.submit(tasks.double, 2).result(30) == 4


def test_one_that_cannot_be_made_anew_breaks_the_pool_as_ever(executors: Any, tasks: Any) -> None:
    """Python itself gives up a pool whose results cannot be read: no sooner with us, no later."""
    measured.ExecutorsInstrumentor().uninstrument()
    outcomes = []
    for is_followed in (False, True):
        if is_followed:
            measured.ExecutorsInstrumentor().instrument()
        with ProcessPoolExecutor(1) as pool:
            try:
                pool.submit(tasks.fail_unreadably).result(30)
            except Exception as error:
                outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


def test_what_cannot_be_sent_fails_as_ever(
    executors: Any, process_pool: ProcessPoolExecutor, tasks: Any
) -> None:
    """An argument or a result that cannot be pickled gives the pool's own error."""
    kinds = (pickle.PicklingError, AttributeError, TypeError)
    assert isinstance(process_pool.submit(lambda: None).exception(), kinds)
    assert isinstance(process_pool.submit(tasks.unpicklable).exception(), kinds)
    assert executors.pool("frames").failed == 2


def test_a_worker_that_dies_fails_what_was_in_flight(
    executors: Any, process_pool: ProcessPoolExecutor, tasks: Any
) -> None:
    """A crash breaks the pool as ever; its tasks count as failed and none stays in flight."""
    with pytest.raises(BrokenProcessPool):
        process_pool.submit(tasks.die).result()
    with pytest.raises(BrokenProcessPool):
        process_pool.submit(tasks.double, 1)
    figures = executors.pool("frames")
    assert (figures.failed, figures.submitted, figures.queued + figures.running) == (1, 1, 0)
    assert measured._processes._in_flight == {}


def test_what_is_in_flight_fills_the_workers(executors: Any, tasks: Any) -> None:
    """Of five tasks on two workers, two run and three wait; cancelled ones leave."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(tasks.work, 0.3) for _ in range(5)]
        figures = executors.pool("ProcessPoolExecutor")
        assert (figures.running, figures.queued, figures.saturation) == (2, 3, 1.0)
        assert futures[4].cancel()
        assert executors.pool("ProcessPoolExecutor").cancelled == 1
    figures = executors.pool("ProcessPoolExecutor")
    assert (figures.completed, figures.queued, figures.running) == (4, 0, 0)


def test_a_forked_child_counts_its_own_tasks_alone() -> None:
    """After a fork the figures are empty, and pools made there are measured."""
    script = """
        import os, threading, warnings
        warnings.simplefilter("ignore")
        from concurrent.futures import ThreadPoolExecutor
        from otel_studio_instrumentation_executors import ExecutorsInstrumentor, pools
        ExecutorsInstrumentor().instrument()
        release = threading.Event()
        pool = ThreadPoolExecutor(1, "parent")
        pool.submit(release.wait)
        pid = os.fork()
        if pid == 0:
            assert pools() == [], pools()
            with ThreadPoolExecutor(1, "child") as own:
                own.submit(len, "a").result()
            assert [(p.name, p.completed) for p in pools()] == [("child", 1)], pools()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        release.set()
        pool.shutdown()
        assert ("parent", 1) in [(p.name, p.completed) for p in pools()]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=30)
