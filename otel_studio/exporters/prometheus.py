"""Prometheus: the registry and all instruments on `/metrics`, by OpenTelemetry's own exporter."""

from __future__ import annotations

import threading
from typing import Any
from wsgiref.simple_server import WSGIServer

from otel_studio.guard import warn_once

_NEEDS = "Prometheus needs a package that is not installed: pip install 'otel-studio[prometheus]'"


class PrometheusExporter:
    """OpenTelemetry's Prometheus reader on a registry of its own, and its HTTP endpoint.

    Raises:
        ImportError: if the extra `prometheus` is not installed.
    """

    def __init__(self) -> None:
        try:
            from opentelemetry.exporter.prometheus import PrometheusMetricReader
            from prometheus_client import CollectorRegistry
        except ImportError as error:
            raise ImportError(_NEEDS) from error
        self._collectors = CollectorRegistry()
        self.reader = PrometheusMetricReader(registry=self._collectors)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None
        #: Where `/metrics` is served, `None` while it is not.
        self.address: str | None = None

    def text(self) -> str:
        """Return what `/metrics` answers now, in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._collectors).decode()

    def serve(self, host: str, port: int) -> bool:
        """Serve `/metrics`; a port that is in use is said and left alone.

        Args:
            host: the address to bind.
            port: 0 for any free one.

        Returns:
            whether it is served.
        """
        from prometheus_client import start_http_server

        try:
            self._server, self._thread = start_http_server(
                port, addr=host, registry=self._collectors
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
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._server.server_port}/metrics"
        return True

    def close(self) -> None:
        """Stop serving."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            self.address = None
        if self._thread is not None:
            self._thread.join(1.0)

    def forget_after_fork(self) -> Any:
        """Leave the parent's endpoint alone in a forked child."""
        server, self._server, self._thread, self.address = self._server, None, None, None
        if server is not None:
            server.socket.close()
