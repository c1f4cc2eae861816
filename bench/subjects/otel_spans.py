"""The SDK's spans with no processor and no metrics."""

from __future__ import annotations

from bench.subject import Subject
from bench.subjects import _hand_written


def make() -> Subject:
    """Return the subject."""
    return _hand_written.spans_only(None)
