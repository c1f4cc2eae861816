"""Every private name of OpenTelemetry's OTLP exporters over gRPC that this package touches.

As `_otel_private`, and apart from it: who sends over HTTP does not pay for importing gRPC.
"""

from __future__ import annotations

from typing import Any, Final

import grpc  # type: ignore[import-untyped]

from otel_studio.exporters._otel_private import MovedError, Part, Sends
from otel_studio.exporters._otlp_answers import Answers, TooLargeError

#: What a receiver says of a message above its limit, in the words of gRPC's libraries.
_LARGER: Final = ("larger than max", "message length exceeds")


class _WatchedChannel:
    """A gRPC channel whose methods take requests that are bytes already, and show the answers."""

    def __init__(self, channel: Any, answers: Answers) -> None:
        self._channel = channel
        self._answers = answers

    def unary_unary(self, method: str, request_serializer: Any, **kwargs: Any) -> Any:
        call = self._channel.unary_unary(method, request_serializer=None, **kwargs)
        answers = self._answers

        def watched(*args: Any, **options: Any) -> Any:
            try:
                response = call(*args, **options)
            except grpc.RpcError as error:
                if _is_about_size(error):
                    raise TooLargeError from error
                raise
            answers.on_message(response)
            return response

        return watched


def _is_about_size(error: Any) -> bool:
    """Tell whether a receiver refuses a message for its size, which OpenTelemetry tries again."""
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return False
    details: str = error.details() or ""
    return any(words in details for words in _LARGER)


def grpc_exporter(base: type[Any], answers: Answers, **options: Any) -> Any:
    """Return a gRPC exporter with a `send_part` that takes a `Part`.

    Private: the exporter's `_translate_data(data)`, which makes the request, `_count_data(data)`,
    and the attribute `_stub`, which is called with a channel to make the client.

    Args:
        base: such as `opentelemetry.exporter.otlp.proto.grpc.trace_exporter.OTLPSpanExporter`.
        answers: looks at each response.
        **options: public arguments of the exporter.

    Raises:
        MovedError: if one of them is gone.
    """

    class StudioGRPCExporter(Sends, base):  # type: ignore[misc]
        _generated_stub: Any = None

        def send_part(self, part: Part, *args: Any, **options: Any) -> Any:
            return base.export(self, part, *args, **options)

        @property
        def _stub(self) -> Any:
            return lambda channel: self._generated_stub(_WatchedChannel(channel, answers))

        @_stub.setter
        def _stub(self, stub: Any) -> None:
            self._generated_stub = stub

        def _translate_data(self, data: Part) -> bytes:
            encoded: bytes = data.message.SerializeToString()
            return encoded

        def _count_data(self, data: Part) -> int:
            return data.count

    if not hasattr(base, "_translate_data"):
        raise MovedError(f"{base.__name__}._translate_data (gRPC) is gone")
    exporter = StudioGRPCExporter(**options)
    if exporter._generated_stub is None:
        exporter.shutdown()
        raise MovedError(f"{base.__name__}._stub (gRPC) is gone")
    return exporter
