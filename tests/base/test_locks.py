"""Locks of ours: re-entrant, known, and free in a forked child."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from forked import in_forked_child
from otel_studio.base import locks
from otel_studio.base.locks import Signal, is_known, new_lock, was_held_at_fork

from parts import wait_until


class Holder:
    """Holds a lock on a thread of its own until it is told to let go."""

    def __init__(self, lock: locks.StudioLock) -> None:
        self._lock = lock
        self._held, self._release = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._held.wait(10)

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._thread.join()

    def _hold(self) -> None:
        with self._lock:
            self._held.set()
            self._release.wait()


def test_a_lock_is_re_entrant_and_known_while_it_lives() -> None:
    """A finalizer may take it again on its thread; the fork protocol forgets what is gone."""
    lock = new_lock()
    with lock, lock:
        assert is_known(lock)
    assert not is_known(threading.RLock())
    assert not is_known(threading.Lock())
    (known,) = [reference for reference in locks._live if reference() is lock]
    del lock
    gc.collect()
    assert not any(reference is known for reference in locks._live)


def test_locks_that_another_thread_holds_are_free_in_a_child() -> None:
    """Whatever thread of the parent held one, nobody waits for it."""
    lock, other = new_lock(), new_lock()
    with Holder(lock), other:
        assert in_forked_child(lambda: [lock.acquire(timeout=5), other.acquire(timeout=5)])
        assert other._is_owned()


def test_a_fork_waits_for_a_lock_that_is_held_for_it() -> None:
    """A child is told whether the fork came at a moment when nobody was inside."""
    lock = new_lock(hold_for_fork=True)
    assert in_forked_child(lambda: was_held_at_fork(lock)) is True
    assert lock.acquire(timeout=5)
    lock.release()
    plain = new_lock()
    assert in_forked_child(lambda: was_held_at_fork(plain)) is False


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody stays inside: the child is told, and has the lock free all the same."""
    monkeypatch.setattr(locks, "FORK_PATIENCE", 0.01)
    lock = new_lock(hold_for_fork=True)

    def in_child() -> list[bool]:
        return [was_held_at_fork(lock), lock.acquire(timeout=5)]

    with Holder(lock):
        assert in_forked_child(in_child) == [False, True]


def test_two_threads_that_fork_at_once_both_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither leaves a lock held that the other had taken for its fork."""
    monkeypatch.setattr(locks, "_held_for_forks", set())  # not what hangs in another test's driver
    lock = new_lock(hold_for_fork=True)
    start = threading.Barrier(2)

    def fork() -> None:
        start.wait()
        for _ in range(20):
            locks.hold_for_fork()
            locks.release_in_parent()

    threads = [threading.Thread(target=fork) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    with Holder(lock):  # another thread gets it
        pass
    assert locks._holding == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_children_of_two_threads_that_fork_at_once_are_able(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each child has every lock free, and the parent too when both have forked."""
    monkeypatch.setattr(locks, "_held_for_forks", set())
    lock, plain = new_lock(hold_for_fork=True), new_lock()
    start, answers = threading.Barrier(2), []

    def fork() -> None:
        start.wait()
        for _ in range(5):
            answer = in_forked_child(lambda: [lock.acquire(timeout=5), plain.acquire(timeout=5)])
            answers.append(answer)

    threads = [threading.Thread(target=fork) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert answers == [[True, True]] * 10
    with Holder(lock), Holder(plain):
        pass


def test_a_signal_wakes_one_wait_and_is_cleared_by_it() -> None:
    """However often it was set."""
    bell = Signal()
    assert not bell.wait(0)
    bell.set()
    bell.set()
    assert bell.wait(0)
    assert not bell.wait(0)
    bell.set()
    bell.renew()
    assert not bell.wait(0)


def test_a_signal_wakes_a_thread_that_waits() -> None:
    """The wait ends at once."""
    bell, woken = Signal(), threading.Event()

    def wait() -> None:
        bell.wait()
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    bell.set()
    wait_until(woken.is_set, what="the thread")
    thread.join()
