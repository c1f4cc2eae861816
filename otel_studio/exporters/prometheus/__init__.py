"""Prometheus: the registry and all instruments on `/metrics`."""

from otel_studio.exporters.prometheus.exporter import PrometheusExporter

__all__ = ["PrometheusExporter"]
