"""Turns a cache's statistics into the record that queries return."""

from __future__ import annotations

from otel_studio.caches.records import (
    CachePerformance,
    CacheReading,
    KeyAccesses,
    SizePrediction,
    SlowAccess,
)
from otel_studio.caches.statistics import EVICT, HIT, MISS, SET, CacheStatistics
from otel_studio.record import iso_time, megabytes
from otel_studio.registry.sketch import Sketch

_TOP_KEYS = 20
_SIZE_FACTORS = (0.5, 1.0, 2.0, 4.0)
_OPERATIONS = {HIT: "hit", MISS: "miss"}


def performance_of(
    cache: str,
    service: str,
    statistics: CacheStatistics,
    reading: CacheReading,
    peak_reported_bytes: int | None,
    now_ns: int,
) -> CachePerformance:
    """Return the record of one cache.

    Args:
        cache: its name.
        service: its service.
        statistics: what was recorded.
        reading: what its backends say; goes before what was recorded.
        peak_reported_bytes: the most memory that they said.
        now_ns: the time now, on the monotonic clock.
    """
    hits, misses = statistics.counts[HIT], statistics.counts[MISS]
    hour = statistics.windows.total("hour", now_ns)
    sketch = Sketch()
    for part in statistics.durations.recent(now_ns):
        sketch.merge(part)
    p50, p95, p99 = (_milliseconds(ns) for ns in sketch.quantiles((0.5, 0.95, 0.99)))
    ledger = statistics.ledger
    ledger_knows = ledger.used and reading.entries is None
    entries = ledger.entries if ledger_knows else reading.entries
    used, peak = reading.memory_bytes, peak_reported_bytes
    memory_is_recorded = used is None and peak is None
    if memory_is_recorded:
        used, peak = ledger.size_bytes, ledger.peak_bytes
    is_estimate = ledger.is_estimate and (ledger_knows or memory_is_recorded)
    if memory_is_recorded and used and entries is not None and entries != ledger.entries:
        # Several caches of one name may hold the same key, or one evicts without a word.
        used, is_estimate = used * entries // ledger.entries, True
        peak = max(peak or 0, used)
    return CachePerformance(
        cache=cache,
        service_name=service,
        hits=hits,
        misses=misses,
        sets=statistics.counts[SET],
        evictions=statistics.counts[EVICT],
        evictions_by_reason=dict(statistics.evictions),
        hit_rate=hits / (hits + misses) if hits + misses else None,
        hit_rate_last_minute=statistics.windows.total("minute", now_ns).hit_rate,
        hit_rate_last_hour=hour.hit_rate,
        hit_rate_last_day=statistics.windows.total("day", now_ns).hit_rate,
        average_response_time_ms=hour.timed_ns / hour.timed / 1e6 if hour.timed else None,
        p50_response_time_ms=p50,
        p95_response_time_ms=p95,
        p99_response_time_ms=p99,
        entries=entries,
        max_entries=reading.max_entries,
        current_memory_usage_mb=megabytes(used),
        peak_memory_usage_mb=megabytes(peak),
        size_is_estimate=is_estimate,
        fragmentation_ratio=reading.fragmentation,
        top_accessed_keys=[KeyAccesses(*row) for row in statistics.hot_keys.top(_TOP_KEYS)],
        slow_operations=[
            SlowAccess(_OPERATIONS[kind], key, duration / 1e6, iso_time(unix_ns) or "")
            for duration, kind, key, unix_ns in statistics.slow_accesses.slowest(now_ns)
        ],
        predicted_hit_rates=_predictions(statistics, reading.max_entries or entries),
    )


def _predictions(statistics: CacheStatistics, entries: int | None) -> list[SizePrediction]:
    predictions = []
    for factor in _SIZE_FACTORS if entries else ():
        size = round(factor * (entries or 0))
        rate = statistics.curve.hit_rate(size)
        if size and rate is not None:
            predictions.append(SizePrediction(factor, size, rate))
    return predictions


def _milliseconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6
