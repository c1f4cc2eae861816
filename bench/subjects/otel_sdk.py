"""OpenTelemetry by hand: a span through the batch processor, and a duration histogram."""

from __future__ import annotations

from bench.subject import Subject
from bench.subjects import _hand_written


def make() -> Subject:
    """Return the subject."""
    return _hand_written.spans_and_histogram(_hand_written.batch())
