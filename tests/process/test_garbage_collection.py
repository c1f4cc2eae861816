"""The garbage collector's figures, against `gc.get_stats()`, and the safety of its callback."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from forked import in_forked_child
from otel_studio.process.garbage_collection import PAUSE_BOUNDS, GarbageCollectionWatch


@pytest.fixture
def watch() -> Iterator[GarbageCollectionWatch]:
    watch = GarbageCollectionWatch()
    yield watch
    watch.stop()


@pytest.fixture
def quiet() -> Iterator[None]:
    """No collection but those a test asks for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.mark.usefixtures("quiet")
def test_counts_are_those_of_the_interpreter(watch: GarbageCollectionWatch) -> None:
    """Collections, collected and uncollectable objects equal gc.get_stats(), row by row."""
    for _ in range(10):
        Cycle()
    gc.collect(0)
    gc.collect(2)
    stats = gc.get_stats()
    for row, expected in zip(watch.collections(), stats, strict=True):
        assert row.collections == expected["collections"]
        assert row.collected == expected["collected"]
        assert row.uncollectable == expected["uncollectable"]


@pytest.mark.patient
@pytest.mark.usefixtures("quiet")
def test_each_collection_is_timed_once(watch: GarbageCollectionWatch) -> None:
    """Pauses count per generation, their buckets add up, and the longest is among them."""
    watch.start()
    watch.start()
    keep = [Cycle() for _ in range(20_000)]
    gc.collect(0)
    gc.collect(1)
    gc.collect(2)
    gc.collect(2)
    watch.stop()
    gc.collect(2)
    rows = watch.pauses()
    assert [row.count for row in rows] == [1, 1, 2]
    assert len(rows[2].buckets) == len(PAUSE_BOUNDS) + 1
    assert sum(rows[2].buckets) == 2
    assert rows[2].longest_ns is not None
    assert 0 < rows[2].longest_ns <= rows[2].total_ns
    assert len(keep) == 20_000


def test_stopping_leaves_the_callbacks_as_they_were(watch: GarbageCollectionWatch) -> None:
    """Only our own callback goes; one of the program's stays, and a cleared list is no error."""

    def theirs(phase: str, info: dict[str, Any]) -> None:
        pass

    before = list(gc.callbacks)
    watch.start()
    gc.callbacks.append(theirs)
    watch.stop()
    assert gc.callbacks == [*before, theirs]
    gc.callbacks.remove(theirs)
    watch.start()
    gc.callbacks.clear()
    watch.stop()
    gc.callbacks.extend(before)


@pytest.mark.usefixtures("quiet")
def test_a_collection_inside_of_reading_harms_nothing(watch: GarbageCollectionWatch) -> None:
    """The callback takes no lock: a collection may start anywhere, any number of times."""
    watch.start()
    done = threading.Event()

    def collect() -> None:
        while not done.is_set():
            gc.collect(0)

    thread = threading.Thread(target=collect)
    thread.start()
    last = 0
    for _ in range(300):
        pauses = watch.pauses()[0].count
        assert pauses >= last
        last = pauses
    done.set()
    thread.join()
    watch.stop()
    assert watch.pauses()[0].count >= last


def test_a_collection_that_began_before_the_watch_is_not_timed(
    watch: GarbageCollectionWatch,
) -> None:
    """An end without a beginning adds nothing."""
    watch._on_collection("stop", {"generation": 2})
    assert [row.count for row in watch.pauses()] == [0, 0, 0]
    assert watch.pauses()[2].longest_ns is None


@pytest.mark.patient
def test_a_forked_child_counts_from_zero(watch: GarbageCollectionWatch) -> None:
    """The interpreter's counts go on from the parent's; ours begin anew."""
    watch.start()
    gc.collect()

    def in_child() -> list[int]:
        gc.disable()
        watch.after_fork_in_child()
        before = sum(row.collections for row in watch.collections())
        before += sum(row.count for row in watch.pauses())
        gc.collect(2)
        return [before, watch.collections()[2].collections, watch.pauses()[2].count]

    assert in_forked_child(in_child) == [0, 1, 1]
    assert watch.pauses()[2].count >= 1
