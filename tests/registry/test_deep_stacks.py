"""Runs that end at the recursion limit: every body that ran is counted, and so is all else."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace

import otel_studio
from otel_studio import api
from otel_studio.assembly.studio import Studio
from otel_studio.base import guard
from otel_studio.lifecycle import overriding
from otel_studio.settings.loading import load_settings

SERVICE = "deep"
ROUNDS = 40


@otel_studio.track("function", service=SERVICE)
def function(counter: list[int]) -> None:
    counter[0] += 1
    function(counter)


@otel_studio.track("generator", service=SERVICE)
def generator(counter: list[int]) -> Iterator[int]:
    counter[0] += 1
    yield from generator(counter)
    yield 1


def consume(counter: list[int]) -> None:
    for _ in generator(counter):
        pass


def block(counter: list[int]) -> None:
    with otel_studio.service(SERVICE).operation("block") as op:
        counter[0] += 1
        op.set_attribute("depth", counter[0])
        block(counter)


def span(counter: list[int]) -> None:
    with trace.get_tracer(SERVICE).start_as_current_span("span", attributes={"kind": "x"}):
        counter[0] += 1
        span(counter)


def tracker(counter: list[int]) -> None:
    begun = otel_studio.service(SERVICE).start_operation("tracker")
    counter[0] += 1
    try:
        tracker(counter)
    finally:
        begun.complete()


RECURSIVE: dict[str, Callable[[list[int]], None]] = {
    "function": function,
    "generator": consume,
    "block": block,
    "span": span,
    "tracker": tracker,
}


@contextmanager
def limited(more: int) -> Iterator[None]:
    """Allow so many frames beyond those that there are."""
    depth, before = 1, sys.getrecursionlimit()
    frame = sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + more)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What a handler of the test runner says at that depth is not in question."""
    guard.forget_said()
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    guard.forget_said()


@pytest.mark.patient
@pytest.mark.parametrize("kind", RECURSIVE)
@pytest.mark.parametrize("logs", [False, True], ids=["alone", "with logs joined"])
def test_a_runaway_recursion_loses_no_run(kind: str, logs: bool) -> None:
    """Neither its own, nor those of other operations that waited to be counted."""
    recurse, counter, good = RECURSIVE[kind], [0], 0
    settings = load_settings({}, os.sep, registry_backlog=120, fold_interval=60, logging=logs)
    with overriding(Studio(settings)):
        service = otel_studio.service(SERVICE)
        for number in range(ROUNDS):
            for _ in range(80 + number):  # wait in the backlog
                with service.operation("good") as op:
                    op.set_attribute("number", good)
                good += 1
            with limited(150 + number), pytest.raises(RecursionError):
                recurse(counter)
            assert trace.get_current_span() is trace.INVALID_SPAN
        metrics = api.get_service_metrics(SERVICE).operation_metrics
        active = api.get_active_operations_count().total
    found = metrics[kind]
    # A run whose start met the limit may have begun without its body.
    assert counter[0] <= found.count + found.abandoned <= counter[0] + 2 * ROUNDS
    assert metrics["good"].count == good
    assert active == 0
    assert not guard.internal_errors


def test_what_was_kept_of_a_run_is_whole() -> None:
    """Attributes and errors of runs that waited are not lost with the stack's depth."""
    settings = load_settings({}, os.sep, registry_backlog=100, fold_interval=60)
    with overriding(Studio(settings)):
        service = otel_studio.service(SERVICE)
        for number in range(ROUNDS):
            for _ in range(90):
                try:
                    with service.operation("fails") as op:
                        op.set_attribute("password", "secret")
                        raise ValueError(number)
                except ValueError:
                    pass
            with limited(120 + number), pytest.raises(RecursionError):
                function([0])
        runs = api.get_recent_operations(SERVICE, "fails")
        metrics = api.get_service_metrics(SERVICE).operation_metrics["fails"]
    assert metrics.errors == 90 * ROUNDS
    assert runs
    assert all("password" in run.attributes for run in runs)
    assert all(run.error for run in runs)


def test_a_query_at_the_limit_raises_or_answers_right() -> None:
    """What it could not do there, the next query does."""
    with overriding(Studio(load_settings({}, os.sep, fold_interval=60))):
        service = otel_studio.service(SERVICE)
        good = 0

        def at_depth(depth: int) -> None:
            if depth:
                at_depth(depth - 1)
            else:
                api.get_all_metrics()

        for number in range(100):
            with service.operation("good"):
                good += 1
            with limited(120):
                try:
                    at_depth(100 - number)
                except RecursionError:
                    pass
        assert api.get_service_metrics(SERVICE).operation_metrics["good"].count == good
        assert api.get_active_operations_count().total == 0
