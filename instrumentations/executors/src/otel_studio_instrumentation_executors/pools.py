"""Figures of pools: what waits, what runs, how long both took; bounded in the number of names."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

from .naming import executor_kind, executor_name
from .records import PoolStatistics

#: Names of pools kept apart; later ones share the last.
_MAX_NAMES = 100
OTHER = "__other__"


#: One change: to submitted, queued and running, and the wait, the run and the outcome it told.
_Change = tuple[int, int, int, int | None, int | None, str | None]

_SUBMITTED: _Change = (1, 1, 0, None, None, None)
_WITHDRAWN: _Change = (-1, -1, 0, None, None, None)

#: Changes kept before they are added up.
_MAX_CHANGES = 1_000


class PoolFigures:
    """The figures of all pools of one name and kind.

    Whoever changes them only appends; a question adds up first, so answers are exact.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        # Re-entrant: a finalizer or a signal handler may end a task while changes are added up.
        self._lock = threading.RLock()
        self._is_folding = False
        self._changes: deque[_Change] = deque()
        self._executors: weakref.WeakSet[concurrent.futures.Executor] = weakref.WeakSet()
        self._submitted = self._queued = self._running = 0
        self._outcomes = {"completed": 0, "failed": 0, "cancelled": 0}
        self._waits = _Durations()
        self._runs = _Durations()

    def join(self, executor: concurrent.futures.Executor) -> None:
        """Add an executor to those counted under this name."""
        with self._lock:
            self._executors.add(executor)

    def leave(self, executor: concurrent.futures.Executor) -> None:
        """Take an executor away; its past stays in the figures."""
        with self._lock:
            self._executors.discard(executor)

    def submit(self) -> None:
        """Count a task that now waits."""
        self._changes.append(_SUBMITTED)

    def withdraw(self) -> None:
        """Undo `submit`: the pool did not take the task."""
        self._changes.append(_WITHDRAWN)

    def start(self, wait_ns: int) -> None:
        """Count a waiting task that starts.

        Args:
            wait_ns: how long it waited.
        """
        self._changes.append((0, -1, 1, wait_ns, None, None))

    def end(self, run_ns: int, outcome: str) -> None:
        """Count a running task that ends.

        Args:
            run_ns: how long it ran.
            outcome: `completed`, `failed` or `cancelled`.
        """
        self._changes.append((0, 0, -1, None, run_ns, outcome))
        if len(self._changes) > _MAX_CHANGES:
            self._fold()

    def settle(self, outcome: str, wait_ns: int | None = None, run_ns: int | None = None) -> None:
        """Count the end of a task whose start was not seen, or that never started.

        Args:
            outcome: `completed`, `failed` or `cancelled`.
            wait_ns: how long it waited, where that became known.
            run_ns: how long it ran, where that became known.
        """
        self._changes.append((0, -1, 0, wait_ns, run_ns, outcome))
        if len(self._changes) > _MAX_CHANGES:
            self._fold()

    def outcomes(self) -> dict[str, int]:
        """Return the ended tasks by outcome."""
        with self._lock:
            self._fold()
            return dict(self._outcomes)

    def waited_and_ran_seconds(self) -> tuple[float, float]:
        """Return the time that all tasks have waited, and that they have run, in seconds."""
        with self._lock:
            self._fold()
            return self._waits.total_ns / 1e9, self._runs.total_ns / 1e9

    def statistics(self) -> PoolStatistics:
        """Return the figures as a record."""
        with self._lock:
            self._fold()
            open_executors = [each for each in self._executors if not _is_shut(each)]
            queued, running = self._queued, self._running
            workers = sum(getattr(each, "_max_workers", 0) for each in open_executors) or None
            if self.kind in {"process", "interpreter"}:
                # The start of a task is not seen from here: what is in flight fills the workers.
                running = min(queued, workers or 0)
                queued -= running
            busy = self._waits.total_ns + self._runs.total_ns
            return PoolStatistics(
                name=self.name,
                kind=self.kind,
                executors=len(open_executors),
                workers=workers,
                queued=queued,
                running=running,
                saturation=min(1.0, running / workers) if workers else None,
                submitted=self._submitted,
                completed=self._outcomes["completed"],
                failed=self._outcomes["failed"],
                cancelled=self._outcomes["cancelled"],
                average_wait_ms=self._waits.average_ms(),
                max_wait_ms=self._waits.max_ms(),
                average_run_ms=self._runs.average_ms(),
                max_run_ms=self._runs.max_ms(),
                wait_share=self._waits.total_ns / busy if busy else None,
            )

    def _fold(self) -> None:
        """Add up what was appended."""
        with self._lock:
            if self._is_folding:  # what has interrupted it would be overwritten
                return
            self._is_folding = True
            try:
                while self._changes:
                    self._add(self._changes.popleft())
            finally:
                self._is_folding = False

    def _add(self, change: _Change) -> None:
        submitted, queued, running, wait_ns, run_ns, outcome = change
        self._submitted += submitted
        self._queued += queued
        self._running += running
        if wait_ns is not None:
            self._waits.add(wait_ns)
        if run_ns is not None:
            self._runs.add(run_ns)
        if outcome is not None:
            self._outcomes[outcome] += 1


