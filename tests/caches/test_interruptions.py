"""Caches that are asked, or broken off, in the middle of their own work."""

from __future__ import annotations

import gc
import itertools
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import repeat
from types import FrameType
from typing import Any

import pytest

import otel_studio.caches
from forked import in_forked_child
from otel_studio.base.clock import ManualClock, SystemClock
from otel_studio.base.forking import watch
from otel_studio.base.locks import is_known
from otel_studio.caches import Cache, CacheReading, CacheRegistry
from otel_studio.caches.account import FOLD_AT
from otel_studio.caches.events import HIT

#: Seconds after which what waits is taken for a deadlock.
PATIENCE = 20.0


def in_time(work: Callable[[], Any]) -> Any:
    """Return what a function returns on a thread of its own; fail where it never does."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it waits for ever"
    assert found, "it raised"
    return found[0]


class LockedKey:
    """A key whose hash takes a lock of the program's own."""

    def __init__(self, lock: threading.Lock, at_work: threading.Event) -> None:
        self.lock = lock
        self.at_work = at_work

    def __hash__(self) -> int:
        self.at_work.set()
        with self.lock:
            return 7

    def __eq__(self, other: object) -> bool:
        return self is other


def test_key_that_waits_for_a_thread_that_asks(caches: CacheRegistry) -> None:
    """A thread that holds the lock which a key's hash wants gets its answer all the same."""
    cache = caches.cache("previews")
    lock, at_work = threading.Lock(), threading.Event()
    with lock:
        cache.hit(LockedKey(lock, at_work))
        folder = threading.Thread(target=cache.fold, daemon=True)
        folder.start()
        assert at_work.wait(PATIENCE)
        # It would have to run the key's hash itself, so it asks of another cache, and records.
        other = caches.cache("other")
        other.hit("a")
        assert in_time(lambda: other.performance().hits) == 1
        assert in_time(lambda: [cache.hit("a") for _ in range(FOLD_AT * 2)])
        assert in_time(lambda: caches.cache("third", service="new").performance().hits) == 0
    folder.join(PATIENCE)
    assert cache.performance().hits == 1 + 2 * FOLD_AT


def test_backend_that_waits_for_a_thread_that_asks(caches: CacheRegistry) -> None:
    """A backend that hangs in one query stops no other thread's from recording or asking."""
    cache = caches.cache("previews")
    asked, release = threading.Event(), threading.Event()
    main = threading.current_thread()

    def read() -> CacheReading:
        if threading.current_thread() is not main and not asked.is_set():
            asked.set()
            release.wait(PATIENCE)
        return CacheReading(entries=3)

    cache.attach(read)
    slow = threading.Thread(target=cache.performance, daemon=True)
    slow.start()
    assert asked.wait(PATIENCE)
    cache.hit("a")
    assert cache.performance().entries == 3
    release.set()
    slow.join(PATIENCE)
    assert cache.performance().hits == 1


def test_backend_that_asks_for_its_own_cache(previews: Cache) -> None:
    """It gets the figures without its own, instead of being asked again and again."""
    found = []

    def read() -> CacheReading:
        found.append(previews.performance().hits)
        return CacheReading(hits=5)

    previews.attach(read)
    assert previews.performance().hits == 5
    assert found == [0]


def test_log_handler_that_asks_while_a_key_is_complained_of(
    previews: Cache, caches: CacheRegistry
) -> None:
    """A warning is said while no lock is held: a handler may ask from another thread and wait."""
    answers = []

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            answers.append(in_time(lambda: caches.cache("other").performance().misses))

    handler = Asking()
    logging.getLogger("otel_studio").addHandler(handler)
    try:
        previews.hit("a", duration=-1.0)
        caches.cache("other").miss("b")
        assert in_time(lambda: previews.performance().hits) == 1
        crowded = CacheRegistry(ManualClock(), max_caches=1)
        crowded.cache("one")
        crowded.cache("two")
    finally:
        logging.getLogger("otel_studio").removeHandler(handler)
    assert answers == [1, 1]


def test_finalizers_that_use_caches(caches: CacheRegistry) -> None:
    """Garbage that records and asks, collected at any allocation of ours, loses no count."""
    cache = caches.cache("previews")
    died = [0]

    class Dying:
        def __init__(self) -> None:
            self.itself = self  # so that only the collector frees it

        def __del__(self) -> None:
            died[0] += 1
            cache.miss("died")
            caches.cache("made in a finalizer").hit("a")
            caches.get_cache_performance_metrics()

    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for n in range(300):
            Dying()
            cache.hit(n % 7, duration=0.001)
            if n % 10 == 0:
                cache.fold()
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    record = cache.performance()
    assert died == [300]
    assert (record.hits, record.misses) == (300, 300)
    assert caches.cache("made in a finalizer").performance().hits == 300


def test_key_whose_death_uses_the_cache(previews: Cache) -> None:
    """The last reference to a key goes when it is folded: its finalizer may ask, and record."""

    class Mortal:
        def __del__(self) -> None:
            previews.miss("dead")
            previews.performance()

    for _ in range(50):
        previews.hit(Mortal())
    previews.fold()
    record = previews.performance()
    assert (record.hits, record.misses) == (50, 50)


