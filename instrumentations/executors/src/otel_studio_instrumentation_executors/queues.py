"""Queues that the program names: their length, and how long items wait in them."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from .records import QueueStatistics
from .safety import report_failure

#: Whether the oldest item is taken first, by the class whose order a queue keeps.
_TAKES_OLDEST: dict[type[Any], bool] = {
    queue.Queue: True,
    queue.LifoQueue: False,
    asyncio.Queue: True,
    asyncio.LifoQueue: False,
}


class _WatchedQueue:
    """One queue: its length is asked for, the times of its items are kept beside them."""

    def __init__(self, name: str, watched: Any, monotonic_ns: Callable[[], int]) -> None:
        self.name = name
        self._queue = weakref.ref(watched)
        self._monotonic_ns = monotonic_ns
        self._takes_oldest = _order_of(watched)
        self._lock = threading.Lock()
        self._put_at: deque[int | None] = deque()
        self.taken = self._wait_ns = self._max_wait_ns = 0
        if self._takes_oldest is not None:
            self._hook(watched)

    def _hook(self, watched: Any) -> None:
        """Replace, on this object alone, the two methods that the classes offer for overriding.

        Both are called with the queue's own lock held, or on its loop's thread.
        """
        put, get = watched._put, watched._get

        def timed_put(item: Any) -> None:
            put(item)
            with self._lock:
                self._put_at.append(self._monotonic_ns())

        def timed_get() -> Any:
            item = get()
            self._take()
            return item

        # What is in the queue already waits since an unknown time.
        self._put_at.extend([None] * watched.qsize())
        watched._put, watched._get = timed_put, timed_get

    def unhook(self) -> None:
        """Give the queue its own methods back."""
        watched = self._queue()
        if watched is not None and self._takes_oldest is not None:
            watched.__dict__.pop("_put", None)
            watched.__dict__.pop("_get", None)

    def is_gone(self) -> bool:
        """Return whether the program has dropped the queue."""
        return self._queue() is None

    def statistics(self) -> QueueStatistics | None:
        """Return the figures, or `None` when the queue is gone."""
        watched = self._queue()
        if watched is None:
            return None
        length = _length(watched)
        capacity = _capacity(watched)
        with self._lock:
            oldest = None
            if self._put_at:
                oldest = self._put_at[0 if self._takes_oldest else -1]
            return QueueStatistics(
                name=self.name,
                length=length,
                capacity=capacity,
                saturation=min(1.0, length / capacity) if capacity and length is not None else None,
                items_taken=self.taken,
                average_wait_ms=self._wait_ns / self.taken / 1e6 if self.taken else None,
                max_wait_ms=self._max_wait_ns / 1e6 if self.taken else None,
                oldest_wait_ms=(
                    (self._monotonic_ns() - oldest) / 1e6 if oldest is not None else None
                ),
            )

    def waited_seconds(self) -> float:
        """Return the time that all items taken have waited, in seconds."""
        return self._wait_ns / 1e9

    def _take(self) -> None:
        with self._lock:
            if not self._put_at:
                return
            put_at = self._put_at.popleft() if self._takes_oldest else self._put_at.pop()
            if put_at is None:
                return
            wait_ns = max(0, self._monotonic_ns() - put_at)
            self.taken += 1
            self._wait_ns += wait_ns
            self._max_wait_ns = max(self._max_wait_ns, wait_ns)


class QueueBook:
    """The watched queues, by name; none is kept alive.

    Args:
        monotonic_ns: clock for waits, in nanoseconds.
    """

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._lock = threading.RLock()
        self._watched: dict[str, _WatchedQueue] = {}

    def watch(self, name: str, watched: Any) -> None:
        """Watch a queue; the same name replaces the earlier one.

        Args:
            name: what to call it.
            watched: an object with `qsize`.
        """
        with self._lock:
            self.unwatch(name)
            self._watched[name] = _WatchedQueue(name, watched, self._monotonic_ns)

    def unwatch(self, name: str) -> None:
        """Watch a queue no longer; an unknown name changes nothing.

        Args:
            name: as given to `watch`.
        """
        with self._lock:
            entry = self._watched.pop(name, None)
            if entry is not None:
                entry.unhook()

    def unwatch_all(self) -> None:
        """Watch no queue any more."""
        with self._lock:
            for name in list(self._watched):
                self.unwatch(name)

    def entries(self) -> list[_WatchedQueue]:
        """Return the queues that still exist."""
        with self._lock:
            for name, entry in list(self._watched.items()):
                if entry.is_gone():
                    del self._watched[name]
            return list(self._watched.values())

    def statistics(self) -> list[QueueStatistics]:
        """Return the figures of each queue."""
        found = (entry.statistics() for entry in self.entries())
        return [each for each in found if each is not None]


def _order_of(watched: Any) -> bool | None:
    """Return whether the oldest item is taken first; `None` when the order cannot be followed."""
    for kind, takes_oldest in _TAKES_OLDEST.items():
        if isinstance(watched, kind):
            own = type(watched)
            if (own._put, own._get) == (kind._put, kind._get):
                return takes_oldest
    return None


def _length(watched: Any) -> int | None:
    try:
        return int(watched.qsize())
    except NotImplementedError:  # macOS cannot count the items of a multiprocessing queue
        return None
    except Exception as error:
        report_failure("reading the length of a queue", error)
        return None


def _capacity(watched: Any) -> int | None:
    size = getattr(watched, "maxsize", None) or getattr(watched, "_maxsize", None)
    return size if isinstance(size, int) and size > 0 and size < 2**31 - 1 else None
