"""Says which private name of OpenTelemetry's OTLP exporters a new release has moved."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import _log_exporter as http_logs
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_studio.exporters import _otel_grpc_private, _otel_private
from otel_studio.exporters._otlp_answers import Answers
from otel_studio.exporters.prometheus import _otel_private as prometheus_private

HTTP_EXPORTERS = [
    (http_traces.OTLPSpanExporter, "encode_spans"),
    (http_metrics.OTLPMetricExporter, "encode_metrics"),
    (http_logs.OTLPLogExporter, "encode_logs"),
]
GRPC_EXPORTERS = [
    grpc_traces.OTLPSpanExporter,
    grpc_metrics.OTLPMetricExporter,
    grpc_logs.OTLPLogExporter,
]


def answers() -> Answers:
    return Answers(ExportTraceServiceResponse, "rejected_spans")


@pytest.mark.parametrize(("exporter", "encoder"), HTTP_EXPORTERS)
def test_http_export_still_calls_its_encoder(exporter: Any, encoder: str) -> None:
    """`export` (HTTP) is a function that calls `encode_...`, and its session is where it was."""
    export = vars(exporter).get("export")
    assert isinstance(export, FunctionType), f"{exporter.__name__}.export (HTTP) is no function now"
    assert encoder in export.__globals__, f"{encoder} is no global of its module now"
    assert encoder in export.__code__.co_names, f"{exporter.__name__}.export uses no {encoder} now"
    watched = answers()
    made = _otel_private.http_exporter(exporter, encoder, watched)
    transport = getattr(getattr(made, "_client", None), "_transport", None)
    session = getattr(made, "_session", None) or getattr(transport, "_session", None)
    assert session is not None, f"the session of {exporter.__name__} (HTTP) is elsewhere now"
    assert session.hooks["response"] == [watched.on_http_response]
    made.shutdown()


@pytest.mark.parametrize("exporter", GRPC_EXPORTERS)
def test_grpc_still_has_translate_data_and_stub(exporter: Any) -> None:
    """Each (gRPC) has `_translate_data`, and sets `_stub` to make its client."""
    assert hasattr(exporter, "_translate_data"), f"{exporter.__name__}._translate_data is gone"
    assert hasattr(exporter, "_count_data"), f"{exporter.__name__}._count_data is gone"
    _otel_grpc_private.grpc_exporter(exporter, answers()).shutdown()


def test_the_encoder_of_log_records_is_where_it_was() -> None:
    """`opentelemetry.exporter.otlp.proto.common._log_encoder` has `encode_logs`."""
    assert _otel_private.encoded_logs([]).ByteSize() == 0


def test_the_prometheus_reader_still_makes_names_so() -> None:
    """The three functions that it calls are where they were, and say what they said."""
    assert prometheus_private.map_unit("By/s") == "bytes_per_second"
    assert prometheus_private.sanitize_attribute("http.route") == "http_route"
    assert prometheus_private.sanitize_full_name("shop.orders-open") == "shop_orders_open"


def test_a_moved_http_export_is_noticed() -> None:
    """An exporter that encodes or sends elsewhere is refused, not broken."""

    class Moved:
        def export(self, spans: Any) -> Any:
            return self.send(spans)

        def send(self, spans: Any) -> Any:
            return spans

    with pytest.raises(_otel_private.MovedError, match="encode_spans"):
        _otel_private.http_exporter(Moved, "encode_spans", answers())
    with pytest.raises(_otel_private.MovedError, match="_translate_data"):
        _otel_grpc_private.grpc_exporter(Moved, answers())


def test_a_moved_session_is_noticed() -> None:
    """Where the responses cannot be seen, the exporter is refused, and closed."""
    closed = []

    class Moved:
        def export(self, spans: Any) -> Any:
            return encode_spans(spans)  # type: ignore[name-defined]  # noqa: F821

        def shutdown(self) -> None:
            closed.append(True)

    with pytest.raises(_otel_private.MovedError, match="session"):
        _otel_private.http_exporter(Moved, "encode_spans", answers())
    assert closed


def test_a_moved_stub_is_noticed() -> None:
    """A gRPC exporter that makes its client another way is refused, and closed."""
    closed = []

    class Moved:
        def _translate_data(self, data: Any) -> Any:
            return data

        def shutdown(self) -> None:
            closed.append(True)

    with pytest.raises(_otel_private.MovedError, match="_stub"):
        _otel_grpc_private.grpc_exporter(Moved, answers())
    assert closed
