"""An HTTP receiver that counts spans and forgets them; also an agent as ddtrace wants one.

python -m bench.sink        prints its port, then serves until its standard input ends
"""

from __future__ import annotations

import json
import threading

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.receiver import Handler, serve

_counts = {"spans": 0, "requests": 0}
_lock = threading.Lock()


class _Handler(Handler):
    def do_POST(self) -> None:  # noqa: N802  (http.server calls it so)
        """Take a request of OTLP/HTTP, or traces as an agent takes them."""
        body = self.body()
        if self.path.startswith("/v1/traces"):
            request = ExportTraceServiceRequest.FromString(body)
            self._count(
                sum(
                    len(scope.spans)
                    for group in request.resource_spans
                    for scope in group.scope_spans
                )
            )
            self.answer(b"")
        else:
            # Every trace of the benchmark is one span, and the agent's protocol counts them.
            self._count(int(self.headers.get("x-datadog-trace-count", 0)))
            self.answer(b'{"rate_by_service": {}}')

    do_PUT = do_POST  # noqa: N815  (the base class calls it so)

    def do_GET(self) -> None:  # noqa: N802  (http.server calls it so)
        """Return the counts."""
        if self.path == "/counts":
            self.answer(json.dumps(_counts).encode())
        else:
            self.answer(b"", status=404)

    def _count(self, spans: int) -> None:
        with _lock:
            _counts["spans"] += spans
            _counts["requests"] += 1


if __name__ == "__main__":
    serve(_Handler)
