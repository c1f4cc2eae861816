"""Configures OTel Studio for the demo."""

from __future__ import annotations

import os

import otel_studio as studio
from examples.demo_driver.server import free_port

PROMETHEUS_PORT = 9464


def configure_studio() -> str | None:
    """Configure the studio and return the address of `/metrics`, if it is served.

    The demo's choices are set as variables where there are none yet, so that the variables
    of whoever starts it decide: those for a Collector, for example.
    """
    os.environ.setdefault("OTEL_SERVICE_NAME", "media-backend")
    os.environ.setdefault("OTEL_STUDIO_LOGGING", "true")
    exporter = os.environ.setdefault("OTEL_METRICS_EXPORTER", "prometheus")
    host = os.environ.setdefault("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
    port = os.environ.setdefault("OTEL_EXPORTER_PROMETHEUS_PORT", str(free_port(PROMETHEUS_PORT)))
    studio.configure()
    return f"http://{host}:{port}/metrics" if "prometheus" in exporter else None
