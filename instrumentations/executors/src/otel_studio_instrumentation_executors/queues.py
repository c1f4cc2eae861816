"""Queues that the program names: their length, and how long items wait in them."""

from __future__ import annotations

import asyncio
import queue
import sys
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


#: Waits kept before they are added up.
_MAX_WAITS = 1_000


class _WatchedQueue:
    """One queue: its length is asked for, the times of its items are kept beside them."""

    def __init__(self, name: str, watched: Any, monotonic_ns: Callable[[], int]) -> None:
        self.name = name
        self._queue = weakref.ref(watched)
        self._monotonic_ns = monotonic_ns
        self._takes_oldest = _order_of(watched)
        #: Which item was put there and when, in the queue's own order; `None` where that is not
        #: known. Changed with the queue's own lock held, or on its loop's thread.
        self._put_at: deque[tuple[int, int] | None] = deque()
        #: Waits of items taken that are not added up yet.
        self._waits: deque[int] = deque()
        # Re-entrant: a finalizer or a signal handler may ask for figures inside. Nothing of the
        # queue's is called with it held: another thread may hold the queue's lock and come here.
        self._folding = threading.RLock()
        self._is_folding = False
        self._taken = self._wait_ns = self._max_wait_ns = 0
        if self._takes_oldest is not None:
            self._hook(watched)

    def _hook(self, watched: Any) -> None:
        """Replace, on this object alone, the two methods that the classes offer for overriding.

        Both are called with the queue's own lock held, or on its loop's thread.
        """
        put, get, put_at = watched._put, watched._get, self._put_at

        def timed_put(item: Any) -> None:
            self._follow()
            put(item)
            put_at.append((id(item), self._monotonic_ns()))

        def timed_get() -> Any:
            self._follow()
            known = (put_at.popleft() if self._takes_oldest else put_at.pop()) if put_at else None
            item = get()
            if known is None or _is_dropping(watched_now()):
                return item
            if known[0] != id(item):  # others have come and gone by another way
                put_at.clear()
                return item
            self._waits.append(max(0, self._monotonic_ns() - known[1]))
            if len(self._waits) > _MAX_WAITS and self._folding.acquire(blocking=False):
                try:  # else whoever is at it goes on to these
                    self._fold()
                finally:
                    self._folding.release()
            return item

        watched_now = self._queue
        # What is in the queue already waits since an unknown time.
        put_at.extend([None] * _items_of(watched))
        watched._put, watched._get = timed_put, timed_get

    def _follow(self) -> None:
        """Forget the times of items that have gone or come by another way than put and get.

        Which of them that were is not known, unless all have gone.
        """
        watched = self._queue()
        length = 0 if watched is None else _items_of(watched)
        if len(self._put_at) != length:
            self._put_at.clear()
            self._put_at.extend([None] * length)

    def unhook(self) -> None:
        """Give the queue its own methods back."""
        watched = self._queue()
        if watched is not None and self._takes_oldest is not None:
            watched.__dict__.pop("_put", None)
            watched.__dict__.pop("_get", None)

    def renew_lock(self) -> None:
        """Have a lock that is free, in a forked child."""
        self._folding = threading.RLock()
        self._is_folding = False

    def is_gone(self) -> bool:
        """Return whether the program has dropped the queue."""
        return self._queue() is None

    @property
    def taken(self) -> int:
        """Items taken whose waiting time was measured."""
        self._fold()
        return self._taken

    def statistics(self) -> QueueStatistics | None:
        """Return the figures, or `None` when the queue is gone."""
        watched = self._queue()
        if watched is None:
            return None
        length = _length(watched)
        capacity = _capacity(watched)
        oldest = self._oldest(watched)
        self._fold()
        taken, wait_ns, max_wait_ns = self._taken, self._wait_ns, self._max_wait_ns
        return QueueStatistics(
            name=self.name,
            length=length,
            capacity=capacity,
            saturation=min(1.0, length / capacity) if capacity and length is not None else None,
            items_taken=taken,
            average_wait_ms=wait_ns / taken / 1e6 if taken else None,
            max_wait_ms=max_wait_ns / 1e6 if taken else None,
            oldest_wait_ms=(self._monotonic_ns() - oldest) / 1e6 if oldest is not None else None,
        )

    def _oldest(self, watched: Any) -> int | None:
        """Return when the item to be taken next was put there, `None` where that is not known."""
        if self._takes_oldest is None:
            return None
        length, put_at = _items_of(watched), self._put_at
        if not length:
            # Emptied at once, perhaps: a put enters its item first, a get leaves its time first.
            put_at.clear()
        try:
            known = put_at[0 if self._takes_oldest else -1] if len(put_at) == length else None
        except IndexError:  # taken meanwhile
            return None
        return None if known is None else known[1]

    def waited_seconds(self) -> float:
        """Return the time that all items taken have waited, in seconds."""
        self._fold()
        return self._wait_ns / 1e9

    def _fold(self) -> None:
        """Add up the waits of items taken."""
        with self._folding:
            if self._is_folding:  # what has interrupted it would be overwritten
                return
            self._is_folding = True
            try:
                while self._waits:
                    wait_ns = self._waits.popleft()
                    self._taken += 1
                    self._wait_ns += wait_ns
                    self._max_wait_ns = max(self._max_wait_ns, wait_ns)
            finally:
                self._is_folding = False


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

    def after_fork(self) -> None:
        """Have locks that are free, in a forked child."""
        self._lock = threading.RLock()
        for entry in self._watched.values():
            entry.renew_lock()

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


def _is_dropping(watched: Any) -> bool:
    """Tell whether items are thrown away: by `shutdown(immediate=True)`, of Python 3.13."""
    is_shut = getattr(watched, "is_shutdown", False) or getattr(watched, "_is_shutdown", False)
    return bool(is_shut) and sys._getframe(2).f_code.co_name == "shutdown"


def _items_of(watched: Any) -> int:
    """Return the items of a queue whose order is followed, without its lock."""
    size = getattr(watched, "_qsize", watched.qsize)
    return int(size())


def _length(watched: Any) -> int | None:
    try:
        # Those of `queue` ask for their length with a lock held that is not re-entrant.
        return _items_of(watched)
    except NotImplementedError:  # macOS cannot count the items of a multiprocessing queue
        return None
    except Exception as error:
        report_failure("reading the length of a queue", error)
        return None


def _capacity(watched: Any) -> int | None:
    size = getattr(watched, "maxsize", None) or getattr(watched, "_maxsize", None)
    return size if isinstance(size, int) and size > 0 and size < 2**31 - 1 else None
