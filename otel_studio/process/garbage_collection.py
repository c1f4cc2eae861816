"""Counts what Python's garbage collector did and how long the program stood still for it."""

from __future__ import annotations

import gc
from bisect import bisect_left
from operator import sub
from time import perf_counter_ns
from typing import Any

from otel_studio.process.process_reading import CollectionCounts
from otel_studio.process.watch_reading import PauseReading

_GENERATIONS = 3

#: Upper bounds of the pause buckets, in seconds; a last bucket has no bound.
PAUSE_BOUNDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_BOUNDS_NS = tuple(round(bound * 1e9) for bound in PAUSE_BOUNDS)


class GarbageCollectionWatch:
    """Times each collection through `gc.callbacks` and reads `gc.get_stats()`.

    The callback runs in any thread, between any two instructions, also while that thread
    holds any lock. So it takes no lock, calls no one and only adds to counters that were
    made beforehand. The interpreter runs one collection at a time, so no two callbacks
    write at once.
    """

    def __init__(self) -> None:
        self._began_ns = 0
        self._forget()
        self._inherited = _no_stats()
        self._installed = False

    def start(self) -> None:
        """Begin to time collections; a second call does nothing."""
        if not self._installed:
            self._installed = True
            gc.callbacks.append(self._on_collection)

    def stop(self) -> None:
        """Stop timing collections and leave `gc.callbacks` as it was found."""
        if self._installed:
            self._installed = False
            try:
                gc.callbacks.remove(self._on_collection)
            except ValueError:  # the program cleared the list
                pass

    def after_fork_in_child(self) -> None:
        """Count from zero: the interpreter's own counts go on from the parent's."""
        self._inherited = _stats()
        self._began_ns = 0
        self._forget()

    def collections(self) -> tuple[CollectionCounts, ...]:
        """Return each generation's counts since the process began, or since the fork in a child."""
        return tuple(
            CollectionCounts(generation, *map(sub, now, before))
            for generation, (now, before) in enumerate(zip(_stats(), self._inherited, strict=True))
        )

    def pauses(self) -> tuple[PauseReading, ...]:
        """Return how long each generation's collections took, since the watch started."""
        rows = zip(self._pauses, self._total_ns, self._longest_ns, strict=True)
        return tuple(
            PauseReading(generation, total_ns, longest_ns if any(pauses) else None, tuple(pauses))
            for generation, (pauses, total_ns, longest_ns) in enumerate(rows)
        )

    def _forget(self) -> None:
        self._total_ns = [0] * _GENERATIONS
        self._longest_ns = [0] * _GENERATIONS
        self._pauses = [[0] * (len(PAUSE_BOUNDS) + 1) for _ in range(_GENERATIONS)]

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_ns = perf_counter_ns()
            return
        began = self._began_ns
        self._began_ns = 0
        generation = info.get("generation", 0)
        if not began or not 0 <= generation < _GENERATIONS:  # began before the watch did
            return
        pause = perf_counter_ns() - began
        self._total_ns[generation] += pause
        self._pauses[generation][bisect_left(_BOUNDS_NS, pause)] += 1
        self._longest_ns[generation] = max(self._longest_ns[generation], pause)


def _stats() -> list[tuple[int, int, int]]:
    rows = [(row["collections"], row["collected"], row["uncollectable"]) for row in gc.get_stats()]
    return (rows + _no_stats())[:_GENERATIONS]


def _no_stats() -> list[tuple[int, int, int]]:
    return [(0, 0, 0)] * _GENERATIONS
