"""Measures thread and process pools, asyncio tasks and queues, and carries the context across.

Example:
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from otel_studio_instrumentation_executors import ExecutorsInstrumentor, pools
    >>> ExecutorsInstrumentor().instrument()
    >>> with ThreadPoolExecutor(2, thread_name_prefix="resize") as pool:
    ...     sizes = list(pool.map(len, ["a", "bc", "def"]))
    >>> [(each.name, each.completed, each.queued) for each in pools() if each.name == "resize"]
    [('resize', 3, 0)]
    >>> ExecutorsInstrumentor().uninstrument()
"""

from __future__ import annotations

import asyncio.base_events
import concurrent.futures
import os
from collections.abc import Collection
from concurrent.futures.process import ProcessPoolExecutor
from concurrent.futures.thread import ThreadPoolExecutor
from typing import Any

import wrapt
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)
from opentelemetry.instrumentation.utils import unwrap

from .package import _instruments
from .pools import PoolBook, PoolFigures
from .processes import ProcessFollower
from .queues import QueueBook
from .records import PoolStatistics, QueueStatistics
from .spans import SCOPE
from .tasks import TaskFollower
from .telemetry import Gauges, Source
from .threads import ThreadFollower
from .version import __version__

__all__ = [
    "ExecutorsInstrumentor",
    "PoolStatistics",
    "QueueStatistics",
    "__version__",
    "name_executor",
    "pools",
    "queues",
    "unwatch_queue",
    "watch_queue",
]

_book = PoolBook()
_threads = ThreadFollower(_book)
_processes = ProcessFollower(_book)
_tasks = TaskFollower(_book)
_queues = QueueBook()


def _after_fork() -> None:
    _book.forget_all()
    _processes.after_fork()
    _tasks.forget()
    _queues.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _figures() -> list[PoolFigures]:
    _processes.fold()
    return _book.all()


def pools() -> list[PoolStatistics]:
    """Return the figures of every pool, by name, and of asyncio's tasks.

    Example:
        >>> [each.name for each in pools() if each.saturation == 1.0]
        []
    """
    found = [figures.statistics() for figures in _figures()]
    return [_tasks.complete(each) if each.kind == "asyncio" else each for each in found]


def queues() -> list[QueueStatistics]:
    """Return the figures of every watched queue that still exists."""
    return _queues.statistics()


def watch_queue(name: str, queue: Any) -> None:
    """Watch a queue: its length, and for first-in-first-out and last-in-first-out ones the waits.

    Args:
        name: what to call it; the same name replaces the earlier queue.
        queue: an `asyncio`, `queue` or `multiprocessing` queue; it is not kept alive.

    Raises:
        TypeError: if `queue` has no `qsize`.

    Example:
        >>> import queue
        >>> jobs = queue.Queue(maxsize=4)
        >>> watch_queue("jobs", jobs)
        >>> jobs.put("a")
        >>> [(each.length, each.saturation) for each in queues()]
        [(1, 0.25)]
        >>> unwatch_queue("jobs")
    """
    if not callable(getattr(queue, "qsize", None)):
        raise TypeError(
            f"queue is {type(queue).__name__}, which has no qsize(): "
            "give a queue of asyncio, queue or multiprocessing"
        )
    _queues.watch(name, queue)


def unwatch_queue(name: str) -> None:
    """Watch a queue no longer, and give it its own methods back; an unknown name changes nothing.

    Args:
        name: as given to `watch_queue`.
    """
    _queues.unwatch(name)


def name_executor(executor: concurrent.futures.Executor, name: str) -> None:
    """Call a pool by a name of yours, for its tasks from now on; process pools have no other.

    Args:
        executor: a thread or process pool.
        name: what to call it; pools of the same name and kind count together.

    Raises:
        TypeError: if `executor` is no executor.

    Example:
        >>> from concurrent.futures import ProcessPoolExecutor
        >>> pool = ProcessPoolExecutor(2)
        >>> name_executor(pool, "thumbnails")
        >>> pool.shutdown()
    """
    if not isinstance(executor, concurrent.futures.Executor):
        raise TypeError(
            f"executor is {type(executor).__name__}: give a ThreadPoolExecutor or a "
            "ProcessPoolExecutor"
        )
    _book.assign(executor, name)


class ExecutorsInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module is untyped
    """Measures what is submitted and created while it is on."""

    _gauges: Gauges | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what must be installed: nothing."""
        return _instruments

    def _instrument(self, **kwargs: Any) -> None:
        """Begin.

        Args:
            kwargs: `tracer_provider` and `meter_provider`; the global ones without. Child
                processes of pools use their own global one.
        """
        _threads.tracer = trace.get_tracer(SCOPE, __version__, kwargs.get("tracer_provider"))
        self._gauges = Gauges.of(kwargs.get("meter_provider"))
        self._gauges.source = Source(_figures, pools, _queues)
        _processes.listen()
        _tasks.figures()
        wrapt.wrap_function_wrapper(ThreadPoolExecutor, "submit", _threads.submit)
        wrapt.wrap_function_wrapper(ProcessPoolExecutor, "submit", _processes.submit)
        wrapt.wrap_function_wrapper(
            asyncio.base_events.BaseEventLoop, "create_task", _tasks.create_task
        )

    def _uninstrument(self, **kwargs: Any) -> None:
        """Restore the pools, the event loop and the watched queues; tasks in flight still count."""
        unwrap(ThreadPoolExecutor, "submit")
        unwrap(ProcessPoolExecutor, "submit")
        unwrap(asyncio.base_events.BaseEventLoop, "create_task")
        _queues.unwatch_all()
        if self._gauges is not None:
            self._gauges.source = None
