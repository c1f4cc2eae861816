"""The SDK's spans where the sampler takes none: nothing is recorded or counted."""

from __future__ import annotations

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from bench.subject import Subject
from bench.subjects import _hand_written


def make() -> Subject:
    """Return the subject."""
    return _hand_written.spans_only(_hand_written.batch(), ALWAYS_OFF)
