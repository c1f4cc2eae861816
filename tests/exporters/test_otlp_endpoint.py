"""An address that no receiver can have is said at the start, with what to write."""

from __future__ import annotations

import pytest

from otel_studio.exporters.otlp import (
    build_log_exporter,
    build_metric_exporter,
    build_span_exporter,
)
from otel_studio.exporters.otlp_endpoint import check_endpoint
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
    "address", ["localhost:4317", "http://localhost:4317", "dns:///collector:4317", "unix:/tmp/x"]
)
def test_grpc_takes_what_grpc_takes(
    monkeypatch: pytest.MonkeyPatch, signal: str, address: str
) -> None:
    """A scheme is no part of its addresses."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    BUILDERS[signal]("grpc").shutdown()


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ('"http://collector:4318"', "write http://collector:4318"),
        (" http://collector:4318", "write http://collector:4318"),
        ("'collector:4318'", "write collector:4318"),
        ("http://one:4318 http://two:4318", "write one address"),
        ("grpc://collector:4317", "write http://collector:4317 or https://collector:4317"),
        ("http://", "names no host"),
        ("http://:4318", "names no host"),
        ("http://collector:http", "a port that is no number"),
        ("//collector:4318", "has no scheme"),
    ],
)
def test_what_can_be_no_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str, advice: str
) -> None:
    """One sentence each, which names the variable."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_ENDPOINT=") as refused:
        check_endpoint("http/protobuf", "traces")
    assert advice in str(refused.value)


def test_the_variable_of_the_signal_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in OpenTelemetry's exporters; a general one that is not used is nobody's affair."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1]:4318/v1/traces")
    check_endpoint("http/protobuf", "traces")


def test_a_studio_says_it_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The exporter is left out; everything else is there."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")
    with isolated(traces_exporter="otlp", otlp_protocol="http/protobuf") as s:
        assert s.studio.export_queues == []
    assert "write http://localhost:4318" in caplog.text
