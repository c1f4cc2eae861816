"""A mapping that records what is done to the mapping behind it."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Protocol, TypeVar, overload

from otel_studio.base.clock import Clock
from otel_studio.base.guard import report_internal_error
from otel_studio.base.sizing import ObjectSizer
from otel_studio.caches.backend import Read
from otel_studio.caches.cache_records import CacheReading

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_ABSENT: Any = object()

_object_sizer = ObjectSizer(max_elements=200, max_seconds=0.001)


def size_in_memory(value: object) -> int:
    """Return the bytes of an object and what it holds, at the cost of some microseconds.

    Args:
        value: anything; of more than 200 elements the rest is projected.
    """
    return _object_sizer.size(value).bytes


class Recorder(Protocol):
    """What a mapping tells of itself: the methods of `Cache` that record, by the same names."""

    name: str

    def hit(self, key: object, duration: float | None = None) -> None:
        """Record a read that found its entry."""

    def miss(self, key: object, duration: float | None = None) -> None:
        """Record a read that did not."""

    def set(self, key: object, size: int | None = None) -> None:
        """Record that an entry was stored."""

    def evict(self, key: object = ..., reason: str = ...) -> None:
        """Record that an entry went."""

    def clear(self, entries: int) -> None:
        """Record that all entries went at once."""

    def rewrap(self, recording: Any, mapping: Any, sizer: Any) -> None:
        """Let a mapping that was copied or unpickled record here."""

    def attach(self, read: Read) -> None:
        """Take sizes from the mapping itself."""


class RecordingMapping(MutableMapping[K, V]):
    """Passes everything on to a mapping, and records it; made by `Cache.wrap`.

    Reads with `[]`, `get` and `setdefault` are hits or misses with their response time; `in`,
    `len` and iteration are none. An entry that the mapping drops by itself while another is
    stored counts as evicted to make room.

    Args:
        cache: what it is recorded in.
        mapping: the mapping that holds the entries.
        sizer: returns the bytes of a value.
        clock: measures the response times.
    """

    def __init__(
        self,
        cache: Recorder,
        mapping: MutableMapping[K, V],
        sizer: Callable[[V], int] | None,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._mapping = mapping
        self._sizer = sizer
        self._now = clock.monotonic_ns
        # `[]` on such a mapping makes the entry that is not there.
        self._makes_entries = hasattr(type(mapping), "__missing__")
        cache.attach(_size_reader(self))

    def __getitem__(self, key: K) -> V:
        start = self._now()
        was_there = not self._makes_entries or key in self._mapping
        try:
            value = self._mapping[key]
        except KeyError:
            self._cache.miss(key, self._since(start))
            raise
        if was_there:
            self._cache.hit(key, self._since(start))
        else:
            self._cache.miss(key, self._since(start))
            self._cache.set(key, self._size(value))
        return value

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: D, /) -> V | D: ...
    def get(self, key: K, default: Any = None, /) -> Any:
        """Return the value, or the default; a hit or a miss."""
        start = self._now()
        value: Any = self._mapping.get(key, _ABSENT)
        if value is _ABSENT:
            self._cache.miss(key, self._since(start))
            return default
        self._cache.hit(key, self._since(start))
        return value

    def setdefault(self, key: K, default: Any = None, /) -> Any:
        """Return the value, storing the default first if there is none; a hit or a miss."""
        value: Any = self.get(key, _ABSENT)
        if value is _ABSENT:
            self[key] = value = default
        return value

    def __setitem__(self, key: K, value: V) -> None:
        entries = len(self._mapping) + (key not in self._mapping)
        self._mapping[key] = value
        self._cache.set(key, self._size(value))
        for _ in range(entries - len(self._mapping)):
            self._cache.evict()

    def __delitem__(self, key: K) -> None:
        del self._mapping[key]
        self._cache.evict(key, reason="deleted")

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, /, default: V) -> V: ...
    @overload
    def pop(self, key: K, /, default: D) -> V | D: ...
    def pop(self, key: K, /, default: Any = _ABSENT) -> Any:
        """Remove an entry and return its value; no hit and no miss."""
        if key not in self._mapping:
            return self._mapping.pop(key) if default is _ABSENT else default
        value = self._mapping.pop(key)
        self._cache.evict(key, reason="deleted")
        return value

    def popitem(self) -> tuple[K, V]:
        """Remove and return the entry that the mapping chooses."""
        key, value = self._mapping.popitem()
        self._cache.evict(key, reason="deleted")
        return key, value

    def clear(self) -> None:
        """Remove all entries."""
        entries = len(self._mapping)
        self._mapping.clear()
        self._cache.clear(entries)

    def __copy__(self) -> RecordingMapping[K, V]:
        copied: RecordingMapping[K, V] = RecordingMapping.__new__(RecordingMapping)
        self._cache.rewrap(copied, copy.copy(self._mapping), self._sizer)
        return copied

    def __getstate__(self) -> tuple[Any, ...]:
        return self._cache, self._mapping, self._sizer  # without the clock

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        cache, mapping, sizer = state
        cache.rewrap(self, mapping, sizer)

    def __contains__(self, key: object) -> bool:
        return key in self._mapping

    def __iter__(self) -> Iterator[K]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._mapping!r})"

    def _since(self, start: int) -> float:
        return (self._now() - start) / 1e9

    def _size(self, value: V) -> int | None:
        if self._sizer is None:
            return None
        try:
            return self._sizer(value)
        except Exception as error:
            report_internal_error(f"the sizer of cache {self._cache.name}", error)
            return None


def _size_reader(mapping: RecordingMapping[Any, Any]) -> Callable[[], CacheReading | None]:
    """Return what reads the mapping's size for as long as anyone else holds it."""
    reference = weakref.ref(mapping)

    def read() -> CacheReading | None:
        held = reference()
        return None if held is None else CacheReading(entries=len(held))

    return read
