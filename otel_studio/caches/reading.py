"""What is known of all caches at one moment, or over a window: plain frozen values that add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from otel_studio.base.codec import readable
from otel_studio.base.reading import add_counts, add_parts, subtract_counts, subtract_parts
from otel_studio.caches import slow_accesses
from otel_studio.caches.cache_records import CacheReading
from otel_studio.caches.heavy_hitters import HotKeys
from otel_studio.caches.reuse import ReuseDistances
from otel_studio.caches.windows import Tallies, add_slices, subtract_slices


@dataclasses.dataclass(frozen=True, slots=True)
class CacheSizes:
    """How large a cache was at one moment; `None` where that has no source.

    Attributes:
        at_ns: the moment, on the monotonic clock.
        entries: as recorded.
        memory_bytes: of the entries, as recorded.
        peak_bytes: the most that they had.
        is_estimate: whether what was recorded is scaled up, or guessed.
        reported: what the cache's backends say of its size; goes before what was recorded.
        peak_entries: the most entries that were recorded at once.
        reported_peak_bytes: the most memory that they said.
        reported_peak_entries: the most entries that they said.
        is_shared: whether a backend outside of the process holds the entries, such as a server
            that others use, too.
    """

    at_ns: int = 0
    entries: int | None = None
    memory_bytes: int | None = None
    peak_bytes: int | None = None
    is_estimate: bool = False
    reported: CacheReading = dataclasses.field(default_factory=CacheReading)
    reported_peak_bytes: int | None = None
    is_shared: bool = False
    peak_entries: int | None = None
    reported_peak_entries: int | None = None

    def __add__(self, other: CacheSizes) -> CacheSizes:
        """Return the later one; where both are of one moment, always the same of the two."""
        return max(self, other, key=lambda sizes: (sizes.at_ns, repr(sizes)))


@dataclasses.dataclass(frozen=True, slots=True)
class CachePart:
    """What one process counted of one cache since its counts began, or over a window.

    Attributes:
        hits: reads that found an entry.
        misses: reads that did not.
        sets: entries stored.
        evictions: entries that went, by reason.
        windows: the reads of the last minute, hour and day, by slices of time.
        durations: of the reads of each ten minutes: counts by bucket of a `Sketch`.
        slow: the slowest of those.
        hot_keys: the keys read most.
        reuse: what hit rates at other sizes are predicted from.
        sizes: entries and memory.
    """

    hits: int = 0
    misses: int = 0
    sets: int = 0
    evictions: dict[str, int] = dataclasses.field(default_factory=dict)
    windows: Tallies = dataclasses.field(default_factory=Tallies)
    durations: dict[int, dict[int, int]] = dataclasses.field(default_factory=dict)
    slow: dict[int, tuple[tuple[int, int, str | None, int], ...]] = dataclasses.field(
        default_factory=dict
    )
    hot_keys: HotKeys = dataclasses.field(default_factory=HotKeys)
    reuse: ReuseDistances = dataclasses.field(default_factory=ReuseDistances)
    sizes: CacheSizes = dataclasses.field(default_factory=CacheSizes)

    def __add__(self, other: CachePart) -> CachePart:
        """Return both together: two windows of one process."""
        return CachePart(
            hits=self.hits + other.hits,
            misses=self.misses + other.misses,
            sets=self.sets + other.sets,
            evictions=add_counts(self.evictions, other.evictions),
            windows=self.windows + other.windows,
            durations=add_slices(self.durations, other.durations, add_counts),
            slow=slow_accesses.add(self.slow, other.slow),
            hot_keys=self.hot_keys + other.hot_keys,
            reuse=self.reuse + other.reuse,
            sizes=self.sizes + other.sizes,
        )

    def __sub__(self, earlier: CachePart) -> CachePart:
        """Return what came between; the sizes are those of now."""
        return CachePart(
            hits=self.hits - earlier.hits,
            misses=self.misses - earlier.misses,
            sets=self.sets - earlier.sets,
            evictions=subtract_counts(self.evictions, earlier.evictions),
            windows=self.windows - earlier.windows,
            durations=subtract_slices(self.durations, earlier.durations, subtract_counts),
            slow=slow_accesses.subtract(self.slow, earlier.slow),
            hot_keys=self.hot_keys - earlier.hot_keys,
            reuse=self.reuse - earlier.reuse,
            sizes=self.sizes,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class OneCacheReading:
    """What is known of one cache.

    Attributes:
        cache: its name.
        service: the component it belongs to.
        parts: by epoch: a process that began to count, or began anew, has one of its own.
    """

    cache: str
    service: str
    parts: Mapping[str, CachePart]

    def __add__(self, other: OneCacheReading) -> OneCacheReading:
        """Return both together: of two processes, or of two windows."""
        return dataclasses.replace(self, parts=add_parts(self.parts, other.parts))

    def __sub__(self, earlier: OneCacheReading) -> OneCacheReading:
        """Return what came between; what began since counts from zero."""
        return dataclasses.replace(self, parts=subtract_parts(self.parts, earlier.parts))


@readable("caches")
@dataclasses.dataclass(frozen=True, slots=True)
class CachesReading:
    """What is known of all caches.

    Attributes:
        at_ns: when it was taken, on the monotonic clock that the processes of a host share.
        caches: by service and name.
    """

    at_ns: int = 0
    caches: Mapping[tuple[str, str], OneCacheReading] = dataclasses.field(default_factory=dict)

    def __add__(self, other: CachesReading) -> CachesReading:
        """Return both together: of two processes, or of two windows."""
        caches = dict(self.caches)
        for name, one in other.caches.items():
            caches[name] = caches[name] + one if name in caches else one
        return CachesReading(max(self.at_ns, other.at_ns), caches)

    def __sub__(self, earlier: CachesReading) -> CachesReading:
        """Return what came between; a cache that is not there now counts no more."""
        caches = {
            name: one - earlier.caches[name] if name in earlier.caches else one
            for name, one in self.caches.items()
        }
        return CachesReading(self.at_ns, caches)
