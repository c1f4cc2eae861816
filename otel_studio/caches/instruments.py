"""The caches as OpenTelemetry instruments, read from the registry at each collection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_studio.caches.records import CachePerformance
from otel_studio.record import MEGABYTE

CACHE = "studio.cache"
SERVICE = "studio.service"
OPERATION = "studio.cache.operation"
REASON = "studio.cache.eviction.reason"
WINDOW = "studio.cache.window"
SIZE_FACTOR = "studio.cache.size_factor"

#: A value, and what tells it from others of the same cache.
Point = tuple[float | None, dict[str, str]]
Points = Callable[[CachePerformance], Iterable[Point]]


def register_instruments(
    meter: Meter, performances: Callable[[], Iterable[CachePerformance]]
) -> None:
    """Create the observable instruments `otel_studio.cache.*`.

    There are no conventions for caches yet: the names are this project's own. A figure
    without a source gives no point.

    Args:
        meter: creates the instruments.
        performances: returns what is known of every cache now.
    """

    def observe(points: Points) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def callback(_options: CallbackOptions) -> Iterator[Observation]:
            for performance in performances():
                of_cache = {SERVICE: performance.service_name, CACHE: performance.cache}
                for value, attributes in points(performance):
                    if value is not None:
                        yield Observation(value, {**of_cache, **attributes})

        return callback

    meter.create_observable_counter(
        "otel_studio.cache.operations",
        [observe(_operations)],
        "{operation}",
        "What happened to the cache: hits, misses, sets and evictions",
    )
    meter.create_observable_counter(
        "otel_studio.cache.evictions",
        [observe(_evictions)],
        "{eviction}",
        "Entries that went, by reason",
    )
    meter.create_observable_gauge(
        "otel_studio.cache.hit_ratio",
        [observe(_hit_ratios)],
        "1",
        "Hits by reads in the last minute, hour and day",
    )
    meter.create_observable_gauge(
        "otel_studio.cache.predicted_hit_ratio",
        [observe(_predictions)],
        "1",
        "Hits by reads if the cache were so many times as large",
    )
    meter.create_observable_up_down_counter(
        "otel_studio.cache.entries",
        [observe(lambda cache: [(cache.entries, {})])],
        "{entry}",
        "Entries in the cache",
    )
    meter.create_observable_up_down_counter(
        "otel_studio.cache.memory.usage",
        [observe(lambda cache: [(_bytes(cache.current_memory_usage_mb), {})])],
        "By",
        "Memory that the entries hold",
    )
    meter.create_observable_gauge(
        "otel_studio.cache.memory.peak",
        [observe(lambda cache: [(_bytes(cache.peak_memory_usage_mb), {})])],
        "By",
        "The most memory that the entries held",
    )
    meter.create_observable_gauge(
        "otel_studio.cache.fragmentation",
        [observe(lambda cache: [(cache.fragmentation_ratio, {})])],
        "1",
        "Memory taken from the system by memory used, where the cache reports it",
    )
    meter.create_observable_gauge(
        "otel_studio.cache.response_time",
        [observe(lambda cache: [(_seconds(cache.average_response_time_ms), {})])],
        "s",
        "How long a read took, averaged over the last hour",
    )


def _operations(cache: CachePerformance) -> list[Point]:
    return [
        (cache.hits, {OPERATION: "hit"}),
        (cache.misses, {OPERATION: "miss"}),
        (cache.sets, {OPERATION: "set"}),
        (cache.evictions, {OPERATION: "eviction"}),
    ]


def _evictions(cache: CachePerformance) -> list[Point]:
    return [(count, {REASON: reason}) for reason, count in cache.evictions_by_reason.items()]


def _hit_ratios(cache: CachePerformance) -> list[Point]:
    return [
        (cache.hit_rate_last_minute, {WINDOW: "minute"}),
        (cache.hit_rate_last_hour, {WINDOW: "hour"}),
        (cache.hit_rate_last_day, {WINDOW: "day"}),
    ]


def _predictions(cache: CachePerformance) -> list[Point]:
    return [
        (prediction.hit_rate, {SIZE_FACTOR: f"{prediction.size_factor:g}"})
        for prediction in cache.predicted_hit_rates
    ]


def _bytes(megabytes: float | None) -> int | None:
    return None if megabytes is None else round(megabytes * MEGABYTE)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1e3
