"""The lag of event loops, on loops whose clock the test moves."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from otel_studio.base import guard
from otel_studio.process.event_loop import MAX_LOOPS, EventLoopWatch


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose time the test moves, and that runs what is due when it is told to."""

    now = 100.0

    def time(self) -> float:
        return self.now

    def step(self, seconds: float) -> None:
        self.now += seconds
        self.call_soon(self.stop)
        self.run_forever()


@pytest.fixture
def loop() -> Iterator[SteppedLoop]:
    loop = SteppedLoop()
    yield loop
    loop.close()


@pytest.fixture
def watch() -> EventLoopWatch:
    return EventLoopWatch(interval=0.25)


def test_lag_is_how_late_a_due_timer_ran(loop: SteppedLoop, watch: EventLoopWatch) -> None:
    """A loop that was blocked for 2 s shows it as its worst; the mean counts every sample."""
    watch.watch(loop, "web")
    loop.step(0)
    loop.step(0.25)
    loop.step(2.25)
    watch.close_window()
    (reading,) = watch.readings()
    assert (reading.name, reading.worst_lag, reading.mean_lag, reading.samples) == (
        "web",
        2.0,
        1.0,
        2,
    )


def test_each_window_begins_from_nothing(loop: SteppedLoop, watch: EventLoopWatch) -> None:
    """The stall of one window is not shown again in the next; without samples there is none."""
    watch.watch(loop)
    loop.step(0)
    loop.step(5)
    watch.close_window()
    loop.step(0.25)
    watch.close_window()
    assert [reading.worst_lag for reading in watch.readings()] == [0.0]
    watch.close_window()
    assert watch.readings() == ()


def test_every_reader_sees_the_same_window(loop: SteppedLoop, watch: EventLoopWatch) -> None:
    """Reading changes nothing: only the end of a window does."""
    watch.watch(loop)
    loop.step(0)
    loop.step(0.75)
    watch.close_window()
    assert watch.readings() == watch.readings()
    assert watch.readings()[0].worst_lag == 0.5


def test_a_loop_that_is_stuck_now_shows_what_is_overdue(
    loop: SteppedLoop, watch: EventLoopWatch
) -> None:
    """A callback that never returns calls no timer; the lag so far counts all the same."""
    watch.watch(loop)
    loop.step(0)
    seen: list[float] = []

    def stuck() -> None:
        loop.now += 30.25
        thread = threading.Thread(target=watch.close_window)  # as the sampling thread would
        thread.start()
        thread.join()
        seen.extend(reading.worst_lag for reading in watch.readings())

    loop.call_soon(stuck)
    loop.step(0)
    assert seen == [30.0]


def test_a_loop_is_watched_once_and_names_are_told_apart(
    loop: SteppedLoop, watch: EventLoopWatch
) -> None:
    """A second call for one loop does nothing; a second loop of one name is numbered."""
    other = SteppedLoop()
    watch.watch(loop, "web")
    watch.watch(loop, "again")
    watch.watch(other, "web")
    for one in (loop, other):
        one.step(0)
        one.step(1)
    watch.close_window()
    assert [reading.name for reading in watch.readings()] == ["web", "web-2"]
    other.close()
    watch.close_window()
    loop.step(1)
    watch.close_window()
    assert [reading.name for reading in watch.readings()] == ["web"]


def test_stopping_takes_the_timers_out(loop: SteppedLoop, watch: EventLoopWatch) -> None:
    """After stop() the loop has nothing of ours left to run."""
    watch.watch(loop)
    loop.step(0)
    watch.stop()
    loop.step(0)
    loop.step(10)
    watch.close_window()
    assert watch.readings() == ()
    assert not [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


def test_stopping_after_the_loop_closed_is_no_error(watch: EventLoopWatch) -> None:
    """A loop may end before the SDK does."""
    loop = SteppedLoop()
    watch.watch(loop)
    loop.step(0)
    loop.close()
    watch.stop()


def test_a_wrong_loop_is_refused_in_words(watch: EventLoopWatch) -> None:
    """Without a running loop, and for a closed one, the refusal says what to do."""
    with pytest.raises(ValueError, match="give the loop"):
        watch.watch()
    closed = SteppedLoop()
    closed.close()
    with pytest.raises(ValueError, match="is closed"):
        watch.watch(closed)


async def test_the_running_loop_is_the_default(watch: EventLoopWatch) -> None:
    """Inside a coroutine no argument is needed."""
    watch.watch()
    assert [w.loop() for w in watch._watches] == [asyncio.get_running_loop()]
    watch.stop()


def test_the_number_of_loops_is_bounded(
    watch: EventLoopWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Past the bound a loop is not watched, and that is said once."""
    guard.forget_said()
    loops = [SteppedLoop() for _ in range(MAX_LOOPS + 2)]
    with caplog.at_level(logging.WARNING):
        for loop in loops:
            watch.watch(loop)
    assert len(watch._watches) == MAX_LOOPS
    assert len([record for record in caplog.records if "event loops" in record.message]) == 1
    watch.stop()
    for loop in loops:
        loop.close()


def test_a_child_forgets_the_parents_loops(loop: SteppedLoop, watch: EventLoopWatch) -> None:
    """No thread of a forked child runs them."""
    watch.watch(loop)
    watch.after_fork_in_child()
    watch.close_window()
    assert watch.readings() == ()


def test_a_loop_that_is_gone_is_not_kept_alive(watch: EventLoopWatch) -> None:
    """Watching holds a loop weakly."""
    import gc

    loop: Any = SteppedLoop()
    watch.watch(loop)
    loop.step(0)
    loop.close()
    del loop
    gc.collect()
    watch.close_window()
    assert watch._watches == []
