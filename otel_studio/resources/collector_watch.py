"""Counts what Python's garbage collector did and how long the program stood still for it."""

from __future__ import annotations

import dataclasses
import gc
from bisect import bisect_left
from time import perf_counter_ns
from typing import Any

_GENERATIONS = 3

#: Upper bounds of the pause buckets, in seconds; a last bucket has no bound.
PAUSE_BOUNDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_BOUNDS_NS = tuple(round(bound * 1e9) for bound in PAUSE_BOUNDS)


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationReading:
    """One generation's figures since the process began, or since the fork in a child."""

    generation: int
    collections: int
    collected: int
    uncollectable: int
    #: Collections that were timed: those since the watch started.
    pauses: int
    pause_seconds: float
    longest_pause_seconds: float | None
    #: Pauses by bucket of `PAUSE_BOUNDS`.
    pause_buckets: tuple[int, ...]


class CollectorWatch:
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

    def restart_after_fork(self) -> None:
        """Count from zero: the interpreter's own counts go on from the parent's."""
        self._inherited = _stats()
        self._began_ns = 0
        self._forget()

    def read(self) -> tuple[GenerationReading, ...]:
        """Return the figures of each generation as they are now."""
        readings = []
        for generation, (now, before) in enumerate(zip(_stats(), self._inherited, strict=True)):
            pauses = self._pauses[generation]
            readings.append(
                GenerationReading(
                    generation=generation,
                    collections=now[0] - before[0],
                    collected=now[1] - before[1],
                    uncollectable=now[2] - before[2],
                    pauses=sum(pauses),
                    pause_seconds=self._total_ns[generation] / 1e9,
                    longest_pause_seconds=self._longest_ns[generation] / 1e9
                    if any(pauses)
                    else None,
                    pause_buckets=tuple(pauses),
                )
            )
        return tuple(readings)

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
