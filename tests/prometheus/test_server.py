"""A real Prometheus scrapes a plain prometheus_client endpoint and answers for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server

from parts import free_port, wait_until
from prometheus_server import Prometheus


def test_scraped_values_come_back_by_query(tmp_path: Path) -> None:
    """A counter's value, queried after a scrape, is the one served."""
    registry = CollectorRegistry()
    counter = Counter("runs", "Runs.", ["operation"], registry=registry)
    counter.labels("generate").inc(7)
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1", registry)
    try:
        with Prometheus(tmp_path, [f"127.0.0.1:{port}"]) as prometheus:
            query = 'runs_total{operation="generate"}'
            wait_until(lambda: prometheus.value(query) == 7.0, timeout=20)
            assert prometheus.value("up") == 1.0
            assert prometheus.value("absent_metric") is None
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_refused_query_says_why(tmp_path: Path) -> None:
    """A malformed query fails with Prometheus's own words, not with an empty answer."""
    with Prometheus(tmp_path, []) as prometheus, pytest.raises(AssertionError, match="parse error"):
        prometheus.query("sum(")
