"""What has a bound in milliseconds stays where it is, by a calibration loop taken beside it.

A limit here is 1.3 times the bound, and the best of some attempts counts: a busy machine spoils
one measurement, a regression every one. `python -m bench` holds the bounds themselves.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bench import plan
from bench.workers import Worker

_ATTEMPTS = 3
_TOLERANCE = 1.3


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[str, Worker]]:
    names = {"calibration", *(time.subject for time in plan.TIMES)}
    with ExitStack() as stack:
        started = {name: stack.enter_context(Worker(name)) for name in sorted(names)}
        for worker in started.values():
            assert worker.shapes
        yield started


def scaled_ms(time: plan.Time, workers: dict[str, Worker]) -> float:
    """What it takes where the loop takes as long as on the machine of the bounds."""
    ratios = []
    for _ in range(3):
        loop = workers["calibration"].ask(shape="loop", loops=1)["seconds"]
        worker = workers[time.subject]
        if time.figure:
            taken = worker.ask(figure=time.shape)["value"]
        else:
            taken = worker.ask(shape=time.shape, loops=1)["seconds"]
        ratios.append(taken / loop)
    return statistics.median(ratios) * plan.CALIBRATION_MS


@pytest.mark.slow
@pytest.mark.parametrize("time", plan.TIMES, ids=lambda time: time.shape)
def test_the_time_stays_where_it_is(workers: dict[str, Worker], time: plan.Time) -> None:
    """The median of some values beside the loop is within its limit."""
    scaled_ms(time, workers)  # what only the first ones cost
    found: list[float] = []
    while len(found) < _ATTEMPTS:
        found.append(scaled_ms(time, workers))
        if found[-1] <= time.limit * _TOLERANCE:
            return
    shown = ", ".join(f"{ms:.1f}" for ms in found)
    pytest.fail(f"{time.title}: {shown} ms, the bound is {time.limit:g}")
