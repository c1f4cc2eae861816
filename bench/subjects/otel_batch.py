"""The SDK's spans through the batch processor, with no metrics."""

from __future__ import annotations

from bench.subject import Subject
from bench.subjects import _hand_written


def make(endpoint: str | None = None) -> Subject:
    """Return the subject."""
    return _hand_written.spans_only(_hand_written.batch(endpoint))
