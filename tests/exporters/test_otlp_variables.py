"""What OTLP's variables cannot mean is said at the start, with what to write."""

from __future__ import annotations

import pytest

from otel_studio.base import guard
from otel_studio.exporters.otlp import (
    build_log_exporter,
    build_metric_exporter,
    build_span_exporter,
)
from otel_studio.exporters.otlp_variables import check_variables
from otel_studio.testing import isolated

BUILDERS = {
    "traces": build_span_exporter,
    "metrics": build_metric_exporter,
    "logs": build_log_exporter,
}


@pytest.mark.parametrize("signal", BUILDERS)
@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_{}_ENDPOINT"]
)
def test_without_a_scheme_http_is_told_what_to_write(
    monkeypatch: pytest.MonkeyPatch, signal: str, variable: str
) -> None:
    """Of any signal, by either variable."""
    name = variable.format(signal.upper())
    monkeypatch.setenv(name, "localhost:4318")
    with pytest.raises(ValueError, match=f"{name}='localhost:4318' .*write http://localhost:4318"):
        BUILDERS[signal]("http/protobuf")


@pytest.mark.parametrize("signal", BUILDERS)
@pytest.mark.parametrize(
    "address",
    [
        "localhost:4317",
        "http://localhost:4317",
        "http://localhost:4317/v1/traces",
        "localhost",
        "[::1]:4317",
        "::1",
        "dns:///collector:4317",
        "unix:/tmp/x",
    ],
)
def test_grpc_takes_what_grpc_takes(
    monkeypatch: pytest.MonkeyPatch, signal: str, address: str
) -> None:
    """A scheme is no part of its addresses."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    BUILDERS[signal]("grpc").shutdown()


@pytest.mark.parametrize(
    ("protocol", "address", "advice"),
    [
        ("http/protobuf", '"http://collector:4318"', "write http://collector:4318"),
        ("http/protobuf", "http://collector:4318 ", "write http://collector:4318"),
        ("http/protobuf", "'collector:4318'", "write collector:4318"),
        ("http/protobuf", "http://one:4318 http://two:4318", "write one address"),
        (
            "http/protobuf",
            "grpc://collector:4317",
            "write http://collector:4317 or https://collector:4317",
        ),
        ("http/protobuf", "http://", "names no host"),
        ("http/protobuf", "http://:4318", "names no host"),
        ("http/protobuf", "http://collector:http", "Port"),
        (
            "http/protobuf",
            "//collector:4318",
            "write http://collector:4318, or https://collector:4318",
        ),
        ("http/protobuf", "  ", "is empty: write an address, such as http://localhost:4318"),
        ("http/protobuf", "http://[::1:4318", "can be no address"),
        ("grpc", '"localhost:4317"', "write localhost:4317"),
        ("grpc", "localhost:4317 ", "write localhost:4317"),
        ("grpc", "one:4317 two:4317", "write one address, such as localhost:4317"),
        (
            "grpc",
            "localhost:4317/v1/traces",
            "has a path, which no address of gRPC's has: write localhost",
        ),
        ("grpc", ":4317", "names no host"),
        ("grpc", "http://:4317", "names no host"),
        ("grpc", "https://", "names no host"),
        ("grpc", "localhost:grpc", "Port"),
        ("grpc", "http://localhost:99999", "Port out of range"),
    ],
)
def test_what_can_be_no_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, protocol: str, address: str, advice: str
) -> None:
    """One sentence each, which names the variable: OpenTelemetry's exporters would try for ever."""
    variable = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
    monkeypatch.setenv(variable, address)
    with pytest.raises(ValueError, match=f"{variable}=") as refused:
        check_variables(protocol, "metrics")
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    "address",
    ["me:secret@collector:4318", "grpc://me:secret@collector:4318", "'http://me:secret@collector'"],
)
def test_a_password_is_not_said(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Neither what is wrong nor what to write has it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    with pytest.raises(ValueError, match="collector") as refused:
        check_variables("http/protobuf", "traces")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("protocol", "timeout"), [("grpc", "10s"), ("grpc", "0"), ("http/protobuf", "-1")]
)
def test_a_timeout_that_is_no_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, protocol: str, timeout: str
) -> None:
    """Nothing would ever be sent."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", timeout)
    with pytest.raises(ValueError, match=r"OTEL_EXPORTER_OTLP_TIMEOUT=.* number of seconds"):
        build_span_exporter(protocol)


def test_what_is_hardly_meant_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Milliseconds, and quotes that a shell did not take away; the exporters are made."""
    guard.forget_said()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "'api-key=secret'")
    for build in BUILDERS.values():
        build("http/protobuf").shutdown()
    own = [record.getMessage() for record in caplog.records if record.name == "otel_studio"]
    assert len(own) == 2
    assert "OTEL_EXPORTER_OTLP_TIMEOUT=10000" in own[0]
    assert "write 10 if" in own[0]
    assert "OTEL_EXPORTER_OTLP_HEADERS has quotes around it" in own[1]
    assert "secret" not in own[1]


def test_a_space_before_an_address_of_http_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken away where the address is used, and so is no reason to send nothing."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", " http://collector:4318")
    check_variables("http/protobuf", "traces")


def test_the_variable_of_the_signal_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in OpenTelemetry's exporters; a general one that is not used is nobody's affair."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1]:4318/v1/traces")
    check_variables("http/protobuf", "traces")


def test_a_studio_says_it_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The exporter is left out; everything else is there."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")
    with isolated(traces_exporter="otlp", otlp_protocol="http/protobuf") as s:
        assert s.studio.export_queues == []
    assert "write http://localhost:4318" in caplog.text
