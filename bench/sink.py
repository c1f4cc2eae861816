"""An HTTP receiver that counts spans and forgets them; also an agent as ddtrace wants one.

python -m bench.sink        prints its port, then serves until its standard input ends
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_counts = {"spans": 0, "requests": 0}
_lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take a request of OTLP/HTTP, or traces as an agent takes them."""
        body = self._body()
        if self.path.startswith("/v1/traces"):
            request = ExportTraceServiceRequest.FromString(body)
            self._count(
                sum(
                    len(scope.spans)
                    for group in request.resource_spans
                    for scope in group.scope_spans
                )
            )
            self._answer(b"")
        else:
            # Every trace of the benchmark is one span, and the agent's protocol counts them.
            self._count(int(self.headers.get("x-datadog-trace-count", 0)))
            self._answer(b'{"rate_by_service": {}}')

    do_PUT = do_POST  # noqa: N815  (the base class calls it so)

    def do_GET(self) -> None:
        """Return the counts."""
        if self.path == "/counts":
            self._answer(json.dumps(_counts).encode())
        else:
            self._answer(b"", status=404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _count(self, spans: int) -> None:
        with _lock:
            _counts["spans"] += spans
            _counts["requests"] += 1

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until the parent is gone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
