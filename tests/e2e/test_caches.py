"""Eight simulated hours of a service with a cache: exact, in bounded memory, without drift."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter, OrderedDict, deque

import pytest
from prometheus_client.parser import text_string_to_metric_families

import otel_studio
from otel_studio import api
from otel_studio.base.clock import ManualClock

from proving import WHOLE, scaled

SECOND = 1_000_000_000
HOUR = 3_600
CAPACITY = 60
#: Seconds; a quarter of the reads where this run does not prove.
BETWEEN_READS = 0.7 if WHOLE else 2.8
#: What the slices of a window leave of it, at least, and what they cannot exceed: in seconds, by
#: the width of a slice.
WINDOWS = {"minute": (60, 1), "hour": (HOUR, 60), "day": (24 * HOUR, 900)}


class Service:
    """Looks previews up in a cache of its own, and keeps account of all that it does.

    Args:
        clock: moves with the service's work.
    """

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.previews: OrderedDict[int, int] = OrderedDict()
        self.accesses: deque[tuple[int, bool, int]] = deque()
        self.counts: Counter[str] = Counter()
        self.spent_ns = 0
        self.peak_bytes = 0
        self._random = random.Random(8)
        self._cache = otel_studio.cache("previews", service="preview-service")
        self._service = otel_studio.service("preview-service")

    def get_preview(self) -> None:
        """Read a preview; a missing one is made, for which the oldest may have to go."""
        key = min(int(self._random.expovariate(0.02)), 400)
        with self._service.operation("get_preview"):
            taken = self._random.randrange(100, 3_000) * 1_000
            before = self.clock.monotonic_ns()
            self.clock.advance(taken / SECOND)
            self.spent_ns += self.clock.monotonic_ns() - before
            was_there = key in self.previews
            self.accesses.append((self.clock.monotonic_ns(), was_there, taken))
            self.counts["hits" if was_there else "misses"] += 1
            if was_there:
                self.previews.move_to_end(key)
                self._cache.hit(key, duration=taken / SECOND)
                return
            self._cache.miss(key, duration=taken / SECOND)
            self._keep(key)

    def _keep(self, key: int) -> None:
        self.previews[key] = size = 1_000 + key
        self._cache.set(key, size=size)
        self.counts["sets"] += 1
        self.peak_bytes = max(self.peak_bytes, sum(self.previews.values()))
        if len(self.previews) > CAPACITY:
            oldest, _ = self.previews.popitem(last=False)
            self._cache.evict(oldest, reason="size")
            self.counts["evictions"] += 1

    def within(self, window: str) -> list[tuple[bool, int]]:
        """Return the accesses of a window, from the start of its first slice."""
        length, width = WINDOWS[window]
        first = self.clock.monotonic_ns() // (width * SECOND) - length // width + 1
        return [
            (hit, taken)
            for moment, hit, taken in self.accesses
            if moment // (width * SECOND) >= first
        ]


def rate_of(accesses: list[tuple[bool, int]]) -> float | None:
    return sum(hit for hit, _ in accesses) / len(accesses) if accesses else None


def compare(service: Service) -> None:
    """Hold every figure of the cache, the operation and the page against the service's account."""
    (cache,) = api.get_cache_performance_metrics("previews")
    ours = {name: getattr(cache, name) for name in ("hits", "misses", "sets", "evictions")}
    assert ours == {name: service.counts[name] for name in ours}
    assert cache.hit_rate_last_minute == rate_of(service.within("minute"))
    assert cache.hit_rate_last_hour == rate_of(service.within("hour"))
    assert cache.hit_rate_last_day == rate_of(service.within("day"))
    times = [taken for _, taken in service.within("hour")]
    if times:
        assert cache.average_response_time_ms == pytest.approx(sum(times) / len(times) / 1e6)
    else:
        assert cache.average_response_time_ms is None
    assert (cache.entries, cache.size_is_estimate) == (len(service.previews), False)
    assert cache.current_memory_usage_mb == sum(service.previews.values()) / 1e6
    assert cache.peak_memory_usage_mb == service.peak_bytes / 1e6

    summary = api.get_service_metrics("preview-service")
    assert summary is not None
    operation = summary.operation_metrics["get_preview"]
    assert operation.count == service.counts["hits"] + service.counts["misses"]
    assert operation.total_duration_ms == pytest.approx(service.spent_ns / 1e6, rel=1e-12)

    page = {
        (sample.name, sample.labels.get("studio_cache_operation", "")): sample.value
        for family in text_string_to_metric_families(api.export_metrics_prometheus())
        for sample in family.samples
        if sample.labels.get("studio_cache") == "previews"
    }
    for name, labelled in (("hits", "hit"), ("misses", "miss"), ("sets", "set")):
        key = ("otel_studio_cache_operations_total", labelled)
        assert page[key] == service.counts[name], sorted(page)


def held_by_the_sdk() -> int:
    """Return the bytes of everything that OTel Studio's own lines allocated and still hold."""
    snapshot = tracemalloc.take_snapshot()
    # The readings of the clock are kept by the account above.
    filters = [tracemalloc.Filter(True, "*/otel_studio/*"), tracemalloc.Filter(False, "*/clock.py")]
    return sum(entry.size for entry in snapshot.filter_traces(filters).statistics("filename"))


@pytest.mark.slow
@pytest.mark.prove
@pytest.mark.timeout(180)
def test_eight_hours_are_exact_and_take_no_more_memory_than_two() -> None:
    """With an idle hour, and a wall clock that is set back by half an hour in between."""
    clock = ManualClock()
    held: dict[int, int] = {}
    with otel_studio.isolated(clock=clock) as isolated:
        service = Service(clock)
        tracemalloc.start()
        try:
            for hour in range(1, 9):
                end = isolated.clock.monotonic_ns() + HOUR * SECOND
                is_idle = hour == 4
                while not is_idle and clock.monotonic_ns() < end - 6 * SECOND:
                    service.get_preview()
                    clock.advance(BETWEEN_READS)
                if hour == 6:
                    clock.set_wall(clock.time_ns() / SECOND - HOUR / 2)
                clock.advance(max(end - clock.monotonic_ns(), 0) / SECOND)
                compare(service)
                # An isolated Studio keeps every span for its test, unlike any other.
                isolated._spans.spans.clear()
                held[hour] = held_by_the_sdk()
        finally:
            tracemalloc.stop()
        assert sum(service.counts[kind] for kind in ("hits", "misses")) > scaled(30_000, 4)
        # The curve's weights fade with the hours; its figures stay those of the service's cache.
        (cache,) = api.get_cache_performance_metrics("previews")
        predicted = {size.size_factor: size.hit_rate for size in cache.predicted_hit_rates}
        overall = rate_of(service.within("day"))
        assert overall is not None
        assert predicted[1.0] == pytest.approx(overall, abs=0.05)
        assert predicted[0.5] < predicted[1.0] < predicted[2.0]
    # What waits to be folded differs by as much from moment to moment; growth is in all three.
    assert min(held[6], held[7], held[8]) < min(held[1], held[2]) + 100_000, held
