"""Signal handlers and finalizers ask for figures, and use queues, inside of the same."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator

import pytest
from otel_studio_instrumentation_executors import (
    ExecutorsInstrumentor,
    pools,
    queues,
    unwatch_queue,
    watch_queue,
)
from otel_studio_instrumentation_executors.pools import PoolFigures

from reentry import interrupted

pytestmark = [pytest.mark.prove, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _followed() -> Iterator[None]:
    ExecutorsInstrumentor().instrument()
    yield
    ExecutorsInstrumentor().uninstrument()


def test_nothing_waits_for_what_it_has_interrupted() -> None:
    """Queues are watched, used and asked for; the pools are asked for."""
    jobs: queue.Queue[int] = queue.Queue()
    watch_queue("jobs", jobs)

    def inside() -> None:
        own: queue.Queue[int] = queue.Queue()
        watch_queue("own", own)
        own.put(1)
        own.get()
        queues()
        pools()

    shared: queue.Queue[int] = queue.Queue()
    watch_queue("shared", shared)

    def use() -> None:
        jobs.put(1)
        jobs.get()
        queues()

    def beside() -> None:
        shared.put(1)
        shared.get()

    interrupted(use, inside, beside)
    unwatch_queue("shared")
    unwatch_queue("own")
    unwatch_queue("jobs")


def test_no_item_is_counted_twice_or_lost() -> None:
    """An asyncio queue has no lock of its own: a finalizer may put and get inside of both."""
    jobs: asyncio.Queue[int] = asyncio.Queue()
    watch_queue("jobs", jobs)
    taken: list[int] = []

    def use() -> None:
        jobs.put_nowait(1)
        jobs.get_nowait()
        taken.append(1)

    interrupted(use, use)
    [each] = [each for each in queues() if each.name == "jobs"]
    unwatch_queue("jobs")

    assert each.length == 0
    # One put between an item and its time leaves both unknown; none is made up.
    assert len(taken) * 0.9 <= each.items_taken <= len(taken)


def test_no_task_is_counted_twice_or_lost() -> None:
    """Tasks that end while others are added up."""
    figures = PoolFigures("storm", "thread")
    ended: list[int] = []

    def use() -> None:
        figures.submit()
        figures.start(1)
        figures.end(1, "completed")
        ended.append(1)
        figures.statistics()

    interrupted(use, use)
    found = figures.statistics()

    assert (found.submitted, found.completed, found.queued, found.running) == (
        len(ended),
        len(ended),
        0,
        0,
    )
