"""A service is up since it was declared, or since its first run began."""

from __future__ import annotations

import pytest
from opentelemetry import trace

import otel_studio
from otel_studio import api
from otel_studio.base.clock import ManualClock
from otel_studio.testing import isolated


def uptime(name: str) -> float:
    summary = api.get_service_metrics(name)
    assert summary is not None
    return summary.uptime_seconds


def test_a_declared_service_is_up_since_then() -> None:
    """Whether or not anything of it was folded or asked for."""
    clock = ManualClock()
    with isolated(clock=clock):
        otel_studio.service("shop")
        clock.advance(5)
        with otel_studio.service("shop").operation("pay"):
            clock.advance(2)
        clock.advance(3)
        assert uptime("shop") == pytest.approx(10)


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_service_that_nobody_declared_is_up_since_its_first_run(asked_before: bool) -> None:
    """Also while that one goes on and later ones have ended: contrib's scopes are such services."""
    clock = ManualClock()
    with isolated(clock=clock):
        tracer = trace.get_tracer_provider().get_tracer("contrib.scope")
        clock.advance(1)
        first = tracer.start_span("long")
        clock.advance(4)
        if asked_before:
            assert uptime("contrib.scope") == pytest.approx(4)
        tracer.start_span("short").end()
        assert uptime("contrib.scope") == pytest.approx(4)
        clock.advance(6)
        first.end()
        assert uptime("contrib.scope") == pytest.approx(10)


def test_a_reset_begins_anew() -> None:
    """What runs on through it began before, and counts from there."""
    clock = ManualClock()
    with isolated(clock=clock):
        run = otel_studio.service("shop").start_operation("pay")
        clock.advance(5)
        api.reset_service_metrics("shop")
        clock.advance(2)
        run.complete()
        assert uptime("shop") == pytest.approx(2)


def test_an_ignored_operation_brings_no_service() -> None:
    """What is left out is not known by its runs either."""
    with isolated(ignored_operations=("chatty/*",)):
        tracer = trace.get_tracer_provider().get_tracer("chatty")
        span = tracer.start_span("receive")
        assert api.get_service_metrics("chatty") is None
        span.end()
