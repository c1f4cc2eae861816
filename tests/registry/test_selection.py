"""Operations that the setting `ignored_operations` leaves out: of everything, and counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import otel_studio
from otel_studio.registry import queries
from otel_studio.registry.selection import IgnoredOperations
from otel_studio.settings.loading import Settings
from otel_studio.testing.isolation import Isolated, isolated


class Taking(SpanExporter):
    """Keeps the names of what is sent."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close nothing."""


def names_of(s: Isolated) -> set[tuple[str, str]]:
    return {
        (summary.service_name, name)
        for summary in queries.summaries(s.registry.reading())
        for name in summary.operation_metrics
    }


def ignored(s: Isolated) -> int:
    return sum(moment.ignored for moment in s.registry.reading().processes.values())


def serve(s: Isolated, requests: int) -> None:
    """Answer requests by an application under the contrib instrumentation."""
    fastapi = pytest.importorskip("fastapi")
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.fastapi")
    httpx = pytest.importorskip("httpx")

    app = fastapi.FastAPI()

    @app.get("/clips/{number}")
    async def clip(number: int) -> dict[str, int]:
        with otel_studio.service("clips").operation("load"):
            return {"number": number}

    @app.post("/clips")
    async def upload() -> dict[str, int]:
        return {}

    instrumentation.FastAPIInstrumentor.instrument_app(app, tracer_provider=s.tracer_provider)

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://clips") as client:
            answers = [await client.get(f"/clips/{number}") for number in range(requests)]
            return [answer.status_code for answer in [*answers, await client.post("/clips")]]

    assert asyncio.run(ask()) == [200] * (requests + 1)


def test_twenty_requests_make_one_operation_per_route() -> None:
    """The single messages of the ASGI instrumentation are no operations, unless asked for."""
    reader, taking = InMemoryMetricReader(), Taking()
    with isolated(metric_readers=[reader]) as s:
        queue = s.studio.add_span_exporter(taking)
        serve(s, 20)
        operations = {name for _, name in names_of(s)}
        assert operations == {"GET /clips/{number}", "POST /clips", "load"}
        (server,) = {service for service, _ in names_of(s)} - {"clips"}
        metrics = s.operation(server, "GET /clips/{number}")
        assert (metrics.count, metrics.active) == (20, 0)
        assert ignored(s) >= 42
        data = reader.get_metrics_data()
        assert data is not None
        told = {
            metric.name: metric.data.data_points[0].value  # type: ignore[union-attr]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name.startswith("otel_studio.self.spans")
        }
        assert told["otel_studio.self.spans.ignored"] == ignored(s)
        assert told["otel_studio.self.spans.folded"] == ignored(s) + 41
        for run in s.runs(server):
            assert {share.operation for share in run.time_split} <= {"load", "self"}
        queue.force_flush(5_000)
        assert set(taking.names) == operations
        assert len(taking.names) == 41


def test_messages_are_operations_where_nothing_is_ignored() -> None:
    """The setting can be emptied."""
    with isolated(ignored_operations=()) as s:
        serve(s, 2)
        operations = {name for _, name in names_of(s)}
        assert "GET /clips/{number} http send" in operations
        assert ignored(s) == 0
        shares = {share.operation for run in s.runs() for share in run.time_split}
        assert "GET /clips/{number} http send" in shares


