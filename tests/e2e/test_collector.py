"""What a real Collector receives from the demo's service equals what its registry counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from demo_run import run_demo

from collector import Collector
from parts import wait_until

DURATION = "otel_studio.operation.duration"


def exporting(collector: Collector, protocol: str) -> dict[str, str]:
    endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
    return {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
    }


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_collector_receives_what_the_registry_counted(tmp_path: Path, protocol: str) -> None:
    """The same spans, counts, sums and errors by operation; every parent arrived too."""
    with Collector(tmp_path / "collector") as collector:
        registry = run_demo(tmp_path, exporting(collector, protocol))
        expected = {key: row["count"] for key, row in registry.items() if row["count"]}
        total = sum(expected.values())
        wait_until(lambda: len(collector.spans()) >= total, 20, f"{total} spans")
        spans = collector.spans()
        points = [p for p in collector.latest_points(DURATION) if p.count]

    assert Counter((s.scope, s.name) for s in spans) == expected
    errors = Counter((s.scope, s.name) for s in spans if s.is_error)
    assert errors == {key: row["errors"] for key, row in registry.items() if row["errors"]}
    assert sum(errors.values()) > 0

    by_trace: dict[str, set[str]] = {}
    for span in spans:
        by_trace.setdefault(span.trace_id, set()).add(span.span_id)
    orphans = [s.name for s in spans if s.parent_id and s.parent_id not in by_trace[s.trace_id]]
    assert orphans == []
    assert any(s.parent_id for s in spans)

    counts: Counter[tuple[str, str]] = Counter()
    failures: Counter[tuple[str, str]] = Counter()
    sums: dict[tuple[str, str], float] = {}
    for point in points:
        key = (point.attributes["studio.service"], point.attributes["studio.operation"])
        counts[key] += point.count
        sums[key] = sums.get(key, 0.0) + point.sum
        if "error.type" in point.attributes:
            failures[key] += point.count
    assert counts == expected
    assert failures == errors
    for key, seconds in sums.items():
        assert seconds * 1000 == pytest.approx(registry[key]["total_duration_ms"])
    spent: dict[tuple[str, str], float] = {}
    for span in spans:
        key = (span.scope, span.name)
        spent[key] = spent.get(key, 0.0) + (span.end_ns - span.start_ns) / 1e6
    for key, milliseconds in spent.items():
        assert milliseconds == pytest.approx(registry[key]["total_duration_ms"], rel=1e-6)
