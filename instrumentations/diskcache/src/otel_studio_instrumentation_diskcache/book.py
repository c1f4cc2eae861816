"""The disk caches that are followed, each with the recorder it belongs to."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import diskcache  # type: ignore[import-untyped]

from otel_studio.instrumentation import Cache, CacheReading, new_lock, report_internal_error

SERVICE = "diskcache"


class Caches(Protocol):
    """What recorders come from: `otel_studio` itself, or a `CacheRegistry`."""

    def cache(self, name: str, service: str = ...) -> Any:
        """Return the cache of a name."""


class Book:
    """Knows the recorder of every disk cache, for as long as the cache lives."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._source: Caches | None = None
        self._recorders: weakref.WeakKeyDictionary[Any, Cache] = weakref.WeakKeyDictionary()
        self._names: weakref.WeakKeyDictionary[Any, tuple[str, str]] = weakref.WeakKeyDictionary()

    def start(self, source: Caches) -> None:
        """Record into this source from now on."""
        self._source = source

    def stop(self) -> None:
        """Record no more; given names stay."""
        with self._lock:
            self._source = None
            self._recorders = weakref.WeakKeyDictionary()

    def name(self, cache: Any, name: str, service: str) -> None:
        """Give a cache, or every shard of one, its name.

        Args:
            cache: a `diskcache.Cache` or `FanoutCache`.
            name: what it holds.
            service: the component it belongs to.
        """
        with self._lock:
            for part in getattr(cache, "_shards", (cache,)):
                self._names[part] = (name, service)
                self._recorders.pop(part, None)

    def of(self, cache: Any) -> Cache | None:
        """Return a cache's recorder; `None` when nothing is recorded.

        Args:
            cache: a `diskcache.Cache`, perhaps a shard.
        """
        try:
            found = self._recorders.get(cache)
            if found is None:
                found = self._follow(cache)
            return found
        except Exception as error:
            report_internal_error("following a disk cache", error)
            return None

    def _follow(self, cache: Any) -> Cache | None:
        with self._lock:
            found = self._recorders.get(cache)
            if found is None and self._source is not None:
                name, service = self._names.get(cache) or (name_of(cache), SERVICE)
                found = self._source.cache(name, service=service)
                self._recorders[cache] = found
                found.attach(self._reader(weakref.ref(cache), found), remote=True)
            return found

    def _reader(
        self, reference: weakref.ref[Any], recorder: Cache
    ) -> Callable[[], CacheReading | None]:
        def read() -> CacheReading | None:
            cache = reference()
            if cache is None or self._recorders.get(cache) is not recorder:
                return None
            return reading_of(cache)

        return read


def name_of(cache: Any) -> str:
    """Return the name of a cache's folder.

    Args:
        cache: a `diskcache.Cache` or `FanoutCache`.
    """
    return Path(cache.directory).name or SERVICE


def reading_of(cache: Any) -> CacheReading:
    """Return a cache's entries and the bytes of its folder; nothing when it cannot be read.

    A connection that this opens for its thread is closed again.

    Args:
        cache: a `diskcache.Cache`.
    """
    if not (Path(cache.directory) / "cache.db").exists():
        return CacheReading()  # to ask would make it anew
    had_connection = getattr(cache._local, "con", None) is not None
    try:
        return CacheReading(entries=len(cache), memory_bytes=cache.volume())
    except (sqlite3.Error, diskcache.Timeout, OSError):
        return CacheReading()
    finally:
        if not had_connection:
            cache.close()
