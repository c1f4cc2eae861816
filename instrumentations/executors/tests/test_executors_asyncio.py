"""Tasks of event loops: waits for the first step, ends, and asyncio's own behaviour unchanged."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import otel_studio_instrumentation_executors as measured
import pytest

TASKS = "asyncio tasks"


async def test_a_task_waits_until_the_loop_gets_to_it(executors: Any) -> None:
    """A loop that is held up for 2 s makes its next task wait as long; the run is apart."""

    async def step() -> None:
        executors.clock.advance(0.5)

    before = executors.pool(TASKS)
    task = asyncio.create_task(step())
    assert executors.pool(TASKS).queued == 1
    executors.clock.advance(2)
    await task
    await asyncio.sleep(0)
    figures = executors.pool(TASKS)
    assert figures.completed == before.completed + 1
    assert (figures.queued, figures.max_wait_ms, figures.max_run_ms) == (0, 2000.0, 500.0)
    assert (figures.workers, figures.saturation) == (None, None)


async def test_running_tasks_are_those_that_are_not_done(executors: Any) -> None:
    """Tasks that wait for something have started and are not done."""
    base = executors.pool(TASKS).running
    event = asyncio.Event()
    tasks = [asyncio.create_task(event.wait()) for _ in range(4)]
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 5
    assert executors.pool(TASKS).running == max(base, 1) + 4
    event.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0)
    assert executors.pool(TASKS).running == max(base, 1)


async def test_failed_and_cancelled_tasks_are_told_apart(executors: Any) -> None:
    """Exceptions count as failures and reach the awaiter unchanged; cancellations do not."""
    error = ValueError("no")

    async def fail() -> None:
        raise error

    failing = asyncio.create_task(fail())
    sleeping = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    sleeping.cancel()
    with pytest.raises(ValueError, match="no") as raised:
        await failing
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    await asyncio.sleep(0)
    assert raised.value is error
    figures = executors.pool(TASKS)
    assert (figures.failed, figures.cancelled) == (1, 1)


def test_an_exception_that_nobody_asks_for_is_still_reported(executors: Any) -> None:
    """Asyncio's own word about a lost exception comes as ever."""
    said: list[str] = []

    async def fail() -> None:
        raise ValueError("lost")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, about: said.append(about["message"])
        )
        task = asyncio.create_task(fail())
        await asyncio.sleep(0.01)
        del task
        gc.collect()

    asyncio.run(main())
    assert said == ["Task exception was never retrieved"]
    assert executors.pool(TASKS).failed == 1


def test_a_loop_that_is_gone_holds_nothing(executors: Any) -> None:
    """Tasks of a closed loop are neither queued nor running, and the loop is not kept alive."""
    pending: list[asyncio.Task[None]] = []

    async def main() -> None:
        pending.append(asyncio.create_task(asyncio.sleep(60)))

    asyncio.run(main())
    figures = executors.pool(TASKS)
    assert (figures.executors, figures.queued, figures.running) == (0, 0, 0)
    assert figures.cancelled == 1
    pending.clear()
    gc.collect()
    assert len(measured._tasks._loops) == 0


def test_a_closed_loop_refuses_as_ever(executors: Any) -> None:
    """Creating a task on a closed loop raises asyncio's own error."""
    loop = asyncio.new_event_loop()
    loop.close()
    coroutine = asyncio.sleep(0)
    create = loop.create_task
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        create(coroutine)
    coroutine.close()


@pytest.mark.only_where(sys.version_info >= (3, 12), "Python 3.12, where eager tasks came")
def test_eager_tasks_are_counted_without_a_wait(executors: Any) -> None:
    """A factory of its own may run the first step at once, so no wait is claimed."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        executors.clock.advance(1)
        await asyncio.create_task(asyncio.sleep(0))
        await asyncio.sleep(0)

    asyncio.run(main())
    figures = executors.pool(TASKS)
    assert figures.completed >= 1
    assert figures.queued == 0
