"""Queries and scrapes of a large program: 5,000 operations of ten runs each, and 50 caches."""

from __future__ import annotations

import otel_studio
from bench.subject import BUCKETS, Subject
from bench.subjects.registry_studio import record
from otel_studio import api

_CACHES = 50


def make() -> Subject:
    """Return the subject."""
    running = otel_studio.configure(
        service_name="bench", histogram_bounds=BUCKETS, recent_runs_per_operation=10
    )
    for number in range(5):
        record(f"service_{number}", 1_000, 10)
    caches = []

    def use_caches(accesses: int) -> None:
        for cache in caches:
            for number in range(accesses):
                key = f"key {number * number % 1_000}"
                if number % 10:
                    cache.hit(key, 0.000_1)
                else:
                    cache.miss(key, 0.001)
                    cache.set(key, size=1_024)

    def scrape() -> str:
        if not caches:
            caches.extend(
                otel_studio.cache(f"cache_{number}", service="caches") for number in range(_CACHES)
            )
            use_caches(2_000)
        use_caches(4)  # they are busy: no answer is the one before
        return running.prometheus_text()

    running.force_flush()
    return Subject(
        {
            "get_all_metrics_5000": api.get_all_metrics,
            "get_recent_operations_50000": lambda: api.get_recent_operations(limit=100),
            "scrape_5000_and_caches": scrape,
        }
    )
