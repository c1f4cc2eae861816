"""An OTLP endpoint of all three signals whose answers a test chooses, over HTTP or gRPC."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

SIGNALS = ("traces", "metrics", "logs")
_REQUESTS: dict[str, Any] = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
}
_RESPONSES: dict[str, Any] = {
    "traces": trace_service_pb2.ExportTraceServiceResponse,
    "metrics": metrics_service_pb2.ExportMetricsServiceResponse,
    "logs": logs_service_pb2.ExportLogsServiceResponse,
}
_REJECTED = {
    "traces": "rejected_spans",
    "metrics": "rejected_data_points",
    "logs": "rejected_log_records",
}


def partial_success(signal: str, rejected: int, words: str) -> Any:
    """Return the answer of a receiver that refuses some items."""
    response = _RESPONSES[signal]()
    setattr(response.partial_success, _REJECTED[signal], rejected)
    response.partial_success.error_message = words
    return response


def items_in(request: Any) -> list[Any]:
    """Return the spans, log records or data points of a request, in order."""
    found = []
    for resource in next(iter(request.ListFields()), (None, []))[1]:
        for scope in resource.ListFields()[-1][1] if resource.ListFields() else []:
            for item in _parts(scope):
                data = item.WhichOneof("data") if type(item).__name__ == "Metric" else None
                found += [item] if data is None else list(getattr(item, data).data_points)
    return found


def _parts(scope: Any) -> Any:
    for name in ("spans", "log_records", "metrics"):
        if hasattr(scope, name):
            return getattr(scope, name)
    raise AssertionError(type(scope).__name__)


class Receiver:
    """Keeps what it is sent, by signal; `answer` makes the response to each request.

    Args:
        protocol: "http/protobuf" or "grpc".
        limit: bytes that a request may have; a larger one is refused as receivers do.
    """

    def __init__(self, protocol: str, limit: int = 4 << 20) -> None:
        #: By signal, the requests that were taken.
        self.taken: dict[str, list[Any]] = {signal: [] for signal in SIGNALS}
        #: Bytes of every request, refused ones too.
        self.sizes: list[int] = []
        self.answer: Callable[[str], Any] = lambda signal: _RESPONSES[signal]()
        #: An HTTP status with a `Location`, in place of an answer.
        self.redirect: tuple[int, str] | None = None
        self.limit = limit
        self._stop = self._serve_grpc() if protocol == "grpc" else self._serve_http()

    def items(self, signal: str) -> list[Any]:
        """Return every item of a signal that was taken, in order."""
        return [item for request in self.taken[signal] for item in items_in(request)]

    def stop(self) -> None:
        """End the server."""
        self._stop()

    def _serve_http(self) -> Callable[[], None]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.sizes.append(len(body))
                signal = self.path.partition("?")[0].rpartition("/")[2]
                if receiver.redirect is not None and self.path.startswith("/v1/"):
                    status, location = receiver.redirect
                    self._answer(status, b"", location)
                elif len(body) > receiver.limit:
                    self._answer(413, b"too large")
                else:
                    receiver.taken[signal].append(_REQUESTS[signal].FromString(body))
                    self._answer(200, receiver.answer(signal).SerializeToString())

            def do_GET(self) -> None:
                self._answer(200, b"<html>a login page</html>")

            def _answer(self, status: int, body: bytes, location: str | None = None) -> None:
                self.send_response(status)
                if location is not None:
                    self.send_header("location", location)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()

        return stop

    def _serve_grpc(self) -> Callable[[], None]:
        receiver = self

        class Servicer:
            def __init__(self, signal: str) -> None:
                self.signal = signal

            def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
                receiver.sizes.append(request.ByteSize())
                receiver.taken[self.signal].append(request)
                return receiver.answer(self.signal)

        options = [("grpc.max_receive_message_length", self.limit)]
        server = grpc.server(ThreadPoolExecutor(2), options=options)
        register: tuple[Any, ...] = (
            trace_service_pb2_grpc.add_TraceServiceServicer_to_server,
            metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server,
            logs_service_pb2_grpc.add_LogsServiceServicer_to_server,
        )
        for signal, add in zip(SIGNALS, register, strict=True):
            add(Servicer(signal), server)
        port = server.add_insecure_port("127.0.0.1:0")
        self.endpoint = f"http://127.0.0.1:{port}"
        server.start()
        return lambda: server.stop(None).wait()
