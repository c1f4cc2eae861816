"""autometrics with its OpenTelemetry tracker: metrics with no spans."""

from __future__ import annotations

from bench.subject import Subject
from bench.subjects import autometrics_prometheus


def make() -> Subject:
    """Return the subject."""
    return autometrics_prometheus.make("opentelemetry")
