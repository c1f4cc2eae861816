"""What a signal handler of the program raises inside this package is the program's, not ours."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace

import otel_studio
from otel_studio.base import guard
from otel_studio.base.clock import ManualClock
from otel_studio.testing.isolation import isolated


class TimeLimit(Exception):
    """As a task queue raises it."""


class Interrupt(BaseException):
    """As Ctrl-C raises it."""


class SignallingClock(ManualClock):
    """Sends this process a signal at one of its readings."""

    countdown = -1

    def monotonic_ns(self) -> int:
        self.countdown -= 1
        if self.countdown == 0:
            signal.raise_signal(signal.SIGUSR1)
        return super().monotonic_ns()


def raising(kind: type[BaseException], *_: Any) -> None:
    raise kind("over")


class Handlers:
    """Bound methods and callable objects are handlers, too."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def method(self, *_: Any) -> None:
        raise self.kind("over")

    __call__ = method


@pytest.fixture(params=["partial", "method", "object"])
def handle(request: pytest.FixtureRequest) -> Iterator[Callable[[type[BaseException]], None]]:
    """Sets what the signal raises."""
    before = signal.getsignal(signal.SIGUSR1)

    def use(kind: type[BaseException]) -> None:
        handlers = {
            "partial": functools.partial(raising, kind),
            "method": Handlers(kind).method,
            "object": Handlers(kind),
        }
        signal.signal(signal.SIGUSR1, handlers[request.param])

    guard.forget_said()
    yield use
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("kind", [TimeLimit, Interrupt])
@pytest.mark.parametrize(("reading", "ended"), [(1, 0), (2, 1)], ids=["start", "end"])
def test_it_passes_through_and_the_run_is_whole(
    handle: Any, kind: type[BaseException], reading: int, ended: int
) -> None:
    """At a run's start it leaves nothing active or current; at its end the run is counted."""
    handle(kind)
    clock = SignallingClock()
    with isolated(clock=clock) as s:
        operation = otel_studio.service("shop").operation

        @otel_studio.track("pay", service="shop")
        def pay() -> None:
            pass

        pay()
        with operation("outer"):
            outer = trace.get_current_span()
            clock.countdown = reading
            with pytest.raises(kind):
                pay()
            assert trace.get_current_span() is outer
        s.assert_operation("shop", "pay", count=1 + ended, active=0)
        pay()
        s.assert_operation("shop", "pay", count=2 + ended, active=0)
    assert not guard.internal_errors


@pytest.mark.parametrize("kind", [TimeLimit, Interrupt])
def test_inside_a_fold_the_other_consumers_and_the_next_fold_go_on(
    handle: Any, kind: type[BaseException]
) -> None:
    """The rest of the batch is counted by the next fold, and the exporters have it all."""
    handle(kind)
    clock = SignallingClock()
    with isolated(clock=clock) as s:
        pay = otel_studio.service("shop").operation
        for _ in range(5):
            with pay("pay"):
                pass
        clock.countdown = 4  # behind the two readings of the fold's wall clock
        with pytest.raises(kind):
            s.operations("shop")
        assert s.operation("shop", "pay").count == 5
        assert len(s.spans) == 5


def test_an_exception_of_ours_is_still_kept_from_the_program() -> None:
    """Only what a handler that is set for a signal has raised goes on."""
    with pytest.raises(ValueError, match="over") as caught:
        raising(ValueError)
    assert not guard.raised_by_signal_handler(caught.value)
    guard.report_internal_error("a part", caught.value)
    assert guard.internal_errors["a part"] == 1
    guard.forget_said()
