"""Plain functions that return a coroutine or a future: the run is as long as what they return."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import inspect
import logging
import warnings
import weakref
from typing import Any

import pytest
from opentelemetry import trace

from otel_studio import api, current_operation, instrument, service, track

SERVICE = "followed"


async def answer(value: Any = 42) -> Any:
    """Return the value, a step of the loop later."""
    await asyncio.sleep(0)
    return value


@track("coroutine", service=SERVICE)
def coroutine(value: Any = 42) -> Any:
    """Not `async`, as a decorator's wrapper is."""
    return answer(value)


class OwnFuture(asyncio.Future):  # type: ignore[type-arg]
    """A future of the program's own."""


class OwnPoolFuture(concurrent.futures.Future):  # type: ignore[type-arg]
    """A pool's future of the program's own."""


async def test_a_coroutine_is_followed(s):
    """The run goes on until the coroutine ends, and its caller has a real coroutine."""
    found = coroutine("here")
    assert inspect.iscoroutine(found)
    assert asyncio.iscoroutine(found)
    assert found.__qualname__ == "answer"
    assert current_operation() is None
    s.assert_operation(SERVICE, "coroutine", active=1)
    assert await found == "here"
    s.assert_operation(SERVICE, "coroutine", count=1, active=0, outcome="ok")
    assert current_operation() is None


async def test_its_duration_is_that_of_the_coroutine():
    """By the clock: not what calling the function took."""
    from otel_studio.base.clock import ManualClock
    from otel_studio.testing.isolation import isolated

    clock = ManualClock()

    async def wait() -> None:
        clock.advance(2.5)
        await asyncio.sleep(0)

    @track("wait", service=SERVICE)
    def run() -> Any:
        return wait()

    with isolated(clock=clock) as s:
        await run()
        assert s.operation(SERVICE, "wait").max_duration_ms == pytest.approx(2_500)


