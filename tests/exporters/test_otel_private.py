"""Says which private name of OpenTelemetry's OTLP exporters a new release has moved."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HTTPExporter
from opentelemetry.sdk.trace.export import SpanExporter

from otel_studio.exporters import _otel_private
from otel_studio.exporters.prometheus import _otel_private as prometheus_private


def nothing(spans: Any) -> bytes:
    return b""


def test_http_export_still_calls_encode_spans() -> None:
    """`OTLPSpanExporter.export` (HTTP) calls `encode_spans(...).SerializePartialToString()`."""
    export = vars(HTTPExporter).get("export")
    assert isinstance(export, FunctionType), "OTLPSpanExporter.export (HTTP) is no function now"
    assert "encode_spans" in export.__globals__, "encode_spans is no global of its module now"
    for name in ("encode_spans", "SerializePartialToString"):
        assert name in export.__code__.co_names, f"OTLPSpanExporter.export uses no {name} now"
    _otel_private.http_span_exporter(HTTPExporter, nothing).shutdown()


def test_grpc_still_has_translate_data_and_stub() -> None:
    """`OTLPSpanExporter` (gRPC) has `_translate_data`, and sets `_stub` to make its client."""
    assert hasattr(GRPCExporter, "_translate_data"), "OTLPSpanExporter._translate_data is gone"
    _otel_private.grpc_span_exporter(GRPCExporter, nothing).shutdown()


def test_the_prometheus_reader_still_makes_names_so() -> None:
    """The three functions that it calls are where they were, and say what they said."""
    assert prometheus_private.map_unit("By/s") == "bytes_per_second"
    assert prometheus_private.sanitize_attribute("http.route") == "http_route"
    assert prometheus_private.sanitize_full_name("shop.orders-open") == "shop_orders_open"


def test_a_moved_http_export_is_noticed() -> None:
    """An exporter that encodes elsewhere is refused, not broken."""

    class Moved(SpanExporter):
        def export(self, spans: Any) -> Any:
            return self.send(spans)

    with pytest.raises(_otel_private.MovedError, match="encode_spans"):
        _otel_private.http_span_exporter(Moved, nothing)
    with pytest.raises(_otel_private.MovedError, match="_translate_data"):
        _otel_private.grpc_span_exporter(Moved, nothing)


def test_a_moved_stub_is_noticed() -> None:
    """A gRPC exporter that makes its client another way is refused, and closed."""
    closed = []

    class Moved(SpanExporter):
        def _translate_data(self, data: Any) -> Any:
            return data

        def shutdown(self) -> None:
            closed.append(True)

    with pytest.raises(_otel_private.MovedError, match="_stub"):
        _otel_private.grpc_span_exporter(Moved, nothing)
    assert closed
