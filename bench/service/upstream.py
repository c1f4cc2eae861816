"""What the service calls: an HTTP server with one answer, observed by nobody.

python -m bench.service.upstream        prints its port, then serves until its input ends
"""

from __future__ import annotations

from bench.receiver import Handler, serve

_ANSWER = (
    b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"price": 7}'
)


class _Handler(Handler):
    def do_GET(self) -> None:  # noqa: N802  (http.server calls it so)
        """Return the price."""
        self.wfile.write(_ANSWER)


if __name__ == "__main__":
    serve(_Handler)
