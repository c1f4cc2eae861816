"""Watched queues: length, capacity and waiting time, and the queues themselves unchanged."""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

import otel_studio_instrumentation_executors as measured
import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_studio_instrumentation_executors.queues import QueueBook


class StepClock:
    """A clock in nanoseconds, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.mark.parametrize("make", [queue.Queue, asyncio.Queue])
def test_items_wait_from_put_to_get(make: Callable[[int], Any]) -> None:
    """The wait of each item is measured, and that of the oldest one in the queue."""
    clock = StepClock()
    book = QueueBook(clock)
    jobs = make(4)
    book.watch("jobs", jobs)
    jobs.put_nowait("a")
    clock.advance(1)
    jobs.put_nowait("b")
    clock.advance(2)
    (waiting,) = book.statistics()
    assert (waiting.length, waiting.capacity, waiting.saturation) == (2, 4, 0.5)
    assert (waiting.oldest_wait_ms, waiting.items_taken) == (3000.0, 0)
    assert waiting.average_wait_ms is None
    assert [jobs.get_nowait(), jobs.get_nowait()] == ["a", "b"]
    (taken,) = book.statistics()
    assert (taken.items_taken, taken.average_wait_ms, taken.max_wait_ms) == (2, 2500.0, 3000.0)
    assert (taken.length, taken.oldest_wait_ms) == (0, None)


def test_the_last_item_first(executors: Any) -> None:
    """In a last-in-first-out queue the newest item's wait is measured."""
    clock = StepClock()
    book = QueueBook(clock)
    jobs: queue.LifoQueue[str] = queue.LifoQueue()
    book.watch("jobs", jobs)
    jobs.put("old")
    clock.advance(10)
    jobs.put("new")
    clock.advance(1)
    assert jobs.get() == "new"
    assert book.statistics()[0].max_wait_ms == 1000.0


def test_orders_that_cannot_be_followed_have_no_wait() -> None:
    """Priority queues, simple queues, those of processes and own classes tell their length."""

    class Shuffled(queue.Queue[int]):
        def _get(self) -> int:
            return self.queue.pop()

    book = QueueBook()
    processes = multiprocessing.get_context("spawn").Queue()
    watched: list[Any] = [
        queue.PriorityQueue(),
        asyncio.PriorityQueue(),
        queue.SimpleQueue(),
        Shuffled(),
        processes,
    ]
    for number, each in enumerate(watched):
        book.watch(str(number), each)
    for each in watched[:4]:
        each.put_nowait(3)
        each.put_nowait(1)
    assert [each.length for each in book.statistics()][:4] == [2, 2, 2, 2]
    assert [each.capacity for each in book.statistics()] == [None] * 5
    assert watched[0].get() == 1
    assert watched[3].get() == 1
    assert all(each.average_wait_ms is None for each in book.statistics())
    processes.close()
    processes.join_thread()


def test_what_was_there_before_has_an_unknown_wait() -> None:
    """Items put before the watch are taken without a measured wait, later ones with theirs."""
    clock = StepClock()
    jobs: queue.Queue[str] = queue.Queue()
    jobs.put("early")
    book = QueueBook(clock)
    book.watch("jobs", jobs)
    jobs.put("late")
    clock.advance(1)
    assert book.statistics()[0].oldest_wait_ms is None
    assert [jobs.get(), jobs.get()] == ["early", "late"]
    assert book.statistics()[0].items_taken == 1


def test_a_queue_is_neither_kept_alive_nor_changed_for_good() -> None:
    """A dropped queue leaves the book; an unwatched one has its own methods back."""
    book = QueueBook()
    jobs: queue.Queue[int] = queue.Queue()
    book.watch("jobs", jobs)
    assert "_put" in vars(jobs)
    book.watch("jobs", jobs)
    book.unwatch("jobs")
    assert "_put" not in vars(jobs)
    assert "_get" not in vars(jobs)
    book.watch("jobs", jobs)
    del jobs
    gc.collect()
    assert book.statistics() == []


