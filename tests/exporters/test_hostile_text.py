"""Text that is not clean enters everywhere, and is the same safe text at every exit."""

from __future__ import annotations

import csv
import io
import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import Link
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

import otel_studio
from examples.demo_driver.screen import operations_table
from otel_studio import api
from otel_studio.base import guard
from otel_studio.base.text import safe, safe_line
from otel_studio.exporters.otlp_encoding import SpanEncoder
from otel_studio.testing.isolation import Isolated

from proving import scaled

MARKUP = "[bold red]x[/] [link=file:///etc/passwd]y[/link] :smile:"
HOSTILE = [
    "caf\udce9.mp4",
    "\ud83d",
    "nul\0nul",
    "\x1b]0;title\x07\x1b[2J\x1b[31mred",
    "\x9b31mC1 \x7f\x08\x0c\x85",
    MARKUP,
    "quote \" \\ ' back\\slash",
    "two\nlines\r\nand\ra tab\t|",
    "\u2028line\u2029 \u202egnp.exe \u2066x",
    '=HYPERLINK("http://x","y")',
    "@SUM(1)",
    "+1",
    "-1",
    "# HELP x y\n# TYPE x gauge\nx 1",
    '"} 1\nforged{a="',
    "# EOF",
    "%s %d %(x)s {0} {x}",
    "x" * 100_000,
    "\udc80" * 10_000,
    "é" * 3_000,
]
ANY_TEXT = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=3).map("".join),
    st.text(st.characters(codec=None), min_size=1, max_size=30),
)
LONGEST_NAME = 600


class Exits:
    """What left a Studio that hostile text came into."""

    def __init__(self, isolated: Isolated, reader: InMemoryMetricReader, logs: Any) -> None:
        studio = isolated.studio
        spans = isolated.spans
        studio.force_flush()
        self.traces = ExportTraceServiceRequest.FromString(SpanEncoder().encode(spans))
        data = reader.get_metrics_data()
        assert data is not None
        encoded = encode_metrics(data).SerializeToString()
        self.metrics = ExportMetricsServiceRequest.FromString(encoded)
        encoded = encode_logs(logs.get_finished_logs()).SerializeToString()
        self.logs = ExportLogsServiceRequest.FromString(encoded)
        self.prometheus = studio.prometheus_text()
        assert studio.prometheus is not None
        self.openmetrics = studio.prometheus.text(openmetrics=True)
        self.json = api.export_metrics("json")
        self.csv = api.export_metrics("csv")
        self.answers = {
            name: [one.to_dict() for one in answer]
            if isinstance(answer, list)
            else answer.to_dict()
            for name, answer in {
                "errors": api.get_error_statistics(),
                "recent": api.get_recent_operations(),
                "slow": api.get_slow_operations(),
                "caches": api.get_cache_performance_metrics(),
                "logs": api.get_log_counts(),
                "memory": api.get_memory_usage_metrics(),
            }.items()
        }
        console = Console(file=io.StringIO(), width=2_000, force_terminal=True, color_system=None)
        console.print(operations_table(api.get_all_metrics()))
        assert isinstance(console.file, io.StringIO)
        self.screen = console.file.getvalue()


@contextmanager
def studio(text: str) -> Iterator[tuple[Isolated, InMemoryMetricReader, Any]]:
    """Run a block in a Studio that sends everything, and whose resource has the text."""
    guard.forget_said()
    reader, exporter = InMemoryMetricReader(), InMemoryLogRecordExporter()
    made = mock.patch("otel_studio.assembly.from_settings.log_exporter", return_value=exporter)
    with (
        made,
        otel_studio.isolated(
            metric_readers=[reader],
            logging=True,
            logs_exporter="otlp",
            metrics_exporter="prometheus",
            prometheus_port=0,
            resource_attributes={"hostile": text, "plain": "x"},
            service_name=f"shop {text}",
        ) as isolated,
    ):
        yield isolated, reader, exporter
        isolated.studio.shutdown()
    assert not guard.internal_errors


