"""The frozen records that `pools()` and `queues()` return."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStatistics:
    """The executors of one name, or the tasks of all event loops, together.

    Attributes:
        name: the pool's name: `thread_name_prefix`, what `name_executor` said, or the class.
        kind: `thread`, `process`, `interpreter` or `asyncio`.
        executors: executors (or event loops) of this name that are open.
        workers: the most tasks they run at a time; `None` for event loops.
        queued: tasks that wait to start.
        running: tasks that run; in an event loop those that started and are not done.
        saturation: running tasks by workers, 0 to 1; `None` without workers.
        submitted: tasks submitted since the start.
        completed: tasks that returned.
        failed: tasks that raised, or that their pool broke under.
        cancelled: tasks cancelled, before or after their start.
        average_wait_ms: mean time from submission to start, in milliseconds.
        max_wait_ms: longest of these.
        average_run_ms: mean time from start to end, in milliseconds.
        max_run_ms: longest of these.
        wait_share: time waited by time waited and run, 0 to 1: near 1, more workers would help.
    """

    name: str
    kind: str
    executors: int
    workers: int | None
    queued: int
    running: int
    saturation: float | None
    submitted: int
    completed: int
    failed: int
    cancelled: int
    average_wait_ms: float | None
    max_wait_ms: float | None
    average_run_ms: float | None
    max_run_ms: float | None
    wait_share: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain dict."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class QueueStatistics:
    """One watched queue.

    Attributes:
        name: as given to `watch_queue`.
        length: items in the queue; `None` where the system cannot count them.
        capacity: the most items it takes; `None` without a limit.
        saturation: length by capacity, 0 to 1; `None` without a limit.
        items_taken: items taken whose waiting time was measured.
        average_wait_ms: mean time an item waited, in milliseconds; `None` for queues whose
            order of items cannot be followed.
        max_wait_ms: longest of these.
        oldest_wait_ms: how long the item to be taken next has waited, in milliseconds.
    """

    name: str
    length: int | None
    capacity: int | None
    saturation: float | None
    items_taken: int
    average_wait_ms: float | None
    max_wait_ms: float | None
    oldest_wait_ms: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain dict."""
        return dataclasses.asdict(self)
