"""Queues that the program names: their length, and how long items wait in them."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from .records import QueueStatistics
from .safety import report_failure
from .waits import Waits

#: Whether the oldest item is taken first, by the class whose order a queue keeps.
_TAKES_OLDEST: dict[type[Any], bool] = {
    queue.Queue: True,
    queue.LifoQueue: False,
    asyncio.Queue: True,
    asyncio.LifoQueue: False,
}


#: The identity of an item, which keeps nothing alive, and when it was put there, in nanoseconds.
_Put = tuple[int, int]


class _WatchedQueue:
    """One queue: its length is asked for, the times of its items are kept beside them.

    The times change only inside the queue's own puts and gets, which it orders by itself; whoever
    asks only reads. A lock here would be one that a finalizer, which waits for the queue, could
    keep from whoever has the queue.
    """

    def __init__(self, name: str, watched: Any, monotonic_ns: Callable[[], int]) -> None:
        self.name = name
        self._queue = weakref.ref(watched)
        self._monotonic_ns = monotonic_ns
        self._takes_oldest = _order_of(watched)
        #: Of each item, in the queue's own order; `None` where that is not known.
        self._put_at: deque[_Put | None] = deque()
        self._waits = Waits()
        #: Threads that shut the queue down: what they take out is dropped.
        self._dropping: set[int] = set()
        if self._takes_oldest is not None:
            self._hook(watched)

    def _hook(self, watched: Any) -> None:
        """Replace, on this object alone, the methods that put an item in and take one out.

        The classes offer them for overriding, and call them with the queue's own lock held, or on
        its loop's thread.
        """
        put, get, put_at = watched._put, watched._get, self._put_at
        pop = put_at.popleft if self._takes_oldest else put_at.pop

        def timed_put(item: Any) -> None:
            self._follow()
            put(item)
            put_at.append((id(item), self._monotonic_ns()))

        def timed_get() -> Any:
            self._follow()
            item = get()
            try:
                known = pop()
            except IndexError:  # another was taken meanwhile, by what has interrupted this
                return item
            if known is None:
                return item
            its_id, since = known
            if its_id != id(item):
                put_at.clear()  # items were exchanged: which of the others too is not known
            elif not (self._dropping and threading.get_ident() in self._dropping):
                self._waits.add(max(0, self._monotonic_ns() - since))
            return item

        # What is in the queue already waits since an unknown time.
        put_at.extend([None] * _items_of(watched))
        watched._put, watched._get = timed_put, timed_get
        if hasattr(watched, "shutdown"):  # from Python 3.13 on
            watched.shutdown = self._dropped_by(watched.shutdown)

    def _dropped_by(self, shutdown: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(shutdown)
        def dropping_shutdown(*args: Any, **kwargs: Any) -> Any:
            here = threading.get_ident()
            self._dropping.add(here)
            try:
                return shutdown(*args, **kwargs)
            finally:
                self._dropping.discard(here)

        return dropping_shutdown

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
            for name in ("_put", "_get", "shutdown"):
                watched.__dict__.pop(name, None)

    def after_fork(self) -> None:
        """Forget what other threads of the parent were at, in a forked child."""
        self._waits.after_fork()
        self._dropping.clear()

    def is_gone(self) -> bool:
        """Return whether the program has dropped the queue."""
        return self._queue() is None

    @property
    def taken(self) -> int:
        """Items taken whose waiting time was measured."""
        return self._waits.so_far().items

    def statistics(self) -> QueueStatistics | None:
        """Return the figures, or `None` when the queue is gone."""
        watched = self._queue()
        if watched is None:
            return None
        length = _length(watched)
        capacity = _capacity(watched)
        waited = self._waits.so_far()
        oldest = self._next_since(watched)
        return QueueStatistics(
            name=self.name,
            length=length,
            capacity=capacity,
            saturation=min(1.0, length / capacity) if capacity and length is not None else None,
            items_taken=waited.items,
            average_wait_ms=waited.total_ns / waited.items / 1e6 if waited.items else None,
            max_wait_ms=waited.longest_ns / 1e6 if waited.items else None,
            oldest_wait_ms=(self._monotonic_ns() - oldest) / 1e6 if oldest is not None else None,
        )

    def _next_since(self, watched: Any) -> int | None:
        """Return when the item to be taken next was put there; `None` where that is not known."""
        if self._takes_oldest is None:
            return None
        place = 0 if self._takes_oldest else -1
        try:
            known = self._put_at[place]
            if known is None or len(self._put_at) != _items_of(watched):
                return None
            its_id, since = known
            return since if id(_inside_of(watched)[place]) == its_id else None
        except (IndexError, TypeError):  # there is none, it was just taken, or not kept in a row
            return None

    def waited_seconds(self) -> float:
        """Return the time that all items taken have waited, in seconds."""
        return self._waits.so_far().total_ns / 1e9


class QueueBook:
    """The watched queues, by name; none is kept alive.

    They are kept in a dict that changes in single steps, for the reason that they have no locks.

    Args:
        monotonic_ns: clock for waits, in nanoseconds.
    """

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._watched: dict[_WatchedQueue, None] = {}

    def watch(self, name: str, watched: Any) -> None:
        """Watch a queue; the same name replaces the earlier one.

        Args:
            name: what to call it.
            watched: an object with `qsize`.
        """
        self.unwatch(name)
        self._watched[_WatchedQueue(name, watched, self._monotonic_ns)] = None

    def unwatch(self, name: str) -> None:
        """Watch a queue no longer; an unknown name changes nothing.

        Args:
            name: as given to `watch`.
        """
        self._drop(lambda entry: entry.name == name)

    def unwatch_all(self) -> None:
        """Watch no queue any more."""
        self._drop(lambda _entry: True)

    def after_fork(self) -> None:
        """Forget what other threads of the parent were at, in a forked child."""
        for entry in self._watched:
            entry.after_fork()

    def entries(self) -> list[_WatchedQueue]:
        """Return the queues that still exist."""
        self._drop(_WatchedQueue.is_gone)
        # Two threads may watch one name at once: the later one has it.
        return list({entry.name: entry for entry in self._watched.copy()}.values())

    def _drop(self, is_meant: Callable[[_WatchedQueue], bool]) -> None:
        for entry in self._watched.copy():
            if is_meant(entry):
                self._watched.pop(entry, None)
                entry.unhook()

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


def _inside_of(watched: Any) -> Any:
    """Return what holds the items of a queue whose order is followed."""
    return getattr(watched, "_queue" if isinstance(watched, asyncio.Queue) else "queue")


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
