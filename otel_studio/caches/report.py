"""The figures of a cache, and the record that queries return: functions of a reading alone."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import NamedTuple

from otel_studio.base.reading import add_counts
from otel_studio.base.record import iso_time, megabytes
from otel_studio.base.sketch import Sketch
from otel_studio.caches import slow_accesses
from otel_studio.caches.cache_records import (
    CachePerformance,
    KeyAccesses,
    SizePrediction,
    SlowAccess,
)
from otel_studio.caches.events import HIT, MISS
from otel_studio.caches.heavy_hitters import HotKeys
from otel_studio.caches.reading import CachePart, CacheSizes, OneCacheReading
from otel_studio.caches.windows import TEN_MINUTES, Tally, hit_rate

_TOP_KEYS = 20
_SIZE_FACTORS = (0.5, 1.0, 2.0, 4.0)
_OPERATIONS = {HIT: "hit", MISS: "miss"}


class Sizes(NamedTuple):
    """How large a cache is: what its backends say, and what was recorded where they do not."""

    entries: int | None
    max_entries: int | None
    memory_bytes: int | None
    peak_bytes: int | None
    fragmentation: float | None
    is_estimate: bool


class Counts(NamedTuple):
    """What happened to a cache since its counts began."""

    hits: int
    misses: int
    sets: int
    evictions: dict[str, int]


def counts_of(one: OneCacheReading) -> Counts:
    """Return what happened to a cache.

    Args:
        one: what is known of it.
    """
    parts = one.parts.values()
    return Counts(
        sum(part.hits for part in parts),
        sum(part.misses for part in parts),
        sum(part.sets for part in parts),
        reduce(add_counts, (part.evictions for part in parts), {}),
    )


def tally_of(one: OneCacheReading, window: str, now_ns: int) -> Tally:
    """Return the reads of the last `minute`, `hour` or `day`.

    Args:
        one: what is known of the cache.
        window: which.
        now_ns: the time now, on the monotonic clock.
    """
    totals = [part.windows.total(window, now_ns) for part in one.parts.values()]
    if len(totals) == 1:
        return totals[0]
    hits, misses, timed, timed_ns = zip((0, 0, 0, 0), *totals, strict=True)
    return sum(hits), sum(misses), sum(timed), sum(timed_ns)


def response_time_ms(one: OneCacheReading, now_ns: int) -> float | None:
    """Return how long a read took, averaged over the last hour; `None` without any.

    Args:
        one: what is known of the cache.
        now_ns: the time now, on the monotonic clock.
    """
    _, _, timed, timed_ns = tally_of(one, "hour", now_ns)
    return timed_ns / timed / 1e6 if timed else None


def sizes_of(one: OneCacheReading) -> Sizes:
    """Return how large a cache is.

    The entries of several processes add up, unless a backend outside of them holds them: then
    they are the ones that were last reported. The peak of a sum is not known from the peaks:
    what is given then was reached at least, and is called an estimate.

    Args:
        one: what is known of it.
    """
    every = [part.sizes for part in one.parts.values()]
    if len(every) == 1:
        return _sizes_of_part(every[0])
    if any(sizes.is_shared for sizes in every):
        latest = reduce(add, (sizes for sizes in every if sizes.is_shared))
        peaks = [sizes.reported_peak_bytes for sizes in every if sizes.is_shared]
        known = _sizes_of_part(latest)
        return known._replace(peak_bytes=_most((known.peak_bytes, *peaks)))
    rows = [_sizes_of_part(sizes) for sizes in every]
    memory = _sum(row.memory_bytes for row in rows)
    limits = [row.max_entries for row in rows]
    peaked = [row for row in rows if row.peak_bytes is not None]
    return Sizes(
        entries=_sum(row.entries for row in rows),
        max_entries=None if None in limits else _sum(limits),
        memory_bytes=memory,
        peak_bytes=_most((memory, *(row.peak_bytes for row in rows))),
        fragmentation=max(
            (row.fragmentation for row in rows if row.fragmentation is not None), default=None
        ),
        is_estimate=len(peaked) > 1 or any(row.is_estimate for row in rows),
    )


def _sizes_of_part(sizes: CacheSizes) -> Sizes:
    reported = sizes.reported
    ledger_knows = sizes.entries is not None and reported.entries is None
    entries = sizes.entries if ledger_knows else reported.entries
    used, peak = reported.memory_bytes, sizes.reported_peak_bytes
    memory_is_recorded = used is None and peak is None
    if memory_is_recorded:
        used, peak = sizes.memory_bytes, sizes.peak_bytes
    is_estimate = sizes.is_estimate and (ledger_knows or memory_is_recorded)
    recorded = sizes.entries or 0
    if memory_is_recorded and used and recorded and entries not in (None, recorded):
        # Several caches of one name may hold the same key, or one evicts without a word.
        used, is_estimate = used * (entries or 0) // recorded, True
        peak = max(peak or 0, used)
    return Sizes(entries, reported.max_entries, used, peak, reported.fragmentation, is_estimate)


def predictions_of(one: OneCacheReading) -> list[SizePrediction]:
    """Return the hit rates that a cache would have had at other sizes.

    Each of several processes has a cache of its own: the rates are those of all their reads.
    Nothing is said of a cache outside of them, whose reads one process sees only in part.

    Args:
        one: what is known of it.
    """
    parts = list(one.parts.values())
    if len(parts) > 1 and any(part.sizes.is_shared for part in parts):
        return []
    by_factor: dict[float, list[tuple[int, float, float]]] = {}
    for part in parts:
        entries = _capacity_of(part.sizes)
        if not entries:
            continue
        wanted = [round(factor * entries) for factor in _SIZE_FACTORS]
        rates = part.reuse.hit_rates(wanted)
        for factor, size, rate in zip(_SIZE_FACTORS, wanted, rates, strict=True):
            if size and rate is not None:
                by_factor.setdefault(factor, []).append((size, rate, part.reuse.reads))
    return [
        SizePrediction(factor, sum(size for size, _, _ in rows), _mean(rows))
        for factor, rows in by_factor.items()
    ]


def _capacity_of(sizes: CacheSizes) -> int | None:
    """Return how many entries a cache can hold: its limit, or the most that it held."""
    if sizes.reported.max_entries:
        return sizes.reported.max_entries
    recorded = sizes.peak_entries
    return recorded if sizes.reported.entries is None else sizes.reported_peak_entries


def _mean(rows: list[tuple[int, float, float]]) -> float:
    if len(rows) == 1:
        return rows[0][1]
    return sum(rate * reads for _, rate, reads in rows) / sum(reads for _, _, reads in rows)


def performance_of(one: OneCacheReading, now_ns: int) -> CachePerformance:
    """Return the record of one cache.

    Args:
        one: what is known of it.
        now_ns: the time now, on the monotonic clock.
    """
    hits, misses, sets, evictions = counts_of(one)
    sizes = sizes_of(one)
    parts = list(one.parts.values())
    p50, p95, p99 = _sketch_of(parts, now_ns).quantiles((0.5, 0.95, 0.99))
    return CachePerformance(
        cache=one.cache,
        service_name=one.service,
        hits=hits,
        misses=misses,
        sets=sets,
        evictions=sum(evictions.values()),
        evictions_by_reason=evictions,
        hit_rate=hit_rate((hits, misses, 0, 0)),
        hit_rate_last_minute=hit_rate(tally_of(one, "minute", now_ns)),
        hit_rate_last_hour=hit_rate(tally_of(one, "hour", now_ns)),
        hit_rate_last_day=hit_rate(tally_of(one, "day", now_ns)),
        average_response_time_ms=response_time_ms(one, now_ns),
        p50_response_time_ms=_milliseconds(p50),
        p95_response_time_ms=_milliseconds(p95),
        p99_response_time_ms=_milliseconds(p99),
        entries=sizes.entries,
        max_entries=sizes.max_entries,
        current_memory_usage_mb=megabytes(sizes.memory_bytes),
        peak_memory_usage_mb=megabytes(sizes.peak_bytes),
        size_is_estimate=sizes.is_estimate,
        fragmentation_ratio=sizes.fragmentation,
        top_accessed_keys=[KeyAccesses(*row) for row in _hot_keys_of(parts).top(_TOP_KEYS)],
        slow_operations=[
            SlowAccess(_OPERATIONS[kind], key, duration / 1e6, iso_time(unix_ns) or "")
            for duration, kind, key, unix_ns in slow_accesses.slowest(
                reduce(slow_accesses.add, (part.slow for part in parts)) if parts else {}, now_ns
            )
        ],
        predicted_hit_rates=predictions_of(one),
    )


def _sketch_of(parts: Iterable[CachePart], now_ns: int) -> Sketch:
    sketch = Sketch()
    for part in parts:
        for counts in TEN_MINUTES.recent(part.durations, now_ns):
            sketch.counts.update(counts)
    return sketch


def _hot_keys_of(parts: Iterable[CachePart]) -> HotKeys:
    return reduce(add, (part.hot_keys for part in parts), HotKeys())


def _milliseconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
