"""A thousand operations in OTel Studio's registry, scraped through the same Prometheus reader."""

from __future__ import annotations

import otel_studio
from bench.subject import BUCKETS, THREE_ATTRIBUTES, Subject


def record(service: str, names: int, runs: int) -> None:
    """Record runs of every length for each of many names, one in ten failed."""
    recorder = otel_studio.service(service)
    for number in range(names):
        for run in range(runs):
            recorder.record_operation(
                f"operation_{number}",
                10 ** (6 * run / runs - 5),
                error=None if run % 10 else ValueError(f"bench {run}"),
                attributes=THREE_ATTRIBUTES,
            )


def make() -> Subject:
    """Return the subject."""
    running = otel_studio.configure(service_name="bench", histogram_bounds=BUCKETS)
    filled = False

    def scrape() -> str:
        nonlocal filled
        if not filled:
            filled = True
            record("bench", 1_000, 20)
        return running.prometheus_text()

    return Subject(
        {"scrape_1000": scrape}, running.force_flush, fill=lambda n: record("bench", n, 40)
    )
