"""A real Collector, which takes 4 MiB over gRPC, receives all of what is large."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import otel_studio
from otel_studio.base import guard

from collector import Collector
from parts import wait_until

SPANS, RECORDS, SERIES = 6_000, 3_000, 5_000


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_receives_every_large_batch(
    tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans and log records of 2.5 KB, and the points of 5,000 operations in one collection."""
    guard.forget_said()
    with Collector(tmp_path / "collector") as collector:
        endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        studio = otel_studio.configure(
            service_name="shop",
            sampler="always_on",
            otlp_protocol=protocol,
            traces_exporter="otlp",
            metrics_exporter="otlp",
            logs_exporter="otlp",
            export_queue_size=20_000,
            max_operations_per_service=SERIES + 1,
            max_operations=SERIES + 100,
            shutdown_timeout=30,
        )
        service = otel_studio.service("db")
        for number in range(SPANS):
            with service.operation("query") as operation:
                operation.set_attribute("db.query.text", f"SELECT {number} " + "x" * 2_500)
        assert studio.force_flush(30)
        many = otel_studio.service("many")
        for number in range(SERIES):
            with many.operation(f"{number:05} " + "long" * 40):
                pass
        assert studio.force_flush(30)
        logger = logging.getLogger("app")
        for number in range(RECORDS):
            logger.warning("%d %s", number, "x" * 7_000)
            if number % 400 == 399:
                assert studio.force_flush(30)
        assert otel_studio.shutdown(30)
        wait_until(lambda: len(collector.logs()) >= RECORDS, 20, "every log record")
        assert len(collector.spans("query")) == SPANS
        assert len({log.body for log in collector.logs()}) == RECORDS
        points = collector.latest_points("otel_studio.operation.duration")
        assert len([point for point in points if point.scope == "otel_studio"]) >= SERIES
