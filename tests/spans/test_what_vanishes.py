"""What a run is in may vanish: tasks, generators, threads. Tracking keeps none of them alive."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace

import otel_studio
from otel_studio import api
from otel_studio.testing.isolation import Isolated, isolated

TIMES = 50


class Payload(bytearray):
    """What a frame holds, and what must go with it."""


@pytest.fixture
def studio() -> Iterator[Isolated]:
    # Python 3.11 may collect inside of `ContextVar.set`, and crashes where what is collected sets
    # one, as the end of any span in a lost coroutine does: here it collects when it is asked to.
    gc.collect()
    gc.disable()
    with isolated() as s, warnings.catch_warnings():
        # Of coroutines that were never awaited and generators that were dropped.
        warnings.simplefilter("ignore")
        yield s
        gc.collect()
    gc.enable()


class Alive:
    """Payloads that live."""

    def __init__(self) -> None:
        self.references: list[weakref.ref[Payload]] = []

    def make(self) -> Payload:
        payload = Payload(1_000)
        self.references.append(weakref.ref(payload))
        return payload

    @property
    def count(self) -> int:
        gc.collect()
        return sum(reference() is not None for reference in self.references)


Work = Callable[[Alive], Any]


def tracked(work: Work) -> Work:
    return otel_studio.track("work", service="jobs")(work)


def with_block(work: Callable[..., Any]) -> Work:
    async def inside(alive: Alive) -> None:
        async with otel_studio.service("jobs").operation("work"):
            await work(alive)

    return inside


def with_span(work: Callable[..., Any]) -> Work:
    async def inside(alive: Alive) -> None:
        with trace.get_tracer("jobs").start_as_current_span("work"):
            await work(alive)

    return inside


def with_tracker(work: Callable[..., Any]) -> Work:
    async def inside(alive: Alive) -> None:
        tracker = otel_studio.service("jobs").start_operation("work")
        await work(alive)
        tracker.complete()

    return inside


async def never_answered(alive: Alive) -> Payload:
    payload = alive.make()
    await asyncio.get_running_loop().create_future()
    return payload


def lose_tasks(work: Work, alive: Alive) -> None:
    for _ in range(TIMES):
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        loop.create_task(work(alive))  # noqa: RUF006  (that it is lost is the case)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        del loop


@pytest.mark.patient
@pytest.mark.parametrize("shape", [tracked, with_block, with_span, with_tracker])
def test_a_task_that_nobody_refers_to(studio: Isolated, shape: Callable[[Work], Work]) -> None:
    """It is collected as an untracked one is, with its frame; its run does not stay active."""
    plain = Alive()
    lose_tasks(never_answered, plain)
    alive = Alive()
    lose_tasks(shape(never_answered), alive)
    assert alive.count <= plain.count + 1
    assert api.get_active_operations_count().total == 0
    found = studio.operation("jobs", "work")
    assert found.count + found.abandoned == TIMES


def test_a_task_whose_parent_run_goes_on(studio: Isolated) -> None:
    """A run in a lost task, inside another that ends properly, goes with the task."""
    alive = Alive()
    work = tracked(never_answered)

    async def outer() -> None:
        with otel_studio.service("jobs").operation("outer"):
            task = asyncio.create_task(work(alive))
            await asyncio.sleep(0)
            del task

    for _ in range(TIMES):
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(outer())
        loop.close()
        del loop
    assert alive.count <= 1
    assert api.get_active_operations_count().total == 0
    assert studio.operation("jobs", "outer").count == TIMES


def test_a_generator_that_is_dropped(studio: Isolated) -> None:
    """It ends cancelled, and leaves nothing behind."""
    alive = Alive()

    @otel_studio.track("stream", service="jobs")
    def stream() -> Iterator[int]:
        payload = alive.make()
        yield 1
        yield len(payload)

    for _ in range(TIMES):
        generator = stream()
        next(generator)
        cycle = [generator]
        cycle.append(cycle)  # type: ignore[arg-type]
        del generator, cycle
    assert alive.count == 0
    assert api.get_active_operations_count().total == 0
    found = studio.operation("jobs", "stream")
    assert found.count + found.abandoned == TIMES
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_an_async_generator_of_a_loop_that_is_gone(studio: Isolated) -> None:
    """Nobody closes it any more: it goes all the same."""

    async def stream(alive: Alive) -> AsyncIterator[int]:
        payload = alive.make()
        yield 1
        yield len(payload)

    async def first(function: Any, alive: Alive) -> Any:
        generator = function(alive)
        await generator.__anext__()
        return generator

    def lose(function: Any) -> int:
        alive = Alive()
        for _ in range(TIMES):
            loop = asyncio.new_event_loop()
            generator = loop.run_until_complete(first(function, alive))
            loop.close()
            del generator, loop
        return alive.count

    plain = lose(stream)
    assert lose(otel_studio.track("stream", service="jobs")(stream)) <= plain
    assert api.get_active_operations_count().total == 0
    found = studio.operation("jobs", "stream")
    assert found.count + found.abandoned == TIMES


def test_a_thread_that_ends_inside_its_run(studio: Isolated) -> None:
    """Spans that it began and never ended go with it; the thread's object too."""
    threads: list[weakref.ref[threading.Thread]] = []

    def begin() -> None:
        trace.get_tracer("jobs").start_span("span")
        otel_studio.service("jobs").start_operation("tracker")
        otel_studio.service("jobs").operation("block").__enter__()

    for _ in range(TIMES):
        thread = threading.Thread(target=begin)
        threads.append(weakref.ref(thread))
        thread.start()
        thread.join()
        del thread
    gc.collect()
    assert not [reference for reference in threads if reference() is not None]
    assert api.get_active_operations_count().total == 0
    for name in ("span", "tracker", "block"):
        found = studio.operation("jobs", name)
        assert found.count + found.abandoned == TIMES, name


def test_a_run_that_goes_on_says_where_after_its_thread_has_ended(studio: Isolated) -> None:
    """A tracker begun in a thread that is gone is active still, and its query raises nothing."""
    kept: list[Any] = []
    thread = threading.Thread(
        target=lambda: kept.append(otel_studio.service("jobs").start_operation("kept"))
    )
    thread.start()
    thread.join()
    reference = weakref.ref(thread)
    del thread
    gc.collect()
    assert reference() is None
    [active] = api.get_active_operations()
    assert active.operation == "kept"
    kept.pop().complete()
    assert api.get_active_operations_count().total == 0


def test_a_coroutine_that_is_never_awaited_is_no_run(studio: Isolated) -> None:
    """Nothing began, so nothing is counted or active."""
    work = tracked(never_answered)
    for _ in range(TIMES):
        work(Alive()).close()
    assert api.get_active_operations_count().total == 0
    assert studio.operations("jobs").get("work") is None or (
        studio.operation("jobs", "work").count == 0
    )
