"""The caches as OpenTelemetry instruments: one table of figures, taken from one reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from otel_studio.base.figures import Figure, Point
from otel_studio.caches.reading import CachesReading, OneCacheReading
from otel_studio.caches.report import (
    counts_of,
    predictions_of,
    response_time_ms,
    sizes_of,
    tally_of,
)
from otel_studio.caches.windows import LAYOUTS, hit_rate

CACHE = "studio.cache"
SERVICE = "studio.service"
OPERATION = "studio.cache.operation"
REASON = "studio.cache.eviction.reason"
WINDOW = "studio.cache.window"
SIZE_FACTOR = "studio.cache.size_factor"

#: A value, and what tells it from others of the same cache.
_Value = tuple["int | float | None", dict[str, str]]


def _of_each(
    values: Callable[[OneCacheReading, int], Iterable[_Value]],
) -> Callable[[CachesReading], Iterable[Point]]:
    """Return what makes the points of every cache; `values` takes those of one, and the time."""

    def points(reading: CachesReading) -> Iterable[Point]:
        for one in reading.caches.values():
            for value, attributes in values(one, reading.at_ns):
                yield value, {SERVICE: one.service, CACHE: one.cache, **attributes}

    return points


def _single(
    value: Callable[[OneCacheReading], int | float | None],
) -> Callable[[CachesReading], Iterable[Point]]:
    return _of_each(lambda one, _now: [(value(one), {})])


def _operations(one: OneCacheReading, _now_ns: int) -> list[_Value]:
    counts = counts_of(one)
    return [
        (counts.hits, {OPERATION: "hit"}),
        (counts.misses, {OPERATION: "miss"}),
        (counts.sets, {OPERATION: "set"}),
        (sum(counts.evictions.values()), {OPERATION: "eviction"}),
    ]


def _evictions(one: OneCacheReading, _now_ns: int) -> list[_Value]:
    return [(count, {REASON: reason}) for reason, count in counts_of(one).evictions.items()]


def _hit_ratios(one: OneCacheReading, now_ns: int) -> list[_Value]:
    return [(hit_rate(tally_of(one, window, now_ns)), {WINDOW: window}) for window in LAYOUTS]


def _predictions(one: OneCacheReading, _now_ns: int) -> list[_Value]:
    return [
        (prediction.hit_rate, {SIZE_FACTOR: f"{prediction.size_factor:g}"})
        for prediction in predictions_of(one)
    ]


def _response_time(one: OneCacheReading, now_ns: int) -> list[_Value]:
    milliseconds = response_time_ms(one, now_ns)
    return [] if milliseconds is None else [(milliseconds / 1e3, {})]


#: There are no conventions for caches yet: the names are this project's own.
FIGURES: tuple[Figure[CachesReading], ...] = (
    Figure(
        "otel_studio.cache.operations",
        "counter",
        "{operation}",
        "What happened to the cache: hits, misses, sets and evictions",
        _of_each(_operations),
    ),
    Figure(
        "otel_studio.cache.evictions",
        "counter",
        "{eviction}",
        "Entries that went, by reason",
        _of_each(_evictions),
    ),
    Figure(
        "otel_studio.cache.hit_ratio",
        "gauge",
        "1",
        "Hits by reads in the last minute, hour and day",
        _of_each(_hit_ratios),
    ),
    Figure(
        "otel_studio.cache.predicted_hit_ratio",
        "gauge",
        "1",
        "Hits by reads if the cache were so many times as large",
        _of_each(_predictions),
    ),
    Figure(
        "otel_studio.cache.entries",
        "up_down_counter",
        "{entry}",
        "Entries in the cache",
        _single(lambda one: sizes_of(one).entries),
    ),
    Figure(
        "otel_studio.cache.memory.usage",
        "up_down_counter",
        "By",
        "Memory that the entries hold",
        _single(lambda one: sizes_of(one).memory_bytes),
    ),
    Figure(
        "otel_studio.cache.memory.peak",
        "gauge",
        "By",
        "The most memory that the entries held",
        _single(lambda one: sizes_of(one).peak_bytes),
    ),
    Figure(
        "otel_studio.cache.fragmentation",
        "gauge",
        "1",
        "Share of the memory held that is not used, where the cache reports it",
        _single(lambda one: sizes_of(one).fragmentation),
    ),
    Figure(
        "otel_studio.cache.response_time",
        "gauge",
        "s",
        "How long a read took, averaged over the last hour",
        _of_each(_response_time),
    ),
)
