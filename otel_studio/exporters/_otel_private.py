"""Every private name of OpenTelemetry's OTLP exporters that this package touches.

Each is used here and nowhere else, and `tests/exporters/test_otel_private.py` says clearly
which one a new release has moved. Where one is missing, the caller takes OpenTelemetry's own
exporter as it is: slower, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter

#: Spans to the bytes of an `ExportTraceServiceRequest`.
Encode = Callable[[Sequence[ReadableSpan]], bytes]


class MovedError(Exception):
    """A private name is not where this package knows it."""


class _Encoded:
    """Stands for the message that the HTTP exporter serializes right after making it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializePartialToString(self) -> bytes:  # noqa: N802  (protobuf's own name)
        return self._data


def http_span_exporter(base: type[SpanExporter], encode: Encode, **options: Any) -> SpanExporter:
    """Return an HTTP span exporter with another encoder.

    Private: that `OTLPSpanExporter.export` is a plain function which calls
    `encode_spans(spans).SerializePartialToString()`, `encode_spans` being a global of its
    module. The function is bound anew with that one global replaced, so that retry, headers,
    compression, limits and the exporter's own metrics stay as they are in any release.

    Args:
        base: `opentelemetry.exporter.otlp.proto.http.trace_exporter.OTLPSpanExporter`.
        encode: what makes the request.
        **options: public arguments of the exporter.

    Raises:
        MovedError: if `export` is no such function.
    """
    export = vars(base).get("export")
    if not isinstance(export, FunctionType) or not (
        {"encode_spans", "SerializePartialToString"} <= set(export.__code__.co_names)
    ):
        raise MovedError("OTLPSpanExporter.export (HTTP) calls encode_spans no longer")
    rebound = FunctionType(
        export.__code__,
        {**export.__globals__, "encode_spans": lambda spans: _Encoded(encode(spans))},
        export.__name__,
        export.__defaults__,
        export.__closure__,
    )
    exporter: SpanExporter = type("StudioHTTPSpanExporter", (base,), {"export": rebound})(**options)
    return exporter


class _BytesChannel:
    """A gRPC channel whose methods take requests that are bytes already."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def unary_unary(self, method: str, request_serializer: Any, **kwargs: Any) -> Any:
        return self._channel.unary_unary(method, request_serializer=None, **kwargs)


def grpc_span_exporter(base: type[SpanExporter], encode: Encode) -> SpanExporter:
    """Return a gRPC span exporter with another encoder.

    Private: `OTLPSpanExporter._translate_data(data)`, which makes the request, and the
    attribute `_stub`, which is called with a channel to make the client.

    Args:
        base: `opentelemetry.exporter.otlp.proto.grpc.trace_exporter.OTLPSpanExporter`.
        encode: what makes the request.

    Raises:
        MovedError: if one of the two is gone.
    """

    class StudioGRPCSpanExporter(base):  # type: ignore[misc, valid-type]
        _generated_stub: Any = None

        @property
        def _stub(self) -> Callable[[Any], Any]:
            return lambda channel: self._generated_stub(_BytesChannel(channel))

        @_stub.setter
        def _stub(self, stub: Callable[[Any], Any]) -> None:
            self._generated_stub = stub

        def _translate_data(self, data: Sequence[ReadableSpan]) -> bytes:
            return encode(data)

    if not hasattr(base, "_translate_data"):
        raise MovedError("OTLPSpanExporter._translate_data (gRPC) is gone")
    exporter = StudioGRPCSpanExporter()
    if exporter._generated_stub is None:
        exporter.shutdown()
        raise MovedError("OTLPSpanExporter._stub (gRPC) is gone")
    return exporter