async def test_what_runs_in_it_is_its_child(s):
    """The operation is current while the coroutine runs, and its caller never sees it."""
    seen = []

    @track("inner", service=SERVICE)
    async def inner() -> None:
        await asyncio.sleep(0)

    async def work() -> None:
        seen.append(trace.get_current_span())
        await inner()
        seen.append(trace.get_current_span())

    @track("outer", service=SERVICE)
    def outer() -> Any:
        return work()

    task = asyncio.create_task(outer())
    assert trace.get_current_span() is trace.INVALID_SPAN
    await task
    assert seen[0] is seen[1]
    assert seen[0] is not trace.INVALID_SPAN
    s.assert_operation(SERVICE, "inner", count=1, parent="outer")
    s.assert_operation(SERVICE, "outer", count=1, parent=None)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("no"), "error"),
        (KeyError("gone"), "ok"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
@pytest.mark.parametrize("kind", ["coroutine", "task", "future", "pool"])
async def test_its_outcome_is_that_of_what_it_returned(s, kind, error, outcome):
    """An error, an expected one, a cancellation; the caller gets the same object."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    @track("fail", service=SERVICE, expected=KeyError)
    def run() -> Any:
        if kind == "coroutine":
            return fail()
        if kind == "task":
            return asyncio.create_task(fail())
        made: Any = asyncio.Future() if kind == "future" else concurrent.futures.Future()
        if outcome == "cancelled":
            made.cancel()
        else:
            made.set_exception(error)
        return made

    returned = run()
    if kind == "pool":
        returned = asyncio.wrap_future(returned)
    with pytest.raises(type(error)) as raised:
        await returned
    if outcome != "cancelled":
        assert raised.value is error
    await asyncio.sleep(0)
    s.assert_operation(
        SERVICE,
        "fail",
        count=1,
        errors=outcome == "error",
        cancelled=outcome == "cancelled",
        active=0,
        outcome=outcome,
    )


@pytest.mark.parametrize("make", [asyncio.Future, OwnFuture, asyncio.futures._PyFuture])
async def test_a_future_is_returned_as_it_is(s, make):
    """The same object; its run ends when it is done."""
    future = make()

    @track("future", service=SERVICE)
    def run() -> Any:
        return future

    assert run() is future
    assert asyncio.isfuture(future)
    s.assert_operation(SERVICE, "future", active=1)
    future.set_result(1)
    assert await future == 1
    await asyncio.sleep(0)  # its callbacks are called in the loop's next turn
    s.assert_operation(SERVICE, "future", count=1, active=0, outcome="ok")
    assert run() is future
    s.assert_operation(SERVICE, "future", count=2, active=0)


@pytest.mark.parametrize("make", [concurrent.futures.Future, OwnPoolFuture])
def test_a_future_of_a_pool(s, make):
    """As asyncio's, in whichever thread it is done."""
    future = make()

    @track("future", service=SERVICE)
    def run() -> Any:
        return future

    assert run() is future
    s.assert_operation(SERVICE, "future", active=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(future.set_exception, ValueError("no")).result()
    s.assert_operation(SERVICE, "future", count=1, errors=1, active=0)
    assert isinstance(future.exception(), ValueError)


async def test_an_exception_that_nobody_retrieves_is_still_said(s, caplog):
    """Looking at a future does not silence asyncio's own warning."""

    @track("lost", service=SERVICE)
    def run() -> Any:
        return asyncio.get_running_loop().create_future()

    future = run()
    future.set_exception(ValueError("nobody looks"))
    await asyncio.sleep(0)
    s.assert_operation(SERVICE, "lost", count=1, errors=1)
    with caplog.at_level(logging.ERROR, "asyncio"):
        del future
        gc.collect()
    assert "exception was never retrieved" in caplog.text


def test_a_coroutine_that_is_never_awaited(s):
    """Python warns of it by its name, once, and the run is abandoned."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        coroutine()
        gc.collect()
        words = [str(one.message) for one in caught]
        del caught[:]  # a warning holds the coroutine that it is about
        gc.collect()
        words += [str(one.message) for one in caught]
    assert words == ["coroutine 'answer' was never awaited"]
    metrics = s.assert_operation(SERVICE, "coroutine", count=0, active=0)
    assert metrics.abandoned == 1


def test_a_coroutine_that_somebody_else_holds_is_left_alone(s):
    """What we do not hold alone is not closed when our caller drops it."""
    held = answer("mine")

    @track("held", service=SERVICE)
    def run() -> Any:
        return held

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
        gc.collect()
    assert asyncio.run(held) == "mine"


def test_a_future_that_vanishes(s):
    """It is counted as abandoned, and nothing keeps it alive."""

    @track("future", service=SERVICE)
    def run() -> Any:
        return concurrent.futures.Future()

    future = run()
    gone = weakref.ref(future)
    del future
    gc.collect()
    assert gone() is None
    metrics = s.assert_operation(SERVICE, "future", count=0, active=0)
    assert metrics.abandoned == 1


def test_send_throw_and_close_reach_the_coroutine(s):
    """As without us: it gets what is sent and thrown, and is closed."""
    seen: list[Any] = []

    class Step:
        def __await__(self) -> Any:
            try:
                seen.append((yield "step"))
            except KeyError as error:
                seen.append(error)
            try:
                yield "next"
            finally:
                seen.append("closed")

    async def work() -> None:
        await Step()

    @track("work", service=SERVICE)
    def run() -> Any:
        return work()

    sent = run()
    assert sent.send(None) == "step"
    assert sent.send("value") == "next"
    sent.close()
    thrown = run()
    thrown.send(None)
    problem = KeyError("thrown")
    assert thrown.throw(problem) == "next"
    thrown.close()
    assert seen == ["value", "closed", problem, "closed"]
    s.assert_operation(SERVICE, "work", count=2, cancelled=2, active=0)


async def test_a_task_that_is_cancelled(s):
    """The cancellation reaches what the function returned."""
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    @track("wait", service=SERVICE)
    def run() -> Any:
        return wait()

    task = asyncio.create_task(run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    s.assert_operation(SERVICE, "wait", count=1, cancelled=1, errors=0, active=0)


async def test_methods_lambdas_and_instrumented_objects(s):
    """Whatever returns the coroutine: a method, a wrapper of a decorator, a callable object."""

    def decorated(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    class Client:
        def get(self) -> Any:
            return answer("got")

        @track("decorated", service=SERVICE)
        @decorated
        async def put(self) -> Any:
            return await answer("put")

    client = instrument(Client(), service="client")
    assert await client.get() == "got"
    assert await Client().put() == "put"
    assert await track("lambda", service=SERVICE)(lambda: answer(1))() == 1
    assert s.operation("client", "Client.get").count == 1
    assert s.operation(SERVICE, "decorated").count == 1
    assert s.operation(SERVICE, "lambda").count == 1


async def test_what_is_no_coroutine_and_no_future_is_not_touched(s):
    """Awaitable objects of other kinds, generators and mocks come back as they are; it is over."""
    from unittest.mock import MagicMock

    class Later:
        def __await__(self) -> Any:
            return answer().__await__()

    class Observable:
        def add_done_callback(self, callback: Any) -> None:
            raise AssertionError("it is no future")

    def generate() -> Any:
        yield 1

    class Ordinary:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("nobody is to ask")

    class Meta(type):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(cls, other: object) -> bool:
            return False

    class Unhashable(metaclass=Meta):
        pass

    for number, value in enumerate(
        (
            Unhashable(),
            Later(),
            Observable(),
            generate(),
            Ordinary(),
            MagicMock(),
            asyncio.Future,
            None,
            1,
        ),
        1,
    ):
        assert track("other", service=SERVICE)(lambda value=value: value)() is value
        s.assert_operation(SERVICE, "other", count=number, active=0)


async def test_a_run_that_is_followed_is_active_with_its_operation(s):
    """It is in the list of what runs, until it ends."""
    found = coroutine()
    task = asyncio.create_task(found)
    await asyncio.sleep(0)
    [running] = api.get_active_operations()
    assert (running.service, running.operation) == (SERVICE, "coroutine")
    await task
    assert api.get_active_operations() == []


async def test_a_block_around_it_ends_in_its_own_order(s):
    """The function's caller is its parent, also when that has ended before."""
    with service(SERVICE).operation("caller"):
        found = coroutine()
    await found
    s.assert_operation(SERVICE, "coroutine", count=1, parent="caller")
