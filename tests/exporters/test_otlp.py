"""The OTLP exporters send what the encoder makes, by either protocol, over OTel's transport."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext

from otel_studio.assembly.bounded_shutdown import end_within
from otel_studio.base import guard
from otel_studio.exporters import _otel_private, otlp
from otel_studio.exporters.otlp import (
    build_log_exporter,
    build_metric_exporter,
    build_span_exporter,
)

from parts import free_port

Request = trace_service_pb2.ExportTraceServiceRequest
PROTOCOLS = ["http/protobuf", "grpc"]


def a_batch(name: str = "get") -> list[ReadableSpan]:
    context = SpanContext(1, 2, is_remote=False)
    return [ReadableSpan(name, context, resource=Resource({}), start_time=1, end_time=2)]


class HTTPReceiver:
    """A Collector's HTTP endpoint: keeps requests, and answers with the statuses it is given."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                receiver.requests.append((self.path, headers, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


class GRPCReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """A Collector's gRPC endpoint; fails with the codes it is given first."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.codes: list[grpc.StatusCode] = []
        self._server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.endpoint = f"http://127.0.0.1:{port}"
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append((dict(context.invocation_metadata()), request))
        if self.codes:
            context.abort(self.codes.pop(0), "told to")
        return trace_service_pb2.ExportTraceServiceResponse()

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def http_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPReceiver]:
    receiver = HTTPReceiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    yield receiver
    receiver.stop()


@pytest.fixture
def grpc_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[GRPCReceiver]:
    receiver = GRPCReceiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    yield receiver
    receiver.stop()


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A dead Collector, and no proxy in the way to it."""
    port = free_port()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    return port


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    guard.forget_said()
    yield
    guard.forget_said()


