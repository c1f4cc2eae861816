"""The caches that are followed, each with the recorder it belongs to."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import cachetools

from otel_studio.instrumentation import Cache, CacheReading, new_lock, report_internal_error

from .naming import Origin, name_of

#: Removals under this reason are recorded by whoever set it, not one by one.
SILENT = ""

_length = cachetools.Cache.__len__
_current_size: Callable[[cachetools.Cache[Any, Any]], Any] = cachetools.Cache.currsize.fget  # type: ignore[attr-defined]
_size_of_one = cachetools.Cache.getsizeof


class Caches(Protocol):
    """What recorders come from: `otel_studio` itself, or a `CacheRegistry`."""

    def cache(self, name: str, service: str = ...) -> Any:
        """Return the cache of a name."""


class Followed:
    """One cache of the program, and where it is recorded."""

    __slots__ = ("inside", "loads_missing", "recorder", "reference", "sizer")

    def __init__(
        self,
        reference: weakref.ref[cachetools.Cache[Any, Any]],
        recorder: Cache,
        *,
        loads_missing: bool,
    ) -> None:
        self.reference = reference
        self.recorder = recorder
        #: Whether looking up what is not there may put it there.
        self.loads_missing = loads_missing
        self.sizer: Callable[[Any], int] | None = None
        #: By thread: why entries are removed by the method that runs; its reads are not counted.
        self.inside: dict[int, str] = {}

    def size(self, value: Any) -> int | None:
        """Return the bytes of a value, if someone said how to measure it."""
        if self.sizer is None:
            return None
        try:
            return self.sizer(value)
        except Exception as error:
            report_internal_error(f"the sizer of cache {self.recorder.name}", error)
            return None


class Book:
    """Knows every followed cache by its identity, for as long as the cache lives.

    Caches compare by content and have no hash, so they are found by `id`; the entry goes when
    the cache does.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._source: Caches | None = None
        self._followed: dict[int, Followed] = {}
        #: What is known of caches before their first use.
        self._origins: dict[int, Origin] = {}
        self._names: dict[int, tuple[str, str, Callable[[Any], int] | None]] = {}
        self._references: dict[int, weakref.ref[cachetools.Cache[Any, Any]]] = {}

    def start(self, source: Caches) -> None:
        """Record into this source from now on."""
        self._source = source

    def stop(self) -> None:
        """Record no more; given names stay."""
        with self._lock:
            self._source = None
            self._followed.clear()
            self._origins.clear()

    def made(self, cache: cachetools.Cache[Any, Any], origin: Origin | None) -> None:
        """Note where a cache was made; its name is looked for at its first use.

        Args:
            cache: the cache.
            origin: where.
        """
        if origin is not None:
            with self._lock:
                self._watch(cache)
                self._origins[id(cache)] = origin

    def name(
        self,
        cache: cachetools.Cache[Any, Any],
        name: str,
        service: str,
        sizer: Callable[[Any], int] | None = None,
        *,
        only_if_new: bool = False,
    ) -> None:
        """Give a cache its name.

        Args:
            cache: the cache.
            name: what it holds.
            service: the component it belongs to.
            sizer: returns the bytes of a value.
            only_if_new: whether a name that it has already stays.
        """
        with self._lock:
            if only_if_new and (id(cache) in self._names or id(cache) in self._followed):
                return
            self._watch(cache)
            self._names[id(cache)] = (name, service, sizer)
            self._followed.pop(id(cache), None)

    def of(self, cache: cachetools.Cache[Any, Any]) -> Followed | None:
        """Return a cache's entry; `None` when nothing is recorded.

        Args:
            cache: the cache.
        """
        return self._followed.get(id(cache)) or self._follow(cache)

    def _follow(self, cache: cachetools.Cache[Any, Any]) -> Followed | None:
        try:
            with self._lock:
                found = self._followed.get(id(cache))
                if found is None and self._source is not None:
                    found = self._followed[id(cache)] = self._new(cache, self._source)
                return found
        except Exception as error:
            report_internal_error("following a cachetools cache", error)
            return None

    def _new(self, cache: cachetools.Cache[Any, Any], source: Caches) -> Followed:
        given = self._names.get(id(cache))
        if given is None:
            service, name = name_of(cache, self._origins.get(id(cache)))
            sizer = None
        else:
            name, service, sizer = given
        reference = self._watch(cache)
        missing = getattr(type(cache), "__missing__", None)
        followed = Followed(
            reference,
            source.cache(name, service=service),
            loads_missing=missing is not cachetools.Cache.__missing__,
        )
        followed.sizer = sizer
        followed.recorder.attach(self._reader(followed))
        return followed

    def _reader(self, followed: Followed) -> Callable[[], CacheReading | None]:
        def read() -> CacheReading | None:
            cache = followed.reference()
            if cache is None or self._followed.get(id(cache)) is not followed:
                return None
            return reading_of(cache)

        return read

    def _watch(self, cache: cachetools.Cache[Any, Any]) -> weakref.ref[cachetools.Cache[Any, Any]]:
        key = id(cache)
        reference = self._references.get(key)
        if reference is None or reference() is not cache:
            reference = weakref.ref(cache, lambda _: self._forget(key))
            self._references[key] = reference
        return reference

    def _forget(self, key: int) -> None:
        # Runs in whatever thread frees the cache, perhaps inside our own lock: it takes none.
        for held in (self._references, self._followed, self._origins, self._names):
            held.pop(key, None)


def reading_of(cache: cachetools.Cache[Any, Any]) -> CacheReading:
    """Return a cache's size without changing the cache.

    `len()` and `currsize` of a cache with a time to live remove what has expired, which no
    other thread may do to it: the plain figures of the base class are read instead, and count
    what has expired but was not removed yet.

    Args:
        cache: the cache.
    """
    counts_entries = cache.getsizeof is _size_of_one
    limit = cache.maxsize if counts_entries else None
    return CacheReading(
        entries=_length(cache),
        max_entries=int(limit) if limit is not None and limit < float("inf") else None,
        memory_bytes=_current_size(cache) if cache.getsizeof is sys.getsizeof else None,
    )
