"""Tasks of asyncio's event loops: how long they wait for their first step, and how they end."""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

from .pools import PoolBook, PoolFigures
from .records import PoolStatistics
from .safety import report_failure

NAME = "asyncio tasks"


class _TaskEntry:
    """One task between its creation and its end."""

    __slots__ = ("_created_ns", "_follower", "_loop_entry", "_started_ns")

    def __init__(self, follower: TaskFollower, loop_entry: _LoopEntry) -> None:
        self._follower = follower
        self._loop_entry = loop_entry
        self._created_ns = follower.book.monotonic_ns()
        self._started_ns: int | None = None

    def begin(self) -> None:
        """Note the first step: the loop calls this just before it."""
        self._loop_entry.queued -= 1
        self._started_ns = self._follower.book.monotonic_ns()

    def end(self, task: asyncio.Task[Any]) -> None:
        """Count the end of the task."""
        now_ns = self._follower.book.monotonic_ns()
        wait_ns = run_ns = None
        if self._started_ns is not None:
            wait_ns = self._started_ns - self._created_ns
            run_ns = now_ns - self._started_ns
        # Asking the task for its exception would silence asyncio's own warning about it.
        failed = not task.cancelled() and getattr(task, "_exception", None) is not None
        outcome = "cancelled" if task.cancelled() else "failed" if failed else "completed"
        self._follower.figures().settle(outcome, wait_ns, run_ns)


class _LoopEntry:
    """Tasks of one loop that have yet to take their first step; changed by its thread alone."""

    __slots__ = ("queued",)

    def __init__(self) -> None:
        self.queued = 0


class TaskFollower:
    """Stands in for `BaseEventLoop.create_task`.

    Args:
        book: where tasks are counted.
    """

    def __init__(self, book: PoolBook) -> None:
        self.book = book
        self._figures: PoolFigures | None = None
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopEntry] = (
            weakref.WeakKeyDictionary()
        )

    def create_task(
        self, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any
    ) -> asyncio.Task[Any]:
        """Make a task, measured."""
        entry = self._prepare(instance)
        task: asyncio.Task[Any] = wrapped(*args, **kwargs)
        if entry is not None:
            self.figures().submit()
            task.add_done_callback(entry.end)
        return task

    def figures(self) -> PoolFigures:
        """Return the figures that asyncio's tasks count in."""
        if self._figures is None:
            self._figures = self.book.named(NAME, "asyncio")
        return self._figures

    def complete(self, figures: PoolStatistics) -> PoolStatistics:
        """Return the figures with what the open loops hold now.

        Args:
            figures: of the asyncio tasks; their totals are taken as they are.
        """
        loops = [(loop, entry) for loop, entry in self._open_loops() if not loop.is_closed()]
        queued = sum(entry.queued for _, entry in loops)
        pending = sum(len(asyncio.all_tasks(loop)) for loop, _ in loops)
        return dataclasses.replace(
            figures, executors=len(loops), queued=queued, running=max(0, pending - queued)
        )

    def forget(self) -> None:
        """Drop the loops and the figures, as a forked child does."""
        self._figures = None
        self._loops = weakref.WeakKeyDictionary()

    def _open_loops(self) -> list[tuple[asyncio.AbstractEventLoop, _LoopEntry]]:
        while True:
            try:
                return list(self._loops.items())
            except RuntimeError:  # another thread opened a loop meanwhile
                continue

    def _prepare(self, loop: asyncio.AbstractEventLoop) -> _TaskEntry | None:
        if loop.is_closed():
            return None
        try:
            loop_entry = self._loops.get(loop)
            if loop_entry is None:
                loop_entry = self._loops[loop] = _LoopEntry()
            entry = _TaskEntry(self, loop_entry)
            if loop.get_task_factory() is None:
                # The loop runs what is called soon in order, so this comes just before the
                # task's own first step. Another factory may run that step at once.
                loop.call_soon(entry.begin)
                loop_entry.queued += 1
            return entry
        except Exception as error:
            report_failure("measuring an asyncio task", error)
            return None
