"""What a subject of the benchmark is, as the worker that times it sees it.

Subjects and the worker run in the environments of the peers too: they use the standard
library and the subject's own package, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


def _nothing() -> None:
    pass


@dataclass
class Subject:
    """One way to observe operations.

    Attributes:
        calls: by shape, what is timed: a function for most, a coroutine function for `async`,
            a generator function for `generator`.
        settle: does the work that was put off (folds, flushes); its time counts.
        runs: operations in one call, where it is not 1.
        fill: makes this many operation names known, with all that is kept of each.
        figures: by name, what the subject measures itself, such as the time that it holds a lock.
    """

    calls: dict[str, Callable[[], Any]]
    settle: Callable[[], object] = _nothing
    runs: Mapping[str, int] = field(default_factory=dict)
    fill: Callable[[int], object] | None = None
    figures: Mapping[str, Callable[[], float]] = field(default_factory=dict)


#: What every subject does in the shape `attributes`.
THREE_ATTRIBUTES: dict[str, str | int | bool] = {
    "media.path": "/previews/a.mp4",
    "media.size": 4096,
    "media.cached": True,
}
#: What every operation carries in the shape `export`.
TWO_ATTRIBUTES: dict[str, str | int] = {"media.path": "/previews/a.mp4", "media.size": 4096}
#: Bounds of duration histograms, in seconds.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