def test_many_threads_lose_no_item() -> None:
    """Producers and consumers at once: every item's wait is counted."""
    book = QueueBook()
    jobs: queue.Queue[int] = queue.Queue(8)
    book.watch("jobs", jobs)

    def produce() -> None:
        for number in range(500):
            jobs.put(number)

    def consume() -> None:
        for _ in range(500):
            jobs.get()

    threads = [threading.Thread(target=each) for each in [produce, consume] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (figures,) = book.statistics()
    assert (figures.items_taken, figures.length, figures.oldest_wait_ms) == (1500, 0, None)


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([queue.Queue, queue.LifoQueue]))
def test_times_stay_beside_their_items(steps: list[bool], kind: type[queue.Queue[int]]) -> None:
    """Whatever the order of puts and gets, an item's measured wait is its own."""
    clock = StepClock()
    book = QueueBook(clock)
    jobs = kind()
    book.watch("jobs", jobs)
    expected = 0
    for is_put in steps:
        clock.advance(1)
        if is_put:
            jobs.put(clock())
        elif jobs.qsize():
            expected += clock() - jobs.get()
    (figures,) = book.statistics()
    measured_total = (figures.average_wait_ms or 0) * figures.items_taken
    assert round(measured_total * 1e6) == expected


def test_queues_are_metrics(executors: Any) -> None:
    """Length, saturation and waits of a watched queue are exported by its name."""
    jobs: queue.Queue[int] = queue.Queue(10)
    measured.watch_queue("jobs", jobs)
    jobs.put(1)
    key = (("queue.name", "jobs"),)
    assert executors.metric("otel_studio.queue.length") == {key: 1}
    assert executors.metric("otel_studio.queue.saturation") == {key: 0.1}
    jobs.get()
    assert executors.metric("otel_studio.queue.wait_time")[key] > 0
    measured.ExecutorsInstrumentor().uninstrument()
    assert "_put" not in vars(jobs)
    assert measured.queues() == []
    executors.instrument()


def test_what_is_no_queue_is_refused() -> None:
    """A wrong argument is said in one sentence."""
    with pytest.raises(TypeError, match="give a queue of asyncio, queue or multiprocessing"):
        measured.watch_queue("jobs", [1, 2])


@pytest.mark.parametrize("make", [queue.Queue, queue.LifoQueue, asyncio.Queue, asyncio.LifoQueue])
def test_a_queue_that_is_emptied_at_once_keeps_no_times(make: Callable[[], Any]) -> None:
    """What comes after it waits for its own time; what is left behind is given to no other item."""
    clock = StepClock()
    book = QueueBook(clock)
    jobs = make()
    book.watch("jobs", jobs)
    (entry,) = book.entries()
    inside = jobs._queue if isinstance(jobs, asyncio.Queue) else jobs.queue
    for _ in range(100):
        jobs.put_nowait("old")
    clock.advance(10)
    inside.clear()
    (empty,) = book.statistics()
    assert (empty.length, empty.oldest_wait_ms, empty.items_taken) == (0, None, 0)
    for _ in range(100):
        jobs.put_nowait("old")
    inside.clear()
    jobs.put_nowait("new")
    assert len(entry._put_at) == 1
    clock.advance(2)
    assert jobs.get_nowait() == "new"
    (taken,) = book.statistics()
    assert (taken.items_taken, taken.max_wait_ms) == (1, 2000.0)


def test_an_item_that_goes_by_another_way_leaves_the_others_unknown() -> None:
    """Which of them went is not known: none is given the time of another."""
    clock = StepClock()
    book = QueueBook(clock)
    jobs: queue.Queue[str] = queue.Queue()
    book.watch("jobs", jobs)
    jobs.put("a")
    clock.advance(5)
    jobs.put("b")
    jobs.queue.remove("b")
    (known,) = book.statistics()
    assert known.oldest_wait_ms is None
    assert jobs.get() == "a"
    jobs.put("c")
    clock.advance(1)
    assert jobs.get() == "c"
    (taken,) = book.statistics()
    assert (taken.items_taken, taken.max_wait_ms) == (1, 1000.0)


@pytest.mark.parametrize("make", [queue.Queue, queue.LifoQueue, asyncio.Queue])
def test_an_item_in_the_place_of_another_has_no_time(make: Callable[[], Any]) -> None:
    """What was put into the queue's own container while as much was taken out is unknown."""
    clock = StepClock()
    book = QueueBook(clock)
    jobs = make()
    book.watch("jobs", jobs)
    inside = jobs._queue if isinstance(jobs, asyncio.Queue) else jobs.queue
    for item in ("a", "b", "c"):
        jobs.put_nowait(item)
    clock.advance(10)
    inside.clear()
    inside.extend(["d", "e", "f"])
    assert book.statistics()[0].oldest_wait_ms is None
    for _ in range(3):
        jobs.get_nowait()
    assert book.statistics()[0].items_taken == 0
    jobs.put_nowait("g")
    clock.advance(1)
    assert book.statistics()[0].oldest_wait_ms == 1000.0
    jobs.get_nowait()
    (taken,) = book.statistics()
    assert (taken.items_taken, taken.max_wait_ms) == (1, 1000.0)


