"""Prometheus: the registry and all instruments on `/metrics`.

Instruments come through OpenTelemetry's own Prometheus reader; the registry's metrics are
written by `RegistryText`, under the same names.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from otel_studio.exporters.prometheus_text import RegistryText
from otel_studio.guard import report_internal_error, warn_once

_NEEDS = "Prometheus needs a package that is not installed: pip install 'otel-studio[prometheus]'"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_EOF = "# EOF\n"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name in the base)
        """Log nothing: a scrape every few seconds is no event."""


class PrometheusExporter:
    """OpenTelemetry's Prometheus reader on a registry of its own, and the HTTP endpoint.

    Args:
        operations: writes the registry's metrics.

    Raises:
        ImportError: if the extra `prometheus` is not installed.
    """

    def __init__(self, operations: RegistryText) -> None:
        try:
            from opentelemetry.exporter.prometheus import PrometheusMetricReader
            from prometheus_client import CollectorRegistry
        except ImportError as error:
            raise ImportError(_NEEDS) from error
        self._operations = operations
        self._collectors = CollectorRegistry()
        self.reader = PrometheusMetricReader(registry=self._collectors)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None
        #: One collection at a time: the reader hands one's points to another that comes beside it.
        self._collecting = threading.Lock()
        self._held = False
        #: Where `/metrics` is served, `None` while it is not.
        self.address: str | None = None

    def text(self, openmetrics: bool = False) -> str:
        """Return what `/metrics` answers now.

        Args:
            openmetrics: in the OpenMetrics format, whose buckets carry exemplars, instead of
                Prometheus' text format.
        """
        module = "prometheus_client.openmetrics" if openmetrics else "prometheus_client"
        encode: Callable[[Any], bytes] = import_module(f"{module}.exposition").generate_latest
        with self._collecting:
            instruments = encode(self._collectors).decode()
        operations = self._operations.text(openmetrics)
        if openmetrics:
            return instruments.removesuffix(_EOF) + operations + _EOF
        return instruments + operations

    def serve(self, host: str, port: int) -> bool:
        """Serve `/metrics`; a port that is in use is said and left alone.

        Args:
            host: the address to bind.
            port: 0 for any free one.

        Returns:
            whether it is served.
        """
        try:
            self._server = make_server(
                host,
                port,
                self._answer,
                server_class=_ServerV6 if ":" in host else _Server,
                handler_class=_QuietHandler,
            )
        except (OSError, OverflowError) as error:
            warn_once(
                "prometheus",
                f"{host}:{port}",
                "/metrics cannot be served on %s:%s (%s): free the port or set "
                "OTEL_EXPORTER_PROMETHEUS_PORT to another one; everything else goes on.",
                host,
                port,
                error,
            )
            return False
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="otel-studio-metrics", daemon=True
        )
        self._thread.start()
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._server.server_port}/metrics"
        return True

    def _answer(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] not in ("/metrics", "/"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Metrics are at /metrics.\n"]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Allow", "GET, HEAD")])
            return [b""]
        openmetrics = "application/openmetrics-text" in environ.get("HTTP_ACCEPT", "")
        try:
            body = self.text(openmetrics).encode(errors="replace")  # a name with a lone surrogate
        except Exception as error:
            report_internal_error("answering a scrape", error)
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"The metrics could not be collected; the log of the process says why.\n"]
        start_response(
            "200 OK",
            [
                ("Content-Type", _OPENMETRICS if openmetrics else _TEXT),
                ("Content-Length", str(len(body))),
            ],
        )
        return [body if environ["REQUEST_METHOD"] == "GET" else b""]

    def close(self) -> None:
        """Stop serving."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            self.address = None
        if self._thread is not None:
            self._thread.join(1.0)

    def hold(self) -> None:
        """Wait for a collection in progress before a fork, at most a second."""
        self._held = self._collecting.acquire(timeout=1.0)

    def release(self) -> None:
        """Let collections go on after a fork."""
        if self._held:
            self._held = False
            self._collecting.release()

    def forget_after_fork(self) -> None:
        """Leave the parent's endpoint alone in a forked child."""
        self._held = False
        self._collecting = threading.Lock()
        server, self._server, self._thread, self.address = self._server, None, None, None
        if server is not None:
            server.socket.close()