def test_an_ignored_operation_is_in_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Not counted, not active, not kept, not sent, not reported; but it runs as ever."""
    taking, shop = Taking(), otel_studio.service("shop")
    with (
        caplog.at_level(logging.INFO),
        isolated(ignored_operations=("shop/probe*",), logging=True, slow_threshold=1e-9) as s,
    ):
        queue = s.studio.add_span_exporter(taking)
        with shop.operation("pay"):
            with shop.operation("probe card"):
                assert otel_studio.current_operation() is not None
                assert names_of(s) == {("shop", "pay")}
                assert queries.active_count(s.registry.reading()).total == 1
                assert [run._name for run in s.registry.running()] == ["pay"]
            with (
                shop.operation("probe"),
                pytest.raises(ValueError, match="no"),
                shop.operation("probe again"),
            ):
                raise ValueError("no")
        with otel_studio.service("other").operation("probe"):
            pass
        assert names_of(s) == {("shop", "pay"), ("other", "probe")}
        assert ignored(s) == 3
        assert queries.error_statistics(s.registry.reading()).total_errors == 0
        assert s.runs("shop", "pay")[0].time_split == []
        queue.force_flush(5_000)
        assert sorted(taking.names) == ["pay", "probe"]
        assert s.studio.logs is not None
        assert s.studio.logs.flush(10)
    reports = [
        r.getMessage() for r in caplog.records if r.name.startswith("otel_studio.operations")
    ]
    assert [report for report in reports if "shop/pay" in report]
    assert not [report for report in reports if "shop/probe" in report]


def test_what_runs_in_an_ignored_operation_is_counted() -> None:
    """Leaving out is no ban: its parts are operations like any other."""
    shop = otel_studio.service("shop")
    with isolated(ignored_operations=("probe",)) as s:
        with shop.operation("outer"), shop.operation("probe"), shop.operation("inner"):
            pass
        assert names_of(s) == {("shop", "outer"), ("shop", "inner")}
        assert (s.operation("shop", "inner").count, ignored(s)) == (1, 1)


def test_runs_that_are_dropped_or_recorded_are_left_out_too() -> None:
    """However an ignored run came to its end."""
    shop = otel_studio.service("shop")
    with isolated(ignored_operations=("probe",)) as s:
        shop.record_operation("probe", duration=1.0)
        tracker = shop.start_operation("probe")
        tracker.fail("no")
        dropped = shop.start_operation("probe")
        del dropped
        assert names_of(s) == set()
        assert ignored(s) == 3


@pytest.mark.parametrize(
    ("pattern", "left_out"),
    [
        ("probe", {"shop/probe", "other/probe"}),
        ("shop/probe", {"shop/probe"}),
        ("shop/*", {"shop/probe", "shop/pay"}),
        ("*", {"shop/probe", "shop/pay", "other/probe"}),
        ("p??", {"shop/pay"}),
        ("[!p]*", set()),
        ("PROBE", set()),
        ("prob", set()),
    ],
)
def test_patterns_are_of_an_operation_or_of_service_and_operation(
    pattern: str, left_out: set[str]
) -> None:
    """As a shell's: case counts, and the whole name is meant."""
    selection = IgnoredOperations([pattern])
    found = {
        f"{service}/{operation}"
        for service, operation in (("shop", "probe"), ("shop", "pay"), ("other", "probe"))
        if selection.leaves_out(service, operation)
    }
    if pattern == "[!p]*":  # it is asked of `service/operation` too
        left_out = {"shop/probe", "shop/pay", "other/probe"}
    assert found == left_out


@given(st.text(), st.text())
def test_without_patterns_nothing_is_ignored(service: str, operation: str) -> None:
    """Whatever it is called; and a star takes any name, line breaks too."""
    assert not IgnoredOperations([]).leaves_out(service, operation)
    assert IgnoredOperations(["*"]).leaves_out(service, operation)


def test_more_operations_than_are_remembered_are_told_apart() -> None:
    """An answer that is not kept is found anew."""
    selection = IgnoredOperations(["ignored *"])
    for number in range(10_050):
        assert selection.leaves_out("shop", f"ignored {number}")
        assert not selection.leaves_out("shop", f"{number}")
    assert len(selection._known) <= 10_000


def test_the_default_names_the_messages_of_asgi() -> None:
    """And nothing else."""
    patterns: Any = Settings.__dataclass_fields__["ignored_operations"].default
    assert patterns == ("* http send", "* http receive")
