"""Every private name of OpenTelemetry's OTLP exporters over HTTP that this package touches.

Those over gRPC are in `_otel_grpc_private`. Each is used there and nowhere else, and
`tests/exporters/test_otel_private.py` says clearly which one a new release has moved. Where one is
missing, the caller takes OpenTelemetry's own exporter as it is: slower, never wrong.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any, Final

from otel_studio.exporters._otlp_answers import Answers


class MovedError(Exception):
    """A private name is not where this package knows it."""


class Encoded:
    """Stands for a message that an exporter serializes right after making it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializePartialToString(self) -> bytes:  # noqa: N802  (protobuf's own name)
        return self._data

    SerializeToString = SerializePartialToString


class Part:
    """One request on its way through an exporter of OpenTelemetry's, in the place of a batch.

    Args:
        message: what is sent: protobuf's, or `Encoded`.
        count: the items in it.
    """

    #: Counted by some releases, for metrics of the exporter's own.
    resource_metrics: Final = ()

    def __init__(self, message: Any, count: int) -> None:
        self.message = message
        self.count = count

    def __len__(self) -> int:
        return self.count


def encoded_logs(records: Any) -> Any:
    """Return log records as an `ExportLogsServiceRequest` (private: the module of its encoder)."""
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

    return encode_logs(records)


class Sends:
    """Has an exporter of OpenTelemetry's take batches, which a sender of ours gives it in parts."""

    #: Set once the exporter is made.
    sender: Any

    def deliver(self, batch: Any, **options: Any) -> Any:
        """Send a batch, and return what became of its items."""
        return self.sender.deliver(batch, **options)

    def export(self, batch: Any, timeout_millis: float | None = None, **options: Any) -> Any:
        """Send a batch, and return the SDK's word for what became of all of it."""
        if timeout_millis is not None:
            options["timeout_millis"] = timeout_millis
        return self.sender.export(batch, **options)


def http_exporter(base: type[Any], encoder: str, answers: Answers, **options: Any) -> Any:
    """Return an HTTP exporter with a `send_part` that takes a `Part`.

    Private: that the exporter's `export` is a plain function which calls `encode_spans` (or
    `encode_logs`, `encode_metrics`), a global of its module, and serializes what that returns.
    The function is bound anew with that one global replaced, so that retry, headers, compression,
    limits and the exporter's own metrics stay as they are in any release. And where its session
    of `requests` is: `_session`, or `_client._transport._session`.

    Args:
        base: such as `opentelemetry.exporter.otlp.proto.http.trace_exporter.OTLPSpanExporter`.
        encoder: the name of that global.
        answers: looks at each response.
        **options: public arguments of the exporter.

    Raises:
        MovedError: if `export` is no such function.
    """
    export = vars(base).get("export")
    if not isinstance(export, FunctionType) or encoder not in export.__code__.co_names:
        raise MovedError(f"{base.__name__}.export (HTTP) calls {encoder} no longer")
    rebound = FunctionType(
        export.__code__,
        {**export.__globals__, encoder: lambda part: part.message},
        export.__name__,
        export.__defaults__,
        export.__closure__,
    )
    exporter: Any = type(f"Studio{base.__name__}", (Sends, base), {"send_part": rebound})(**options)
    session = getattr(exporter, "_session", None)
    if session is None:
        transport = getattr(getattr(exporter, "_client", None), "_transport", None)
        session = getattr(transport, "_session", None)
    if session is None:
        exporter.shutdown()
        raise MovedError(f"the session of {base.__name__} (HTTP) is elsewhere")
    session.hooks["response"].append(answers.on_http_response)
    return exporter
