"""OTel Studio where the sampler takes no trace: counted and in the histogram all the same."""

from __future__ import annotations

from bench.subject import Subject
from bench.subjects import studio


def make() -> Subject:
    """Return the subject."""
    return studio.make(sampler="always_off")