def enter(text: str) -> None:
    """Put the text wherever a program can put one."""
    service = otel_studio.service(text)

    @otel_studio.track(text, service=text, attributes={"constant": text}, labels=("tenant",))
    def labelled() -> None:
        operation = otel_studio.current_operation()
        assert operation is not None
        operation.set_attribute("tenant", text)
        logging.getLogger(text).warning(text, extra={"hostile": text})
        logging.getLogger("shop").warning("%s", text)

    with service.operation(f"{text} outer", attributes={text: text}) as outer:
        outer.set_attributes({"list": [text, text], "bytes": text.encode("utf-8", "replace")})
        outer.span.add_event(text, {text: text})
        labelled()
        with suppress(ValueError), service.operation("fails"):
            try:
                raise KeyError(text)
            except KeyError:
                logging.getLogger(text).exception("failed")
                raise ValueError(text) from None
        outer.fail(text)
    tracer = trace.get_tracer(text, text, attributes={text: text})
    link = Link(outer.span.get_span_context(), {text: text})
    with tracer.start_as_current_span(text, attributes={text: text}, links=[link]) as span:
        span.update_name(text)
        span.set_status(trace.StatusCode.ERROR, text)
    meter = metrics.get_meter(text, text)
    meter.create_counter("sold", "1", text).add(1, {"which": text, text: "x"})
    meter.create_histogram("took", "s", text).record(1, {"which": text})
    meter.create_gauge("held", "By", text).set(1, {"which": text})
    previews = otel_studio.cache(text, service=text)
    previews.hit(text)
    previews.hit(text.encode("utf-8", "replace"))
    previews.set(text, size=10)
    previews.evict(text, reason=text)


