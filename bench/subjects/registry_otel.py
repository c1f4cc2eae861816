"""A thousand operations in the SDK's histogram, scraped through its Prometheus reader."""

from __future__ import annotations

import random

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

from bench.subject import BUCKETS, Subject


def make() -> Subject:
    """Return the subject."""
    collectors = CollectorRegistry()
    reader = PrometheusMetricReader(registry=collectors)
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("bench")
    histogram = meter.create_histogram(
        "bench.duration", unit="s", explicit_bucket_boundaries_advisory=BUCKETS
    )
    numbers = random.Random(1)

    def fill(names: int) -> None:
        for number in range(names):
            labels = {"studio.service": "bench", "studio.operation": f"operation_{number}"}
            for _ in range(20):
                histogram.record(10 ** numbers.uniform(-5, 1), labels)

    filled = False

    def scrape() -> bytes:
        nonlocal filled
        if not filled:
            filled = True
            fill(1_000)
        return generate_latest(collectors)

    return Subject({"scrape_1000": scrape}, fill=fill)