def names(request: Any) -> list[str]:
    return [
        span.name
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def test_http_sends_encoded_spans_with_the_headers_and_compression_of_the_variables(
    http_receiver: HTTPReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Path, headers and gzip are the OpenTelemetry exporter's; the body is ours."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    exporter = build_span_exporter("http/protobuf")
    assert exporter.export(a_batch("resize")) is SpanExportResult.SUCCESS
    exporter.shutdown()
    [(path, headers, body)] = http_receiver.requests
    assert path == "/v1/traces"
    assert headers["x-token"] == "abc"
    assert headers["content-type"] == "application/x-protobuf"
    assert names(Request.FromString(gzip.decompress(body))) == ["resize"]


def test_grpc_sends_encoded_spans_with_the_headers_of_the_variables(
    grpc_receiver: GRPCReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes reach the service as the message they encode."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")
    exporter = build_span_exporter("grpc")
    assert exporter.export(a_batch("resize")) is SpanExportResult.SUCCESS
    exporter.shutdown()
    [(metadata, request)] = grpc_receiver.requests
    assert metadata["x-token"] == "abc"
    assert names(request) == ["resize"]


def test_the_encoder_in_use_is_the_one_given(http_receiver: HTTPReceiver) -> None:
    """What the encoder leaves out is counted where the caller can read it."""
    encoder = otlp.SpanEncoder()
    exporter = build_span_exporter("http/protobuf", encoder)
    span = ReadableSpan("bad", SpanContext(1, 2, is_remote=False), start_time=-1)
    exporter.export([span, *a_batch("good")])
    exporter.shutdown()
    assert encoder.unencodable == 1
    assert names(Request.FromString(http_receiver.requests[0][2])) == ["good"]


def test_http_retries_what_the_receiver_asks_to_retry(
    http_receiver: HTTPReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 is tried again with the same bytes, by OpenTelemetry's own retry."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0.01)
    http_receiver.statuses = [503]
    exporter = build_span_exporter("http/protobuf")
    assert exporter.export(a_batch()) is SpanExportResult.SUCCESS
    exporter.shutdown()
    first, second = http_receiver.requests
    assert first[2] == second[2]


def test_grpc_retries_and_reconnects(
    grpc_receiver: GRPCReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After UNAVAILABLE the exporter makes a new channel; ours takes bytes again."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0.01)
    grpc_receiver.codes = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    exporter = build_span_exporter("grpc")
    assert exporter.export(a_batch()) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert [names(request) for _, request in grpc_receiver.requests] == [["get"]] * 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shutdown_ends_a_retry_in_progress(
    protocol: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that waits to try again returns as soon as its exporter is shut down."""
    monkeypatch.setattr("random.uniform", lambda low, high: 8.0)
    receiver: Any
    if protocol == "grpc":
        receiver = request.getfixturevalue("grpc_receiver")
        receiver.codes = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 9
    else:
        receiver = request.getfixturevalue("http_receiver")
        receiver.statuses = [503] * 9
    exporter = build_span_exporter(protocol)
    results: list[SpanExportResult] = []
    thread = threading.Thread(target=lambda: results.append(exporter.export(a_batch())))
    thread.start()
    deadline = time.monotonic() + 10
    while not receiver.requests and time.monotonic() < deadline:
        thread.join(0.01)
    exporter.shutdown()
    thread.join(3)
    assert results == [SpanExportResult.FAILURE]


@pytest.mark.patient
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_everything_ends_in_time_with_a_dead_collector(protocol: str, closed_port: int) -> None:
    """Metrics and spans with nobody to take them: the budget holds."""
    assert closed_port
    reader = PeriodicExportingMetricReader(build_metric_exporter(protocol), 3_600_000)
    provider = MeterProvider([reader])
    provider.get_meter("m").create_counter("c").add(1)
    spans = build_span_exporter(protocol)
    logs = build_log_exporter(protocol)
    began = time.monotonic()
    end_within(
        1.0,
        {"metrics": provider.shutdown, "spans": lambda: spans.export(a_batch())},
        [reader._exporter, spans, logs],
    )
    assert time.monotonic() - began < 1.5


def test_a_task_that_fails_or_hangs_does_not_hold_the_others_up(closed_port: int) -> None:
    """One shutdown raises, another never returns, an exporter's own blocks: the time is kept."""
    never = threading.Event()
    done: list[str] = []

    class Stuck:
        def shutdown(self) -> None:
            never.wait()

    def fail() -> None:
        raise RuntimeError("broken")

    began = time.monotonic()
    tasks = {"a": fail, "b": never.wait, "c": lambda: done.append("c")}
    assert not end_within(0.3, tasks, [Stuck()])
    assert time.monotonic() - began < 0.8
    assert done == ["c"]
    assert guard.internal_errors["shutting down a"] == 1
    never.set()


def test_a_task_that_could_not_do_its_work_is_told() -> None:
    """A shutdown that raises, or says itself that something was not sent, is no success."""

    def fail() -> None:
        raise RuntimeError("broken")

    assert not end_within(30.0, {"a": fail}, [])
    assert not end_within(30.0, {"a": lambda: False}, [])


def test_ending_is_quick_when_nothing_hangs() -> None:
    """The budget is a limit, not a wait."""
    began = time.monotonic()
    assert end_within(30.0, {"a": lambda: None}, [])
    assert time.monotonic() - began < 5


def test_tasks_run_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the exit of CPython 3.12.0 no thread starts: the task runs all the same."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[str] = []
    assert end_within(1.0, {"a": lambda: done.append("a")}, [])
    assert done == ["a"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_all_exporters_are_those_of_opentelemetry(protocol: str, closed_port: int) -> None:
    """What a program, or the SDK, does with the class is what it does with ours."""
    for build in (build_span_exporter, build_metric_exporter, build_log_exporter):
        exporter: Any = build(protocol)
        assert any(
            "opentelemetry.exporter.otlp" in kind.__module__ for kind in type(exporter).mro()
        )
        exporter.shutdown()


def test_an_unknown_protocol_is_refused() -> None:
    """The sentence names the choices."""
    with pytest.raises(ValueError, match="'http/json' is no protocol of OTLP here: use"):
        build_span_exporter("http/json")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_missing_extra_is_named(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says what to install."""

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(otlp, "import_module", missing)
    with pytest.raises(ImportError, match=r"install otel-studio\[otlp\]"):
        build_metric_exporter(protocol)


def test_an_unknown_release_is_used_as_it_is(
    http_receiver: HTTPReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a private name has moved, OpenTelemetry's own exporter does all of the work."""

    def moved(*_: Any, **__: Any) -> Any:
        raise _otel_private.MovedError("export is elsewhere")

    monkeypatch.setattr(_otel_private, "http_exporter", moved)
    exporter = build_span_exporter("http/protobuf")
    assert exporter.export(a_batch("resize")) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert names(Request.FromString(http_receiver.requests[0][2])) == ["resize"]
    assert "export is elsewhere" in caplog.text


def test_proxies_and_logins_of_the_environment_hold(
    http_receiver: HTTPReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """HTTP_PROXY and .netrc mean what they mean to `requests`, though they are read once."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine collector.test login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", http_receiver.endpoint)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.test:4318")
    exporter = build_span_exporter("http/protobuf")
    for name in ("first", "second"):
        assert exporter.export(a_batch(name)) is SpanExportResult.SUCCESS
    exporter.shutdown()
    for path, headers, _ in http_receiver.requests:
        assert path == "http://collector.test:4318/v1/traces"
        assert headers["authorization"] == "Basic dXNlcjpzZWNyZXQ="


def test_no_login_is_sent_where_there_is_none(http_receiver: HTTPReceiver) -> None:
    """Without .netrc there is no Authorization header, at the first request or later."""
    exporter = build_span_exporter("http/protobuf")
    exporter.export(a_batch())
    exporter.export(a_batch())
    exporter.shutdown()
    assert all("authorization" not in headers for _, headers, _ in http_receiver.requests)
    assert len(http_receiver.requests) == 2


def test_a_session_of_the_users_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential provider that the variables name makes the session, and not this package."""
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "absent")
    with pytest.raises(RuntimeError, match="'absent' not found"):
        build_span_exporter("http/protobuf")