class _Durations:
    """Number, sum and longest of some durations; one below zero, of a clock set back, is zero."""

    __slots__ = ("count", "longest_ns", "total_ns")

    def __init__(self) -> None:
        self.count = self.total_ns = self.longest_ns = 0

    def add(self, duration_ns: int) -> None:
        """Add one."""
        duration_ns = max(0, duration_ns)
        self.count += 1
        self.total_ns += duration_ns
        self.longest_ns = max(self.longest_ns, duration_ns)

    def average_ms(self) -> float | None:
        """Return the mean in milliseconds; `None` before the first."""
        return self.total_ns / self.count / 1e6 if self.count else None

    def max_ms(self) -> float | None:
        """Return the longest in milliseconds; `None` before the first."""
        return self.longest_ns / 1e6 if self.count else None


class PoolBook:
    """The figures of every pool, by name and kind.

    Args:
        monotonic_ns: clock for waits and runs, in nanoseconds; the same in child processes.
    """

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.monotonic_ns = monotonic_ns
        self._lock = threading.RLock()
        self._by_name: dict[tuple[str, str], PoolFigures] = {}
        self._by_executor: weakref.WeakKeyDictionary[concurrent.futures.Executor, PoolFigures] = (
            weakref.WeakKeyDictionary()
        )

    def named(self, name: str, kind: str) -> PoolFigures:
        """Return the figures of a name, made when it is new.

        Args:
            name: of the pool.
            kind: `thread`, `process`, `interpreter` or `asyncio`.
        """
        with self._lock:
            figures = self._by_name.get((name, kind))
            if figures is None:
                if len(self._by_name) >= _MAX_NAMES:
                    name = OTHER
                figures = self._by_name.setdefault((name, kind), PoolFigures(name, kind))
            return figures

    def of(self, executor: concurrent.futures.Executor) -> PoolFigures:
        """Return the figures that an executor counts in.

        Args:
            executor: a pool.
        """
        figures = self._by_executor.get(executor)
        if figures is None:
            figures = self.assign(executor, executor_name(executor))
        return figures

    def assign(self, executor: concurrent.futures.Executor, name: str) -> PoolFigures:
        """Let an executor count under a name from now on.

        Args:
            executor: a pool.
            name: what to call it.
        """
        figures = self.named(name, executor_kind(executor))
        with self._lock:
            before = self._by_executor.get(executor)
            if before is not None and before is not figures:
                before.leave(executor)
            self._by_executor[executor] = figures
            figures.join(executor)
        return figures

    def all(self) -> list[PoolFigures]:
        """Return the figures of every name."""
        with self._lock:
            return list(self._by_name.values())

    def forget_all(self) -> None:
        """Start from nothing, as a forked child does."""
        self._lock = threading.RLock()
        self._by_name = {}
        self._by_executor = weakref.WeakKeyDictionary()


def _is_shut(executor: concurrent.futures.Executor) -> bool:
    return bool(
        getattr(executor, "_shutdown", False) or getattr(executor, "_shutdown_thread", False)
    )
