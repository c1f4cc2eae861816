"""The benchmark of a whole service: the service answers, and its rounds are compared rightly."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench.service import app as service
from bench.service import load, measure, rounds, sink
from bench.service.processes import Helper


async def test_the_service_answers_with_its_row_and_the_price_of_the_upstream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request needs both the database and the upstream."""
    with Helper("bench.service.upstream", Path(sys.executable)) as upstream:
        monkeypatch.setenv("BENCH_UPSTREAM", upstream.url)
        transport = httpx.ASGITransport(service.app)
        async with (
            service.lifespan(service.app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            found = await client.get("/items/3")
            missing = await client.get(f"/items/{service.ITEMS}")
    assert found.json() == {"id": 3, "name": "item 3", "price": 7}
    assert missing.status_code == 404


def test_the_sink_tells_the_kinds_of_spans_apart() -> None:
    """A statement is told from a call to another service, and from what no request asked for."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(kind=Span.SPAN_KIND_SERVER)
    spans.add(kind=Span.SPAN_KIND_CLIENT).attributes.add(key="http.method")
    spans.add(kind=Span.SPAN_KIND_CLIENT).attributes.add(key="db.statement")
    spans.add(kind=Span.SPAN_KIND_CLIENT).attributes.add(key="db.system")
    spans.add(kind=Span.SPAN_KIND_INTERNAL)
    kinds = list(sink.otlp_kinds(request.SerializeToString()))
    assert kinds == ["server", "client", "database", "other", "other"]


def test_every_item_of_the_load_is_known_to_the_service() -> None:
    """The load, which knows nothing of the service's packages, asks for what is there."""
    assert load.ITEMS == service.ITEMS


def test_every_subject_stands_between_two_rounds_of_none() -> None:
    """Every second turn goes the other way round."""
    assert rounds.order(["a", "b"], 0) == ["none", "a", "none", "b", "none"]
    assert rounds.order(["a", "b"], 1) == ["none", "b", "none", "a", "none"]


def test_a_round_is_compared_with_none_on_both_sides_of_it() -> None:
    """A machine that becomes slower between the rounds changes no ratio."""
    turn = [("none", 1.0), ("a", 3.0), ("none", 2.0), ("b", 3.0), ("none", 4.0)]
    assert rounds.ratios(turn) == {"a": [2.0], "b": [1.0]}


def test_a_round_at_the_edge_is_refused() -> None:
    """What has none on one side only is compared with nothing."""
    with pytest.raises(ValueError, match="the round of a does not stand between two of none"):
        rounds.ratios([("none", 1.0), ("a", 1.0)])


def test_the_ratio_of_a_subject_is_the_median_of_its_rounds() -> None:
    """One spoilt round counts for little."""
    results = measure.Results()
    for cost in (1.5, 9.0, 1.4):
        results.add([("none", 1.0), ("a", cost), ("none", 1.0)])
    assert results.ratio("a") == 1.5
    assert results.ratio("b") is None
