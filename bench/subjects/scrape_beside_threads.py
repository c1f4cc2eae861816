"""What a scrape of 1,000 operations does to the threads that run operations meanwhile."""

from __future__ import annotations

import json
import threading
import time
from types import TracebackType
from typing import Any

import otel_studio
from bench.subject import BUCKETS, Subject
from bench.subjects.registry_studio import record

_THREADS = 4
#: Of each round; there is one scrape in every other round, as if one came each second.
_SECONDS = 1.0
#: Pairs of rounds in one figure.
_PAIRS = 2
_WORK = {"path": "/previews/a.mp4", "sizes": list(range(40))}


class WatchedLock:
    """Stands in for a re-entrant lock, and keeps the longest that a thread has held it.

    In CPU time of the thread that holds it: another program on the machine does not count.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._depth = 0
        self._since = 0.0
        self.longest = 0.0

    def acquire(self, *args: Any, **keywords: Any) -> bool:
        """Take it; the time runs from the outermost one."""
        taken = bool(self._lock.acquire(*args, **keywords))
        if taken:
            self._depth += 1
            if self._depth == 1:
                self._since = time.thread_time()
        return taken

    def release(self) -> None:
        """Let it go."""
        if self._depth == 1:
            self.longest = max(self.longest, time.thread_time() - self._since)
        self._depth -= 1
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def watch_fold_lock(running: otel_studio.Studio) -> WatchedLock:
    """Put a watched lock where a Studio keeps the one that its folds hold."""
    ended = running.tracer_provider.ended
    name = "lock" if hasattr(ended, "lock") else "_lock"
    watched = WatchedLock(getattr(ended, name))
    setattr(ended, name, watched)
    return watched


@otel_studio.track("work", service="beside")
def _work() -> str:
    return json.dumps(_WORK)


def _round(during: Any = None) -> list[float]:
    """Return how long each operation took, in threads that do nothing else for a second."""
    taken: list[list[float]] = [[] for _ in range(_THREADS)]
    until = time.perf_counter() + _SECONDS

    def run(kept: list[float]) -> None:
        clock = time.perf_counter
        began = clock()
        while began < until:
            _work()
            ended = clock()
            kept.append(ended - began)
            began = ended

    threads = [threading.Thread(target=run, args=(kept,)) for kept in taken]
    for thread in threads:
        thread.start()
    if during is not None:
        time.sleep(_SECONDS / 4)
        during()
    for thread in threads:
        thread.join()
    return [seconds for kept in taken for seconds in kept]


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def make() -> Subject:
    """Return the subject."""
    running = otel_studio.configure(service_name="bench", histogram_bounds=BUCKETS)
    record("bench", 1_000, 20)
    running.prometheus_text()

    def held() -> float:
        lock = watch_fold_lock(running)
        for number in range(1_000):
            otel_studio.service("bench").record_operation(f"operation_{number}", 0.001)
        lock.longest = 0.0
        running.prometheus_text()
        return lock.longest

    def p99_ratio() -> float:
        without, beside = [], []
        for _ in range(_PAIRS):  # in turns: a slow spell of the machine meets both
            without += _round()
            beside += _round(running.prometheus_text)
        return _p99(beside) / _p99(without)

    return Subject({}, figures={"fold_lock_held": held, "p99_ratio": p99_ratio})
