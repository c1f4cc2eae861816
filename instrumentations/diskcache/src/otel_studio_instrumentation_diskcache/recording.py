"""What is put in place of the methods of `diskcache.Cache`."""

from __future__ import annotations

import threading
from collections import Counter
from time import perf_counter
from typing import Any

import diskcache  # type: ignore[import-untyped]

from otel_studio.instrumentation import UNKNOWN_KEY, Cache, Function, Patches

from .book import SERVICE, Book, name_of

_ABSENT: Any = object()


def patch(patches: Patches, book: Book) -> None:
    """Replace the methods that read, store and remove.

    `FanoutCache`, `Index`, `DjangoCache` and `memoize` are built on them.

    Args:
        patches: makes the replacements.
        book: knows the caches.
    """
    methods = _Methods(patches, book)
    for name in ("get", "set", "add", "incr", "pop", "expire", "evict", "cull", "clear"):
        patches.replace(diskcache.Cache, name, getattr(methods, name))
    patches.replace(diskcache.Cache, "__delitem__", methods.delitem)
    patches.replace(diskcache.Cache, "_cull", methods.cull_on_store)
    patches.replace(diskcache.FanoutCache, "__init__", methods.init_shards)


class _Methods:
    """Makes the replacements; each does what the original does, and records it."""

    def __init__(self, patches: Patches, book: Book) -> None:
        self._patches = patches
        self._book = book
        #: Entries that the running `cull` of this thread removed because they had expired.
        self._local = threading.local()

    def _recorder(self, cache: Any) -> Cache | None:
        return self._book.of(cache) if self._patches.active else None

    def get(self, original: Function) -> Function:
        def get(
            cache: Any,
            key: Any,
            default: Any = None,
            read: bool = False,
            expire_time: bool = False,
            tag: bool = False,
            retry: bool = False,
        ) -> Any:
            recorder = self._recorder(cache)
            if recorder is None:
                return original(cache, key, default, read, expire_time, tag, retry)
            start = perf_counter()
            answer = original(cache, key, _ABSENT, read, expire_time, tag, retry)
            duration = perf_counter() - start
            value, *more = answer if expire_time or tag else (answer,)
            if value is not _ABSENT:
                recorder.hit(key, duration)
                return answer
            recorder.miss(key, duration)
            return (default, *more) if more else default

        return get

    def pop(self, original: Function) -> Function:
        def pop(
            cache: Any,
            key: Any,
            default: Any = None,
            expire_time: bool = False,
            tag: bool = False,
            retry: bool = False,
        ) -> Any:
            recorder = self._recorder(cache)
            if recorder is None:
                return original(cache, key, default, expire_time, tag, retry)
            answer = original(cache, key, _ABSENT, expire_time, tag, retry)
            value, *more = answer if expire_time or tag else (answer,)
            if value is not _ABSENT:
                recorder.evict(key, "deleted")
                return answer
            return (default, *more) if more else default

        return pop

    def set(self, original: Function) -> Function:
        return self._storing(original)

    def add(self, original: Function) -> Function:
        return self._storing(original)

    def incr(self, original: Function) -> Function:
        return self._storing(original)

    def _storing(self, original: Function) -> Function:
        def store(cache: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
            answer = original(cache, key, *args, **kwargs)
            recorder = self._recorder(cache)
            if recorder is not None and answer is not False:  # an `add` that found an entry
                recorder.set(key)
            return answer

        return store

    def delitem(self, original: Function) -> Function:
        def delitem(cache: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
            answer = original(cache, key, *args, **kwargs)
            recorder = self._recorder(cache)
            if recorder is not None:
                recorder.evict(key, "deleted")
            return answer

        return delitem

    def expire(self, original: Function) -> Function:
        def note(recorder: Cache, count: int) -> None:
            self._local.expired = getattr(self._local, "expired", 0) + count
            _evict(recorder, "expired", count)

        return self._removing(original, note)

    def evict(self, original: Function) -> Function:
        return self._removing(original, lambda recorder, count: _evict(recorder, "tag", count))

    def clear(self, original: Function) -> Function:
        return self._removing(original, lambda recorder, count: recorder.clear(count))

    def cull(self, original: Function) -> Function:
        def note(recorder: Cache, count: int) -> None:
            _evict(recorder, "size", count - self._local.expired)  # `expire` noted those

        removing = self._removing(original, note)

        def cull(cache: Any, *args: Any, **kwargs: Any) -> Any:
            self._local.expired = 0
            return removing(cache, *args, **kwargs)

        return cull

    def _removing(self, original: Function, note: Any) -> Function:
        """Return a method that returns, or fails with, the number of entries it removed."""

        def remove(cache: Any, *args: Any, **kwargs: Any) -> Any:
            count: Any = 0
            try:
                count = original(cache, *args, **kwargs)
                return count
            except diskcache.Timeout as timeout:
                count = timeout.args[0] if timeout.args else 0
                raise
            finally:
                recorder = self._recorder(cache)
                if recorder is not None and isinstance(count, int) and count > 0:
                    note(recorder, count)

        return remove

    def cull_on_store(self, original: Function) -> Function:
        """Return what a store calls to make room; its SQL says what it removes, and why."""

        def cull(cache: Any, now: float, sql: Function, *args: Any, **kwargs: Any) -> Any:
            recorder = self._recorder(cache)
            if recorder is None:
                return original(cache, now, sql, *args, **kwargs)
            removed: Counter[str] = Counter()

            def counting(statement: str, *parameters: Any) -> Any:
                cursor = sql(statement, *parameters)
                if statement.startswith("DELETE"):
                    expired = "expire_time IS NOT NULL" in statement
                    removed["expired" if expired else "size"] += max(0, cursor.rowcount)
                return cursor

            answer = original(cache, now, counting, *args, **kwargs)
            for reason, count in removed.items():
                _evict(recorder, reason, count)
            return answer

        return cull

    def init_shards(self, original: Function) -> Function:
        def init(cache: Any, *args: Any, **kwargs: Any) -> None:
            original(cache, *args, **kwargs)
            if self._patches.active:
                self._book.name(cache, name_of(cache), SERVICE)

        return init


def _evict(recorder: Cache, reason: str, count: int) -> None:
    for _ in range(count):
        recorder.evict(UNKNOWN_KEY, reason)
