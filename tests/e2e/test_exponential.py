"""Durations as exponential histograms, as a real Collector writes them down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector import Collector
from parts import wait_until

DURATION = "otel_studio.operation.duration"
PROGRAM = """
import otel_studio

otel_studio.configure(service_name="shop", metrics_exporter="otlp", otlp_protocol="http/protobuf")
for number in range(1, 1_001):
    otel_studio.service("shop").record_operation("pay", duration=number / 1_000)
assert otel_studio.shutdown()
"""


@pytest.mark.patient
def test_the_collector_receives_exponential_histograms(tmp_path: Path) -> None:
    """Where OpenTelemetry's variable asks for them; a percentile out of them is right."""
    with Collector(tmp_path / "collector") as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": (
                "base2_exponential_bucket_histogram"
            ),
        }
        subprocess.run(
            [sys.executable, "-c", PROGRAM], check=True, env={**os.environ, **variables}, timeout=50
        )
        file = collector.folder / "metrics.jsonl"
        wait_until(lambda: DURATION in file.read_text(), 10, "the durations")
        lines = file.read_text().splitlines()

    [metric] = [
        metric
        for line in lines
        for resource in json.loads(line)["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
        if metric["name"] == DURATION
    ]
    [point] = metric["exponentialHistogram"]["dataPoints"]
    counts = [int(count) for count in point["positive"]["bucketCounts"]]
    assert (int(point["count"]), sum(counts), point["scale"]) == (1_000, 1_000, 5)
    assert (point["min"], point["max"]) == (0.001, 1.0)
    below = 0
    for place, count in enumerate(counts):
        below += count
        if below >= 950:
            middle = 2 ** ((point["positive"]["offset"] + place + 0.5) / 2**5)
            break
    assert middle == pytest.approx(0.95, rel=0.019)