def test_items_are_not_kept_alive() -> None:
    """What left by another way is freed at once, though its time is still there."""

    class Item:
        pass

    jobs: queue.Queue[Item] = queue.Queue()
    book = QueueBook()
    book.watch("jobs", jobs)
    jobs.put(Item())
    item = weakref.ref(jobs.queue[0])
    book.statistics()
    jobs.queue.clear()
    assert item() is None


def test_asking_waits_for_nobody_who_has_the_queue() -> None:
    """A finalizer inside of the question waits for the queue; who has the queue goes on."""
    is_inside, queue_is_held = threading.Event(), threading.Event()
    finalizers: list[Callable[[], None]] = []
    ticks = itertools.count()

    def clock() -> int:
        while finalizers and threading.current_thread() is asker:
            finalizers.pop()()
        return next(ticks)

    def finalizer() -> None:
        is_inside.set()
        queue_is_held.wait(10)
        jobs.put("from a finalizer")

    def ask() -> None:
        finalizers.append(finalizer)
        book.statistics()

    jobs: Any = queue.Queue()
    book = QueueBook(clock)
    book.watch("jobs", jobs)
    jobs.put("first")
    followed_put = jobs._put

    def put(item: str) -> None:
        if item == "of another thread":
            queue_is_held.set()
        followed_put(item)

    jobs._put = put
    asker = threading.Thread(target=ask, daemon=True)
    other = threading.Thread(target=jobs.put, args=("of another thread",), daemon=True)
    asker.start()
    assert is_inside.wait(10)
    other.start()
    asker.join(10)
    other.join(10)
    assert not asker.is_alive()
    assert not other.is_alive()
    assert sorted(jobs.queue) == ["first", "from a finalizer", "of another thread"]


def test_an_item_put_by_another_way_has_no_time_of_another() -> None:
    """As many came as had gone: by their number alone they could not be told apart."""
    clock = StepClock()
    book = QueueBook(clock)
    jobs: queue.Queue[object] = queue.Queue()
    book.watch("jobs", jobs)
    jobs.put(object())
    clock.advance(10)
    kept = [jobs.queue.pop(), object()]
    jobs.queue.append(kept[1])
    clock.advance(1)
    assert jobs.get() is kept[1]
    (found,) = book.statistics()
    assert (found.items_taken, found.max_wait_ms) == (0, None)


@pytest.mark.only_where(hasattr(queue.Queue, "shutdown"), "Python 3.13, which shuts queues down")
@pytest.mark.parametrize("make", [queue.Queue, queue.LifoQueue, asyncio.Queue])
def test_items_that_a_shutdown_drops_are_not_taken(make: Callable[[], Any]) -> None:
    """`shutdown(immediate=True)` takes every item out; they have waited for nothing."""
    clock = StepClock()
    book = QueueBook(clock)
    jobs = make()
    book.watch("jobs", jobs)
    for item in ("a", "b", "c"):
        jobs.put_nowait(item)
    clock.advance(1)
    jobs.get_nowait()
    clock.advance(1)
    jobs.shutdown(immediate=True)
    (found,) = book.statistics()
    (entry,) = book.entries()
    assert (found.length, found.oldest_wait_ms, len(entry._put_at)) == (0, None, 0)
    assert (found.items_taken, found.max_wait_ms) == (1, 1000.0)


@pytest.mark.only_where(hasattr(queue.Queue, "shutdown"), "Python 3.13, which shuts queues down")
def test_a_queue_that_is_shut_down_gives_what_it_has() -> None:
    """`shutdown()` drops nothing: what is taken afterwards counts; unwatched, it is as it was."""
    clock = StepClock()
    book = QueueBook(clock)
    jobs: Any = queue.Queue()
    book.watch("jobs", jobs)
    jobs.put("a")
    jobs.shutdown()
    clock.advance(1)
    assert jobs.get() == "a"
    assert book.statistics()[0].max_wait_ms == 1000.0
    book.unwatch("jobs")
    assert not {"_put", "_get", "shutdown"} & vars(jobs).keys()