class Stop(Exception):
    """Raised by a handler, as a time limit's is."""


@pytest.fixture
def storm() -> Iterator[Callable[[Callable[[], None], float], None]]:
    """Start a storm of signals, each of which calls a function in the main thread."""
    before = signal.getsignal(signal.SIGALRM)

    def start(handle: Callable[[], None], every: float) -> None:
        def handler(_number: int, _frame: FrameType | None) -> None:
            handle()

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, every, every)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_query_from_a_signal_handler_is_exact(
    storm: Callable[[Callable[[], None], float], None],
) -> None:
    """At any point inside our code: it counts all that was recorded, once, and nothing waits."""
    caches = CacheRegistry(SystemClock())
    cache = caches.cache("previews")
    recorded = 0
    wrong: list[tuple[int, int]] = []
    asked = 0
    asking = False

    def ask() -> None:
        nonlocal asked, asking
        if asking:  # on a busy machine the next signal comes before the answer
            return
        asking = True
        asked += 1
        hits = cache.performance().hits
        asking = False
        # The handler may run between the recording of a hit and the test's own count of it.
        if hits not in (recorded, recorded + 1):
            wrong.append((hits, recorded))

    storm(ask, 0.003)
    while asked < 150:
        cache.hit(recorded % 900, duration=0.001)
        recorded += 1
        if recorded % 200 == 0:
            cache.fold()
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert wrong == []
    assert cache.performance().hits == recorded


# What the handler raises inside of a callback of the garbage collector, the collector ignores.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handler_that_raises_loses_no_batch(
    storm: Callable[[Callable[[], None], float], None],
) -> None:
    """Folds are broken off again and again: in the end each event is counted once, not twice."""
    caches = CacheRegistry(SystemClock())
    cache = caches.cache("previews")
    raised = [0]
    total = [0]
    cache.attach(lambda: CacheReading(sets=total[0]))

    armed = False

    def stop() -> None:
        nonlocal armed
        if armed:
            armed = False
            raised[0] += 1
            raise Stop

    numbers = itertools.count()
    storm(stop, 0.0007)
    while raised[0] < 300:
        try:
            armed = True
            # In C, each number and its event in one step: what was counted out, is in.
            cache._events.extend(zip(repeat(HIT, 50), numbers, repeat(0.001), repeat(0)))
            total[0] += 1
            cache.performance()
            armed = False
        except Stop:
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    (part,) = cache.reading().parts.values()
    recorded = next(numbers)
    assert (part.hits, part.sets) == (recorded, total[0])
    assert [tally[:3] for tally in part.windows.day.values()] == [(recorded, 0, recorded)]
    assert [sum(buckets.values()) for buckets in part.durations.values()] == [recorded]


@pytest.mark.patient
def test_a_fork_in_the_middle_of_everything(caches: CacheRegistry) -> None:
    """While threads record, fold, ask and make caches, each child begins at zero and answers."""
    watch(caches)
    cache = caches.cache("previews")
    done = threading.Event()

    def use(number: int) -> None:
        n = 0
        while not done.is_set():
            n += 1
            cache.hit(n % 50, duration=0.001)
            cache.set(n % 50, size=1)
            caches.cache(f"{number}-{n % 300}").hit("a")
            if n % 20 == 0:
                cache.fold()

    def in_child() -> list[int]:
        begun = cache.performance().hits
        cache.hit("a")
        return [begun, cache.performance().hits, len(caches.reading().caches) > 0]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=use, args=(n,)) for n in range(3)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(10):
            assert in_forked_child(in_child) == [0, 1, 1]
    finally:
        done.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()


def test_a_deep_stack_loses_nothing(previews: Cache) -> None:
    """A caller at the end of its stack records; what it cannot fold there is folded later."""

    class Key:
        def __init__(self, n: int) -> None:
            self.n = n

        def __hash__(self) -> int:
            return hash(self.n)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Key) and self.n == other.n

        def __str__(self) -> str:
            return f"key {self.n}"

    def record(depth: int) -> None:
        if depth:
            record(depth - 1)
        else:
            for n in range(FOLD_AT + 10):
                previews.hit(Key(n % 5))

    depth = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    record(sys.getrecursionlimit() - depth - 20)
    found = previews.performance()
    assert found.hits == FOLD_AT + 10
    assert len(found.top_accessed_keys) == 5


def test_every_lock_is_known_to_the_fork_protocol(caches: CacheRegistry) -> None:
    """All that the caches lock is made in one place: re-entrant, and free in a forked child."""
    cache = caches.cache("previews")
    cache.attach(lambda: CacheReading(entries=1), remote=True)
    for owner in (cache._account, caches, caches._thresholds, caches._worker):
        assert is_known(owner._lock)
    others = (threading.Lock, threading.RLock, threading.Event, threading.Condition)
    for name, module in list(sys.modules.items()):
        if name.startswith(otel_studio.caches.__name__):
            assert not [held for held in vars(module).values() if any(held is o for o in others)]
