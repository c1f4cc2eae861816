"""Records leave over OTLP with the ids of their spans, renamed and redacted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.resources import Resource

import otel_studio
from joined_logs import Joined, failed_run, joined_logs
from otel_studio.base import guard
from otel_studio.base.otel_private import SUPPRESS_KEY
from otel_studio.exporters._otel_private import encoded_logs as build_request
from otel_studio.exporters.otlp import build_log_exporter, build_span_exporter

from collector import Collector, ReceivedLog
from parts import wait_until

log = logging.getLogger("shop.export")


@pytest.fixture
def memory() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()


@pytest.fixture
def exporting(memory: InMemoryLogRecordExporter) -> Iterator[Joined]:
    with joined_logs(start=False) as made:
        made.logs.export_to(Resource({"service.name": "shop"}), [memory])
        made.logs._join.install()
        yield made
        made.logs.stop()
        made.logs.shutdown_export()


def sent(joined: Joined, memory: InMemoryLogRecordExporter) -> list[Any]:
    joined.logs.flush()
    return [record.log_record for record in memory.get_finished_logs()]


def own_attributes(record: Any) -> dict[str, Any]:
    """Return a record's attributes without the place in the code, which older handlers add."""
    return {k: v for k, v in dict(record.attributes).items() if not k.startswith("code.")}


def test_a_record_carries_the_ids_of_its_span(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """Trace and span id stand in their own fields, service and operation as attributes."""
    with otel_studio.service("a").operation("b") as run:
        log.warning("hello %s", "bob", extra={"order": 5})
    (record,) = sent(exporting, memory)
    context = run.span.get_span_context()
    assert (record.trace_id, record.span_id) == (context.trace_id, context.span_id)
    assert record.body == "hello bob"
    assert record.severity_text in ("WARN", "WARNING")
    assert own_attributes(record) == {"studio.service": "a", "studio.operation": "b", "order": 5}


def test_a_record_outside_of_any_run_has_none(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """No ids, and no empty attributes in their place."""
    log.info("outside")
    (record,) = sent(exporting, memory)
    assert not record.trace_id
    assert own_attributes(record) == {}


def test_the_record_of_an_ended_run_has_its_ids(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """Although it is written later and elsewhere, it belongs to the run's span."""
    with failed_run() as run:
        pass
    record = sent(exporting, memory)[-1]
    context = run.span.get_span_context()
    assert (record.trace_id, record.span_id) == (context.trace_id, context.span_id)
    assert record.severity_text == "ERROR"
    assert record.attributes["studio.ended_run"] is True
    assert record.attributes["studio.duration_ms"] == 0.0


def test_secrets_are_not_sent(exporting: Joined, memory: InMemoryLogRecordExporter) -> None:
    """Body, attributes and exception leave redacted; the exception keeps type and stack."""
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        log.exception("failed with password=hunter2", extra={"api_key": "hunter2"})
    (record,) = sent(exporting, memory)
    assert "hunter2" not in str(record.body) + str(dict(record.attributes))
    assert record.attributes["exception.type"] == "ValueError"
    assert record.attributes["exception.message"] == "password=[redacted]"
    assert "Traceback" in record.attributes["exception.stacktrace"]
    assert record.attributes["api_key"] == "[redacted]"


def test_an_exception_without_a_secret_is_sent_whole(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """Type, message and stack are as OpenTelemetry's handler gives them."""
    try:
        raise KeyError("harmless")
    except KeyError:
        log.exception("failed")
    (record,) = sent(exporting, memory)
    assert record.attributes["exception.type"] == "KeyError"
    assert "KeyError: 'harmless'" in record.attributes["exception.stacktrace"]


@pytest.mark.parametrize("created", [-1.0, 1e30, float("inf"), float("nan")])
def test_a_record_of_no_time_costs_no_other(
    created: float, exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """One whose time OTLP has no form for is sent without it, or left out; what waits is sent."""
    guard.forget_said()
    log.warning("before")
    odd = logging.makeLogRecord({"name": "shop", "msg": "odd", "levelno": logging.WARNING})
    odd.created = created
    log.handle(odd)
    log.warning("after")
    records = sent(exporting, memory)
    bodies = [record.body for record in records if record.body in ("before", "odd", "after")]
    assert bodies in (["before", "odd", "after"], ["before", "after"])
    assert build_request(memory.get_finished_logs()).ByteSize() > 0
    guard.forget_said()


def test_what_exporters_log_while_they_send_is_not_sent(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """Sending it would make more of it, without end."""
    token = context_api.attach(context_api.set_value(SUPPRESS_KEY, True))
    try:
        log.warning("could not send")
    finally:
        context_api.detach(token)
    assert sent(exporting, memory) == []


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_records_and_spans_meet_in_a_real_collector(
    collector: Collector, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records that arrive carry the ids of spans that arrived; a secret is in neither."""
    endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
    if not endpoint.startswith("http"):
        endpoint = f"http://{endpoint}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    operation = f"render-{protocol.replace('/', '-')}"
    with joined_logs(start=False) as made:
        made.isolated.studio.add_span_exporter(build_span_exporter(protocol))
        made.logs.export_to(Resource({"service.name": "shop"}), [build_log_exporter(protocol)])
        made.logs.start()
        with failed_run("preview-service", operation, ValueError("password=hunter2")) as run:
            run.set_attribute("db.password", "hunter2")
            log.warning("about to fail with password=%s", "hunter2")
        assert made.logs.flush(10)
        assert made.isolated.studio.force_flush(10)
        made.logs.stop()
        made.logs.shutdown_export()
    (span,) = wait_until(lambda: collector.spans(operation))
    ids = (run.trace_id, span.span_id)

    def arrived() -> list[ReceivedLog]:
        records = [record for record in collector.logs() if record.trace_id == run.trace_id]
        return records if len(records) == 2 else []

    records = wait_until(arrived)
    assert {(record.trace_id, record.span_id) for record in records} == {ids}
    assert {record.severity[:4] for record in records} == {"WARN", "ERRO"}
    assert all(r.attributes["studio.operation"] == operation for r in records)
    assert all(r.resource["service.name"] == "shop" for r in records)
    folder: Path = collector.folder
    for name in ("traces.jsonl", "logs.jsonl"):
        text = (folder / name).read_text()
        assert "hunter2" not in text
        assert "[redacted]" in text
