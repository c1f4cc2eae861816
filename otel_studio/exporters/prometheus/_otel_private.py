"""Every private name of OpenTelemetry's Prometheus reader that this package touches.

They make the names of metrics and labels: ours must be the ones that the reader gives the same
instruments.
"""

from __future__ import annotations

from opentelemetry.exporter.prometheus._mapping import (
    map_unit,
    sanitize_attribute,
    sanitize_full_name,
)

__all__ = ["map_unit", "sanitize_attribute", "sanitize_full_name"]