def texts_of(found: Any) -> Iterator[str]:
    """Yield every text in a protobuf message, or in plain data."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from texts_of(key)
            yield from texts_of(value)
    elif isinstance(found, Sequence) and not isinstance(found, bytes):
        for item in found:
            yield from texts_of(item)
    elif hasattr(found, "ListFields"):
        for field, value in found.ListFields():
            many = isinstance(value, Sequence) and not isinstance(value, str | bytes)
            yield from texts_of(list(value) if many and not isinstance(field, str) else value)


def assert_safe(found: Any, where: str) -> None:
    for text in texts_of(found):
        assert safe(text, None) == text, f"{where}: {text[:100]!r}"
        text.encode()


@pytest.mark.patient
@given(ANY_TEXT)
@example("caf\udce9\x1b[31m\n[bold]=1")
@settings(deadline=None, max_examples=scaled(40, 4), suppress_health_check=list(HealthCheck))
def test_hostile_text_leaves_every_exit_safe(text: str) -> None:
    """Nothing is lost, every parser takes it, no terminal obeys it, and names agree."""
    with studio(text) as (isolated, reader, logs):
        enter(text)
        exits = Exits(isolated, reader, logs)
    for where in ("traces", "metrics", "logs", "answers"):
        assert_safe(getattr(exits, where), where)
    json.dumps(exits.answers, ensure_ascii=False).encode()
    name = safe_line(text)
    outer = safe_line(f"{text} outer")

    spans = [s for r in exits.traces.resource_spans for p in r.scope_spans for s in p.spans]
    assert sorted(span.name for span in spans) == sorted([outer, name, "fails", name])
    scopes = {p.scope.name for r in exits.traces.resource_spans for p in r.scope_spans}
    assert scopes == {name}
    assert max(len(span.name) for span in spans) < LONGEST_NAME

    points = [
        (metric.name, point)
        for resource in exits.metrics.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for kind in ("histogram", "sum", "gauge")
        for point in getattr(metric, kind).data_points
    ]
    measured = {a.value.string_value for _, p in points for a in p.attributes if "tenant" in a.key}
    assert measured == {"", safe(text, 256)} or len(text) > 256
    operations = {
        a.value.string_value
        for _, point in points
        for a in point.attributes
        if a.key == "studio.operation"
    }
    assert {outer, name, "fails"} <= operations

    records = [x for r in exits.logs.resource_logs for p in r.scope_logs for x in p.log_records]
    bodies = [record.body.string_value for record in records]
    assert bodies.count(safe(text, None)) == 2
    assert any("fails failed" in body for body in bodies)

    assert_exposition(exits.prometheus, text_string_to_metric_families, name, outer)
    assert_exposition(exits.openmetrics, openmetrics_families, name, outer)
    assert {row["service_name"] for row in json.loads(exits.json)} == {name}
    assert_csv(exits.csv, name, outer)
    assert not {letter for letter in exits.screen if safe(letter) != letter}
    assert "fails" in exits.screen


def assert_exposition(text: str, parse: Any, name: str, outer: str) -> None:
    text.encode()
    families = list(parse(text))
    assert "forged" not in {family.name for family in families}
    samples = [sample for family in families for sample in family.samples]
    counted = {
        sample.labels["studio_operation"]: sample.labels["studio_service"]
        for sample in samples
        if sample.name == "otel_studio_operation_active"
    }
    assert counted == {outer: name, name: name, "fails": name}
    # An older SDK tells of a gauge only where it was set since the last collection.
    assert {"sold_total", "took_seconds_count"} <= {s.name for s in samples}


def assert_csv(text: str, name: str, outer: str) -> None:
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    names, cells = {outer, name, "fails"}, {row["operation"] for row in rows}
    assert len(cells) == len(names)
    assert all(one in cells or f"'{one}" in cells for one in names)
    for row in rows:
        assert not row["operation"].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert not row["service"].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert float(row["count"]) >= 1
    assert safe(text.replace("\n", ""), None) == text.replace("\n", "")


def test_running_operations_say_safe_names() -> None:
    """Of services, operations, threads and tasks, while they run."""
    thread_says = []

    def work() -> None:
        with otel_studio.service("a\udcff").operation("b\x1b[31m"):
            thread_says.extend(api.get_active_operations())

    with otel_studio.isolated():
        thread = threading.Thread(target=work, name="worker\udcff\x1b]0;x\x07")
        thread.start()
        thread.join()
    (found,) = thread_says
    assert_safe(found.to_dict(), "active")
    assert (found.service, found.operation) == ("a�", "b�[31m")


def test_labels_that_become_alike_are_one_series() -> None:
    """Two names that differ only in what is taken out: their counts are added, and said once."""
    with otel_studio.isolated(metrics_exporter="prometheus", prometheus_port=0) as isolated:
        meter = metrics.get_meter("shop")
        sold, took = meter.create_counter("sold"), meter.create_histogram("took")
        for which in ("a\udc80", "a\udc81"):
            sold.add(2, {"which": which})
            took.record(3, {"which": which})
        found = isolated.studio.prometheus_text()
    samples = [s for f in text_string_to_metric_families(found) for s in f.samples]
    values = {
        s.name: s.value for s in samples if s.labels.get("which") == "a�" and "le" not in s.labels
    }
    assert values == {"sold_total": 4, "took_count": 2, "took_sum": 6}
    assert len([s for s in samples if s.name == "sold_total"]) == 1


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "＝1"])  # noqa: RUF001
def test_no_cell_is_a_formula(cell: str) -> None:
    """A leading apostrophe makes it text; numbers of ours stay numbers."""
    with otel_studio.isolated():
        otel_studio.service(cell).record_operation(cell, 1, error=cell)
        (row,) = csv.DictReader(io.StringIO(api.export_metrics("csv")))
    assert (row["service"], row["operation"], row["last_error"]) == (f"'{cell}",) * 3
    assert float(row["max_duration_ms"]) == pytest.approx(1_000, abs=1)
