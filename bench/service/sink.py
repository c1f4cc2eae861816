"""Takes what a service exports, OTLP/HTTP or as ddtrace's agent, and counts spans by kind.

python -m bench.service.sink        prints its port, then serves until its input ends

Bodies are kept as they come and read when somebody asks for the counts, so that the sink does
next to nothing while a service is measured. Runs in the environment of the service.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from bench.receiver import Handler, serve

_waiting: list[tuple[str, bytes]] = []
_counts: Counter[str] = Counter()
_lock = threading.Lock()


def otlp_kinds(body: bytes) -> Iterator[str]:
    """Give the kind of each span of an OTLP request."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                if span.kind == span.SPAN_KIND_SERVER:
                    yield "server"
                elif span.kind == span.SPAN_KIND_CLIENT:
                    yield _client_kind({each.key for each in span.attributes})
                else:
                    yield "other"


def _client_kind(attributes: set[str]) -> str:
    if attributes & {"db.statement", "db.query.text"}:
        return "database"
    # A connection taken out of the pool is a span of contrib's beside that of the statement.
    return "other" if any(key.startswith("db.") for key in attributes) else "client"


def agent_kinds(body: bytes) -> Iterator[str]:
    """Give the kind of each span as ddtrace sends them to its agent, version 0.4."""
    import msgpack

    traces: list[list[dict[str, Any]]] = msgpack.unpackb(body, strict_map_key=False)
    for trace in traces:
        for span in trace:
            kind = span.get("meta", {}).get("span.kind")
            if span.get("type") == "sql":
                yield "database"
            elif kind == "server" or (kind == "client" and span.get("type") == "http"):
                yield kind
            else:
                yield "other"


def _read() -> None:
    """Count what waits."""
    with _lock:
        while _waiting:
            path, body = _waiting.pop()
            if path.startswith("/v1/traces"):
                _counts.update(otlp_kinds(body))
            elif path.startswith("/v0.4/traces"):
                _counts.update(agent_kinds(body))
            else:
                _counts[path] += 1


class _Handler(Handler):
    def do_POST(self) -> None:  # noqa: N802  (http.server calls it so)
        """Keep a body."""
        _waiting.append((self.path, self.body()))
        self.answer(b'{"rate_by_service": {}}' if self.path.startswith("/v0.") else b"")

    do_PUT = do_POST  # noqa: N815  (the base class calls it so)

    def do_GET(self) -> None:  # noqa: N802  (http.server calls it so)
        """Return the counts."""
        if self.path == "/counts":
            _read()
            self.answer(json.dumps(_counts).encode())
        else:
            self.answer(b"", status=404)


if __name__ == "__main__":
    serve(_Handler)
