"""What a real Prometheus scrapes from the demo's service equals what its registry counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo_run import figures

from parts import ROOT, free_port, wait_until
from prometheus_server import Prometheus

DURATION = "otel_studio_operation_duration_seconds"
KEY = ("studio_service", "studio_operation")


def by_operation(prometheus: Prometheus, promql: str) -> dict[tuple[str, str], float]:
    return {
        (sample.labels[KEY[0]], sample.labels[KEY[1]]): sample.value
        for sample in prometheus.query(promql)
    }


@pytest.mark.slow
def test_prometheus_stores_what_the_registry_counted(tmp_path: Path) -> None:
    """Count, sum, errors and active of every operation, queried back over Prometheus' API."""
    port = free_port()
    dump = tmp_path / "dump.json"
    clean = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    arguments = ["--for", "4", "--linger", "30", "--dump", str(dump)]
    with (
        Prometheus(tmp_path / "prometheus", [f"127.0.0.1:{port}"]) as prometheus,
        (tmp_path / "output.txt").open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "examples.demo", *arguments],
            cwd=ROOT,
            env={**clean, "COLUMNS": "80", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as demo,
    ):
        try:
            wait_until(dump.exists, 40, "the demo's figures")
            registry: dict[tuple[str, str], Any] = figures(dump)
            expected = {key: row["count"] for key, row in registry.items() if row["count"]}
            counts = f"sum by ({', '.join(KEY)}) ({DURATION}_count)"
            wait_until(lambda: by_operation(prometheus, counts) == expected, 15, "the last scrape")
            sums = by_operation(prometheus, f"sum by ({', '.join(KEY)}) ({DURATION}_sum)")
            errors = by_operation(
                prometheus, f'sum by ({", ".join(KEY)}) ({DURATION}_count{{error_type!=""}})'
            )
            active = by_operation(prometheus, "otel_studio_operation_active")
            buckets = by_operation(
                prometheus, f'sum by ({", ".join(KEY)}) ({DURATION}_bucket{{le="+Inf"}})'
            )
            p95 = prometheus.query(
                f"histogram_quantile(0.95, sum by (le) ({DURATION}_bucket"
                '{studio_operation="generate_preview"}))'
            )
        finally:
            demo.terminate()
    assert demo.returncode == 0, (tmp_path / "output.txt").read_text()
    assert {key: seconds * 1000 for key, seconds in sums.items()} == pytest.approx(
        {key: registry[key]["total_duration_ms"] for key in sums}
    )
    assert errors == {key: row["errors"] for key, row in registry.items() if row["errors"]}
    assert sum(errors.values()) > 0
    assert active == {key: row["active"] for key, row in registry.items()}
    assert buckets == expected
    assert p95[0].value > 0
