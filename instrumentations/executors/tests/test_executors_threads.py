"""Thread pools: counts, waits, saturation, context, and what must stay as it was."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import BrokenExecutor, CancelledError, ThreadPoolExecutor
from importlib.metadata import entry_points
from typing import Any

import otel_studio_instrumentation_executors as measured
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import StatusCode
from otel_studio_instrumentation_executors.naming import function_name

from parts import need

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


class Blocker:
    """A task that runs until it is let go, so that tests decide what waits and what runs."""

    def __init__(self) -> None:
        self.running = threading.Semaphore(0)
        self.released = threading.Event()

    def __call__(self) -> None:
        self.running.release()
        assert self.released.wait(10)

    def wait_for(self, count: int) -> None:
        """Wait until so many run."""
        for _ in range(count):
            assert self.running.acquire(timeout=10)


def test_what_waits_and_what_runs_is_told(executors: Any) -> None:
    """With two workers busy and three tasks waiting, the pool is saturated and says so."""
    block = Blocker()
    with ThreadPoolExecutor(2, thread_name_prefix="resize") as pool:
        for _ in range(5):
            pool.submit(block)
        block.wait_for(2)
        now = executors.pool("resize")
        assert (now.kind, now.executors, now.workers) == ("thread", 1, 2)
        assert (now.queued, now.running, now.saturation) == (3, 2, 1.0)
        key = (("executor.kind", "thread"), ("executor.name", "resize"))
        assert executors.metric("otel_studio.executor.queued")[key] == 3
        assert executors.metric("otel_studio.executor.running")[key] == 2
        assert executors.metric("otel_studio.executor.workers")[key] == 2
        assert executors.metric("otel_studio.executor.saturation")[key] == 1.0
        block.released.set()
    done = executors.pool("resize")
    assert (done.queued, done.running, done.completed, done.submitted) == (0, 0, 5, 5)
    assert (done.executors, done.workers, done.saturation) == (0, None, None)


def test_waits_are_kept_apart_from_runs(executors: Any) -> None:
    """A task that waited 3 s and ran 1 s says both, and its pool the means and the share."""
    block = Blocker()
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as pool:
        first = pool.submit(block)
        block.wait_for(1)
        second = pool.submit(executors.clock.advance, 1)
        executors.clock.advance(3)
        block.released.set()
        first.result()
        second.result()
    figures = executors.pool("encode")
    assert (figures.average_wait_ms, figures.max_wait_ms) == (1500.0, 3000.0)
    assert (figures.average_run_ms, figures.max_run_ms) == (2000.0, 3000.0)
    assert figures.wait_share == 3 / 7
    key = (("executor.kind", "thread"), ("executor.name", "encode"))
    assert executors.metric("otel_studio.executor.task.wait_time")[key] == 3.0
    assert executors.metric("otel_studio.executor.task.run_time")[key] == 4.0
    waited = [span.attributes["executor.wait_time"] for span in executors.spans()]
    assert waited == [0.0, 3.0]


def test_the_context_is_carried_across(executors: Any) -> None:
    """A task sees the submitter's variables and span; what it sets stays its own."""

    def task() -> str:
        seen = tenant.get()
        tenant.set("changed")
        return seen

    tenant.set("alice")
    tracer = executors.tracer_provider.get_tracer("caller")
    with ThreadPoolExecutor(1) as pool:
        with tracer.start_as_current_span("request") as request:
            assert pool.submit(task).result() == "alice"
            assert list(pool.map(lambda _: task(), range(3))) == ["alice"] * 3
            inner = pool.submit(lambda: trace.get_current_span().get_span_context()).result()
        assert tenant.get() == "alice"
        alone = pool.submit(trace.get_current_span).result()
    tasks = [span for span in executors.spans() if span.instrumentation_scope.name == "executors"]
    assert {span.parent.span_id for span in tasks[:5]} == {request.get_span_context().span_id}
    assert inner.trace_id == request.get_span_context().trace_id
    assert tasks[-1].parent is None
    assert alone.get_span_context().span_id == tasks[-1].context.span_id


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("no"), "error"),
        (SystemExit(3), "error"),
        (SystemExit(0), "ok"),
        (StopIteration(), "ok"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_the_outcome_of_a_task_is_what_otel_studio_says(
    executors: Any, error: BaseException, outcome: str
) -> None:
    """What only steers the program is no error of the task's span."""

    def fail() -> None:
        raise error

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(fail).exception() is error
    [span] = executors.spans()
    assert span.status.is_ok == (outcome != "error")
    assert span.attributes.get("studio.outcome") == (
        "cancelled" if outcome == "cancelled" else None
    )


def test_failed_and_cancelled_tasks_are_told_apart(executors: Any) -> None:
    """A raised exception is a failure and passes unchanged; a task that never ran is cancelled."""
    error = KeyError("missing")

    def fail() -> None:
        raise error

    block = Blocker()
    with ThreadPoolExecutor(1, thread_name_prefix="mixed") as pool:
        pool.submit(block)
        block.wait_for(1)
        failing = pool.submit(fail)
        waiting = pool.submit(fail)
        assert waiting.cancel()
        assert executors.pool("mixed").cancelled == 1
        assert executors.pool("mixed").queued == 1
        block.released.set()
        assert failing.exception() is error
        with pytest.raises(CancelledError):
            waiting.result()
    figures = executors.pool("mixed")
    assert (figures.completed, figures.failed, figures.cancelled) == (1, 1, 1)
    failed = executors.spans()[-1]
    assert failed.name.endswith("fail")
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "KeyError"
    outcomes = executors.metric("otel_studio.executor.task.count")
    assert sorted(outcomes.values()) == [0, 0, 0, 1, 1, 1]


def test_a_shutdown_that_cancels_leaves_nothing_waiting(executors: Any) -> None:
    """`shutdown(cancel_futures=True)` counts the waiting tasks as cancelled."""
    block = Blocker()
    pool = ThreadPoolExecutor(1, thread_name_prefix="closing")
    for _ in range(4):
        pool.submit(block)
    block.wait_for(1)
    pool.shutdown(wait=False, cancel_futures=True)
    block.released.set()
    pool.shutdown()
    figures = executors.pool("closing")
    assert (figures.completed, figures.cancelled, figures.queued) == (1, 3, 0)


def test_a_pool_that_is_closed_or_broken_says_so_as_ever(executors: Any) -> None:
    """Errors of the pool itself are raised unchanged; what it did not take is not counted."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="shut")
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(len, "a")
    with pytest.raises(TypeError):
        pool.submit()  # type: ignore[call-arg]
    assert executors.pool("shut").submitted == 0

    broken = ThreadPoolExecutor(1, "broken", initializer=int, initargs=("x",))
    with pytest.raises(BrokenExecutor):
        broken.submit(len, "a").result()
    broken.shutdown()
    figures = executors.pool("broken")
    assert (figures.failed, figures.queued, figures.average_run_ms) == (1, 0, None)


def test_nothing_of_a_task_is_kept(executors: Any) -> None:
    """Arguments, results and context values are free as soon as the caller drops the future."""

    class Thing:
        pass

    def task(thing: Thing) -> None:
        raise ValueError

    def submit(pool: ThreadPoolExecutor) -> list[weakref.ref[Thing]]:
        argument, in_context = Thing(), Thing()
        variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("thing")
        future = contextvars.copy_context().run(
            lambda: (variable.set(in_context), pool.submit(task, argument))[1]
        )
        assert future.exception() is not None
        return [weakref.ref(argument), weakref.ref(in_context)]

    with ThreadPoolExecutor(1) as pool:
        gc.disable()
        try:
            kept = submit(pool)
            pool.submit(len, "a").result()  # the worker drops its last task when it takes another
            assert [each() for each in kept] == [None, None]
        finally:
            gc.enable()


def test_pools_themselves_are_not_kept_alive(executors: Any) -> None:
    """A dropped pool is collected, and its past stays in the figures."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="short")
    pool.submit(len, "a").result()
    pool.shutdown()
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    assert (executors.pool("short").completed, executors.pool("short").executors) == (1, 0)


def test_counts_are_exact_under_many_threads(executors: Any) -> None:
    """Eight threads that submit at once to one pool lose no task."""
    with ThreadPoolExecutor(4, thread_name_prefix="busy") as pool:

        def submit_many() -> None:
            for _ in range(250):
                pool.submit(len, "a")

        threads = [threading.Thread(target=submit_many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    figures = executors.pool("busy")
    assert (figures.submitted, figures.completed, figures.queued) == (2000, 2000, 0)
    assert figures.running == 0


async def test_the_loops_own_pool_and_to_thread_are_measured(executors: Any) -> None:
    """`to_thread` and `run_in_executor` name the function that runs."""
    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(json.dumps, [1]) == "[1]"
    assert await loop.run_in_executor(None, len, "abc") == 3
    assert [span.name for span in executors.spans()] == ["json.dumps", "len"]
    assert executors.pool("asyncio").completed == 2


def test_pools_have_names_that_do_not_grow(executors: Any) -> None:
    """Pools without a prefix count together; a hundred names are kept apart, then one for all."""
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(len, "a")
    assert executors.pool("ThreadPoolExecutor").completed == 3
    for number in range(120):
        with ThreadPoolExecutor(1, thread_name_prefix=f"tenant-{number}") as pool:
            pool.submit(len, "a")
    assert len(measured.pools()) == 101
    assert sum(each.completed for each in measured.pools()) == 123
    assert executors.pool("__other__").completed > 20


def test_a_pool_can_be_named(executors: Any) -> None:
    """`name_executor` moves a pool to a name; anything else is refused in one sentence."""
    with ThreadPoolExecutor(3) as pool:
        pool.submit(len, "a").result()
        measured.name_executor(pool, "previews")
        pool.submit(len, "a").result()
        assert (executors.pool("previews").completed, executors.pool("previews").workers) == (1, 3)
        assert executors.pool("ThreadPoolExecutor").executors == 0
    with pytest.raises(TypeError, match="give a ThreadPoolExecutor or a ProcessPoolExecutor"):
        measured.name_executor(3, "x")  # type: ignore[arg-type]


def test_functions_are_named_through_their_wrappers() -> None:
    """Partials, methods and callables are named by what they run."""

    class Callable:
        def __call__(self) -> None: ...

    assert function_name(functools.partial(functools.partial(json.loads), "1")) == "json.loads"
    assert function_name("a".join) == "str.join"
    assert function_name(Callable()).endswith("Callable")
    assert len(function_name(type("x" * 500, (), {"__call__": len})())) == 200


def test_suppressed_tasks_are_left_alone(executors: Any) -> None:
    """Inside `suppress_instrumentation` nothing is wrapped."""
    with suppress_instrumentation(), ThreadPoolExecutor(1, "quiet") as pool:
        assert pool.submit(len, "abc").result() == 3
    assert executors.spans() == []


def test_uninstrument_restores(executors: Any) -> None:
    """The methods are the originals again, and a running task is still counted to its end."""
    block = Blocker()
    with ThreadPoolExecutor(1, "last") as pool:
        pool.submit(block)
        block.wait_for(1)
        measured.ExecutorsInstrumentor().uninstrument()
        assert not hasattr(ThreadPoolExecutor.submit, "__wrapped__")
        assert not hasattr(asyncio.BaseEventLoop.create_task, "__wrapped__")
        pool.submit(len, "a")
        block.released.set()
    executors.instrument()
    assert executors.pool("last").completed == 1
    assert len(executors.metric("otel_studio.executor.queued")) == 2


def test_tasks_are_operations_of_otel_studio(executors: Any) -> None:
    """In its registry a task is a run of the service `executors`, within the caller's trace."""
    studio = pytest.importorskip("otel_studio", reason="OTel Studio is not installed")
    measured.ExecutorsInstrumentor().uninstrument()
    with studio.isolated() as isolated:
        measured.ExecutorsInstrumentor().instrument(tracer_provider=isolated.tracer_provider)

        @studio.track("convert", service="previews")
        def convert() -> None:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(json.dumps, [1]).result()
                pool.submit(json.loads, "no").exception()

        convert()
        operations = studio.api.get_service_metrics("executors").operation_metrics
        runs = studio.api.get_recent_operations()
    assert (operations["json.dumps"].count, operations["json.dumps"].errors) == (1, 0)
    assert (operations["json.loads"].count, operations["json.loads"].errors) == (1, 1)
    assert len({run.trace_id for run in runs}) == 1


def test_opentelemetry_instrument_picks_it_up() -> None:
    """The entry point is there, and zero-code instrumentation turns it on."""
    (entry,) = entry_points(group="opentelemetry_instrumentor", name="executors")
    assert entry.load() is measured.ExecutorsInstrumentor
    script = """
        from concurrent.futures import ThreadPoolExecutor
        from otel_studio_instrumentation_executors import pools
        with ThreadPoolExecutor(1, "auto") as pool:
            pool.submit(len, "a")
        print([each.completed for each in pools() if each.name == "auto"])
    """
    command = [str(need("opentelemetry-instrument")), sys.executable, "-c", textwrap.dedent(script)]
    exporters = {f"OTEL_{kind}_EXPORTER": "none" for kind in ("TRACES", "METRICS", "LOGS")}
    done = subprocess.run(command, env={**os.environ, **exporters}, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[1]", done.stderr
