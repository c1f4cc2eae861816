"""The background thread: it survives, starts when it is needed, and can be woken from anywhere."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from forked import in_forked_child
from otel_studio.base import guard
from otel_studio.base.worker import Worker

from parts import wait_until


class Counted:
    """Counts its pieces of work."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> None:
        self.done += 1


@pytest.fixture
def work() -> Counted:
    return Counted()


@pytest.fixture
def worker(work: Counted) -> Iterator[Worker]:
    worker = Worker("test-worker", work, interval=None)
    yield worker
    worker.stop(10)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_is_raised_the_thread_goes_on(error: type[BaseException]) -> None:
    """It is counted, and the next piece of work is done by the same thread."""
    threads: list[int] = []

    def work() -> None:
        threads.append(threading.get_ident())
        raise error

    worker = Worker("test-worker", work, interval=None)
    try:
        for count in (1, 2):
            worker.wake()
            wait_until(
                lambda count=count: guard.internal_errors["the thread test-worker"] == count,
                what="the failure",
            )
        assert threads[0] == threads[1]
        assert worker.restarts == 0
    finally:
        assert worker.stop(10)


def test_a_handler_that_raises_does_not_end_it(worker: Worker, work: Counted) -> None:
    """Not even where reporting the failure fails as well."""
    import logging

    class Ending(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit

    failing = Worker("failing", lambda: 1 / 0, interval=None)  # type: ignore[arg-type]
    handler = Ending()
    guard.logger.addHandler(handler)
    try:
        failing.wake()
        wait_until(lambda: guard.internal_errors["the thread failing"] == 1, what="the failure")
        failing.wake()
        wait_until(lambda: guard.internal_errors["the thread failing"] == 2, what="another")
    finally:
        guard.logger.removeHandler(handler)
        assert failing.stop(10)


def test_it_starts_at_the_first_wake_and_works_at_each(worker: Worker, work: Counted) -> None:
    """Before it there is no thread; there is never a second one."""
    assert not worker.is_running
    assert not worker.is_wanted
    for count in (1, 2, 3):
        worker.wake()
        wait_until(lambda count=count: work.done == count, what="the work")
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("test-worker") == 1
    assert worker.is_wanted


def test_starting_twice_starts_one_thread(worker: Worker) -> None:
    """Also from several threads at once."""
    threads = [threading.Thread(target=worker.start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("test-worker") == 1


def test_a_thread_that_is_gone_is_started_anew(worker: Worker, work: Counted) -> None:
    """Where something killed it, the next wake makes another, and that is counted."""
    worker.wake()
    wait_until(lambda: work.done == 1, what="the work")
    worker._stopping = True  # as if something had ended it
    worker._signal.set()
    thread = worker._thread
    assert thread is not None
    thread.join(10)
    worker._stopping = False
    worker.wake()
    wait_until(lambda: work.done == 2, what="the work of another thread")
    assert worker.restarts == 1


def test_it_works_by_itself_at_its_interval() -> None:
    """And sooner or later where the work says so."""
    work = Counted()
    worker = Worker("test-worker", work, interval=0.001)
    worker.start()
    wait_until(lambda: work.done >= 3, what="the work")
    assert worker.stop(10)
    done = work.done
    assert not worker.is_running
    assert work.done == done

    waits: list[float] = []

    def slower() -> float:
        waits.append(0.001)
        return 0.001

    other = Worker("test-worker", slower, interval=3600)
    other.wake()
    wait_until(lambda: len(waits) >= 3, what="the work that chose its own pace")
    assert other.stop(10)


def test_stopped_it_stays_stopped_until_it_is_allowed(worker: Worker, work: Counted) -> None:
    """Neither a wake nor a start brings it back against the wish of its owner."""
    worker.wake()
    wait_until(lambda: work.done == 1, what="the work")
    assert worker.stop(10)
    worker.wake()
    worker.start()
    assert not worker.is_running
    worker.allow()
    worker.wake()
    wait_until(lambda: work.done == 2, what="the work")


def test_it_can_be_stopped_from_its_own_work() -> None:
    """That waits for nobody."""
    answers: list[bool] = []
    worker = Worker("test-worker", lambda: answers.append(worker.stop(10)), interval=None)
    worker.wake()
    wait_until(lambda: answers, what="the work")
    wait_until(lambda: not worker.is_running, what="the end")
    assert answers == [True]


def test_a_stop_does_not_wait_for_ever() -> None:
    """Work that does not return leaves its thread behind."""
    inside, release = threading.Event(), threading.Event()

    def work() -> None:
        inside.set()
        release.wait()

    worker = Worker("test-worker", work, interval=None)
    worker.wake()
    assert inside.wait(10)
    assert not worker.stop(0.01)
    release.set()
    assert worker.stop(10)


def test_a_finalizer_may_wake_it(worker: Worker, work: Counted) -> None:
    """Also one that runs while its own thread is inside of `wake`."""

    class Waking:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            worker.wake()

    for _ in range(50):
        Waking()
        worker.wake()
        gc.collect(0)
    wait_until(lambda: work.done >= 1, what="the work")


def test_a_signal_handler_may_wake_it(worker: Worker, work: Counted) -> None:
    """Wherever it interrupts, the first start of the thread included."""
    woken = [0]

    def wake(_number: int, _frame: Any) -> None:
        woken[0] += 1
        worker.wake()

    before = signal.signal(signal.SIGALRM, wake)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        while woken[0] < 100:
            worker.wake()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    wait_until(lambda: work.done >= 1, what="the work")


def test_the_bottom_of_a_deep_stack_may_wake_it(worker: Worker, work: Counted) -> None:
    """A few frames below the limit there is room for it, and the thread has a stack of its own."""
    limit = sys.getrecursionlimit()

    def descend(left: int) -> None:
        if left:
            descend(left - 1)
        else:
            worker.wake()

    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    descend(limit - depth - 20)
    wait_until(lambda: work.done == 1, what="the work")


def test_a_child_starts_it_when_it_is_needed(worker: Worker, work: Counted) -> None:
    """The parent's thread is not there; nothing starts one until somebody wakes it."""
    worker.wake()
    wait_until(lambda: work.done == 1, what="the work")

    def in_child() -> list[Any]:
        worker.after_fork_in_child()
        before = [worker.is_running, threading.active_count()]
        work.done = 0
        worker.wake()
        wait_until(lambda: work.done == 1, what="the work")
        return [*before, worker.is_running, worker.restarts]

    assert in_forked_child(in_child) == [False, 1, True, 0]
    assert worker.is_running
