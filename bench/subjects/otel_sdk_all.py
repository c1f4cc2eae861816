"""OpenTelemetry by hand, with a number of active runs and a total besides."""

from __future__ import annotations

from bench.subject import Subject
from bench.subjects import _hand_written


def make() -> Subject:
    """Return the subject."""
    return _hand_written.spans_and_all_metrics(_hand_written.batch())
