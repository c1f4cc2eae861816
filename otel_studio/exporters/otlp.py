"""Builds the OTLP exporters by protocol.

Transport (retry, headers, compression, TLS, timeouts) is that of OpenTelemetry's exporters,
which read the `OTEL_EXPORTER_OTLP_*` variables themselves. Spans are encoded by `SpanEncoder`;
what a request may hold, and what a receiver refuses, is seen to by `Sender`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_studio.base.guard import warn_once
from otel_studio.exporters import _otel_private
from otel_studio.exporters._otlp_answers import Answers
from otel_studio.exporters._otlp_sender import EncodedBatch, Sender
from otel_studio.exporters.counted import points_in
from otel_studio.exporters.otlp_encoding import SpanEncoder
from otel_studio.exporters.otlp_variables import check_variables

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

_PACKAGES: Final = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
}
#: A session made by an entry point of the user's, which then takes the place of ours.
_SESSION_VARIABLES: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_{signal}_CREDENTIAL_PROVIDER",
)


def build_span_exporter(protocol: str, encoder: SpanEncoder | None = None) -> SpanExporter:
    """Return an OTLP exporter for spans of any provider.

    Args:
        protocol: "http/protobuf" or "grpc".
        encoder: counts what it leaves out; a new one where none is given.

    Raises:
        ValueError: if the protocol is none of the two, or the endpoint can be no address.
        ImportError: if the extra `otlp` is not installed.

    Example:
        >>> exporter = build_span_exporter("http/protobuf")
        >>> exporter.shutdown()
    """
    base = _exporter_class(protocol, "trace_exporter", "OTLPSpanExporter")
    own = encoder or SpanEncoder()

    def encode(spans: Any) -> EncodedBatch:
        left_out = own.unencodable
        data = own.encode(spans)
        left_out = own.unencodable - left_out
        message = _otel_private.Encoded(data)
        return EncodedBatch(message, len(data), len(spans) - left_out, left_out)

    exporter: SpanExporter = _built(protocol, base, "traces", encode)
    return exporter


def build_metric_exporter(protocol: str) -> MetricExporter:
    """Return an OTLP exporter for metrics.

    Args:
        protocol: "http/protobuf" or "grpc".

    Raises:
        ValueError: if the protocol is none of the two, or the endpoint can be no address.
        ImportError: if the extra `otlp` is not installed.
    """
    base = _exporter_class(protocol, "metric_exporter", "OTLPMetricExporter")

    def encode(data: Any) -> EncodedBatch:
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

        message = encode_metrics(data)
        return EncodedBatch(message, message.ByteSize(), points_in(data))

    exporter: MetricExporter = _built(protocol, base, "metrics", encode)
    return exporter


def build_log_exporter(protocol: str) -> LogRecordExporter:
    """Return an OTLP exporter for log records.

    Args:
        protocol: "http/protobuf" or "grpc".

    Raises:
        ValueError: if the protocol is none of the two, or the endpoint can be no address.
        ImportError: if the extra `otlp` is not installed.
    """
    base = _exporter_class(protocol, "_log_exporter", "OTLPLogExporter")

    def encode(records: Any) -> EncodedBatch:
        message = _otel_private.encoded_logs(records)
        return EncodedBatch(message, message.ByteSize(), len(records))

    exporter: LogRecordExporter = _built(protocol, base, "logs", encode)
    return exporter


class _Signal(NamedTuple):
    """What differs between the exporters of spans, metrics and log records.

    Attributes:
        items: what its items are called, in words.
        encoder: the global that OpenTelemetry's HTTP exporter encodes by.
        messages: the module of its service's messages.
        service: what their names begin with.
        rejected: the field that counts what was refused.
        results: the module and the name of the SDK's words for what becomes of a batch.
    """

    items: str
    encoder: str
    messages: str
    service: str
    rejected: str
    results: tuple[str, str]


_SIGNALS: Final = {
    "traces": _Signal(
        "spans",
        "encode_spans",
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
        "ExportTraceService",
        "rejected_spans",
        ("opentelemetry.sdk.trace.export", "SpanExportResult"),
    ),
    "metrics": _Signal(
        "data points",
        "encode_metrics",
        "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2",
        "ExportMetricsService",
        "rejected_data_points",
        ("opentelemetry.sdk.metrics.export", "MetricExportResult"),
    ),
    "logs": _Signal(
        "log records",
        "encode_logs",
        "opentelemetry.proto.collector.logs.v1.logs_service_pb2",
        "ExportLogsService",
        "rejected_log_records",
        ("opentelemetry.sdk._logs.export", "LogRecordExportResult"),
    ),
}


def _built(protocol: str, base: Any, name: str, encode: Callable[[Any], EncodedBatch]) -> Any:
    """Return an exporter that sends through a `Sender`; OpenTelemetry's own where that fails."""
    check_variables(protocol, name)
    signal = _SIGNALS[name]
    messages = import_module(signal.messages)
    answers = Answers(getattr(messages, f"{signal.service}Response"), signal.rejected)
    try:
        if protocol == "grpc":
            from otel_studio.exporters import _otel_grpc_private

            exporter = _otel_grpc_private.grpc_exporter(base, answers)
        else:
            options = _http_options(name)
            exporter = _otel_private.http_exporter(base, signal.encoder, answers, **options)
    except _otel_private.MovedError as error:
        warn_once(
            "otlp",
            f"{protocol} {name}",
            "%s are sent by OpenTelemetry's own exporter as it is: slower, in requests of any "
            "size, and without a word of what a receiver refuses, because of a release this "
            "version of OTel Studio does not know: %s",
            signal.items,
            error,
        )
        return base()
    module, words = signal.results
    exporter.sender = Sender(
        exporter.send_part,
        getattr(import_module(module), words),
        signal.items,
        encode,
        getattr(messages, f"{signal.service}Request"),
        answers,
    )
    return exporter


def _http_options(signal: str) -> dict[str, Any]:
    if any(os.environ.get(name.format(signal=signal.upper())) for name in _SESSION_VARIABLES):
        return {}
    from otel_studio.exporters._http_session import OTLPSession

    return {"session": OTLPSession()}


def _exporter_class(protocol: str, module: str, name: str) -> Any:
    package = _PACKAGES.get(protocol)
    if package is None:
        raise ValueError(
            f"{protocol!r} is no protocol of OTLP here: use {' or '.join(map(repr, _PACKAGES))}"
        )
    try:
        return getattr(import_module(f"{package}.{module}"), name)
    except ImportError as error:
        raise ImportError(
            f"exporting over OTLP ({protocol}) needs a package that is not installed "
            f"({error.name}): install otel-studio[otlp]"
        ) from error
