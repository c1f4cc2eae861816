"""How long the long tests are: whole under `make prove`, a tenth in every other run."""

from __future__ import annotations

import os
from typing import Final

#: Whether this run proves: storms and loops in their whole length.
WHOLE: Final = os.environ.get("OTEL_STUDIO_PROVE") == "1"


def scaled(size: int, share: int = 10) -> int:
    """Return a size as it is where this run proves, and a share of it elsewhere.

    Args:
        size: repetitions of the whole length.
        share: what the other runs divide it by.
    """
    return size if WHOLE else max(size // share, 1)


def limit(seconds: float) -> float:
    """Return the time limit of a test: its own, and ten times that where this run proves."""
    return seconds * 10 if WHOLE else seconds
