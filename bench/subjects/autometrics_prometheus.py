"""autometrics with its Prometheus tracker: metrics with no spans."""

from __future__ import annotations

import autometrics

from bench.subject import Subject
from bench.subjects._decorated import decorated


def make(tracker: str = "prometheus") -> Subject:
    """Return the subject."""
    autometrics.init(tracker=tracker)
    # It names operations after functions, and times the making of a generator, not its life.
    return decorated(lambda _: autometrics.autometrics)
