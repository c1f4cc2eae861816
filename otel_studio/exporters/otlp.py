"""Builds the OTLP exporters by protocol.

Transport (retry, headers, compression, TLS, timeouts) is that of OpenTelemetry's exporters,
which read the `OTEL_EXPORTER_OTLP_*` variables themselves; spans are encoded by `SpanEncoder`.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from otel_studio.base.guard import warn_once
from otel_studio.exporters import _otel_private
from otel_studio.exporters.otlp_encoding import SpanEncoder
from otel_studio.exporters.otlp_endpoint import check_endpoint

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
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
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
    check_endpoint(protocol, "traces")
    encode = (encoder or SpanEncoder()).encode
    try:
        if protocol == "grpc":
            return _otel_private.grpc_span_exporter(base, encode)
        return _otel_private.http_span_exporter(base, encode, **_http_options())
    except _otel_private.MovedError as error:
        warn_once(
            "otlp",
            protocol,
            "spans are encoded by OpenTelemetry's own exporter, at about ten times the cost, "
            "because of a release this version of OTel Studio does not know: %s",
            error,
        )
        exporter: SpanExporter = base()
        return exporter


def build_metric_exporter(protocol: str) -> MetricExporter:
    """Return OpenTelemetry's OTLP exporter for metrics.

    Args:
        protocol: "http/protobuf" or "grpc".

    Raises:
        ValueError: if the protocol is none of the two, or the endpoint can be no address.
        ImportError: if the extra `otlp` is not installed.
    """
    check_endpoint(protocol, "metrics")
    exporter: MetricExporter = _exporter_class(protocol, "metric_exporter", "OTLPMetricExporter")()
    return exporter


def build_log_exporter(protocol: str) -> LogRecordExporter:
    """Return OpenTelemetry's OTLP exporter for log records.

    Args:
        protocol: "http/protobuf" or "grpc".

    Raises:
        ValueError: if the protocol is none of the two, or the endpoint can be no address.
        ImportError: if the extra `otlp` is not installed.
    """
    check_endpoint(protocol, "logs")
    exporter: LogRecordExporter = _exporter_class(protocol, "_log_exporter", "OTLPLogExporter")()
    return exporter


def _http_options() -> dict[str, Any]:
    if any(os.environ.get(variable) for variable in _SESSION_VARIABLES):
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
