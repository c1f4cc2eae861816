"""Queries over ten thousand operations in OTel Studio's registry."""

from __future__ import annotations

import otel_studio
from bench.subject import Subject
from bench.subjects.registry_studio import record
from otel_studio import api


def make() -> Subject:
    """Return the subject."""
    running = otel_studio.configure(service_name="bench")
    for number in range(10):
        record(f"service_{number}", 1_000, 10)
    running.force_flush()
    return Subject(
        {
            "get_all_metrics": api.get_all_metrics,
            "get_service_metrics": lambda: api.get_service_metrics("service_3"),
            "get_slow_operations": api.get_slow_operations,
            "get_error_statistics": api.get_error_statistics,
            "get_recent_operations": api.get_recent_operations,
            "export_metrics_json": lambda: api.export_metrics("json"),
        }
    )
