"""Who is told of forks, when, and what a failure of one costs the others."""

from __future__ import annotations

import gc
import threading

import pytest

from forked import in_forked_child
from otel_studio.base import forking, guard
from otel_studio.base.locks import new_lock, was_held_at_fork


class Part:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.lock = new_lock(hold_for_fork=True)

    def before_fork(self) -> None:
        self.told.append("before")

    def after_fork_in_parent(self) -> None:
        self.told.append("parent")

    def after_fork_in_child(self) -> None:
        self.told.append("child" if was_held_at_fork(self.lock) else "child, too early")


class Broken(Part):
    def before_fork(self) -> None:
        raise OSError("no")


def test_parts_are_told_before_and_after() -> None:
    """The child's part is told once every lock is free, and knows what was held."""
    part = Part()
    forking.watch(part)
    assert in_forked_child(lambda: part.told) == ["before", "child"]
    assert part.told == ["before", "parent"]
    forking.forget(part)
    assert in_forked_child(lambda: part.told) == ["before", "parent"]


def test_a_part_that_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted, and said later: no handler of the program runs inside of a fork."""
    broken, part = Broken(), Part()
    forking.watch(broken)
    forking.watch(part)
    assert in_forked_child(lambda: part.told) == ["before", "child"]
    assert guard.internal_errors == {"before_fork of Broken": 1}
    assert caplog.records == []
    guard.write_notes()
    assert len(caplog.records) == 1
    forking.forget(broken)
    forking.forget(part)


def test_a_part_that_is_gone_is_not_kept_alive() -> None:
    """It is held weakly."""
    before = len(forking._live)
    forking.watch(Part())
    gc.collect()
    assert len(forking._live) == before


def test_threads_that_watch_while_another_forks() -> None:
    """A fork tells those that were there, whoever comes and goes meanwhile."""
    part, done = Part(), threading.Event()
    forking.watch(part)

    def come_and_go() -> None:
        while not done.is_set():
            other = Part()
            forking.watch(other)
            forking.forget(other)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            forking._each("before_fork")
    finally:
        done.set()
        thread.join()
    forking.forget(part)
    assert part.told == ["before"] * 300
    assert not guard.internal_errors
