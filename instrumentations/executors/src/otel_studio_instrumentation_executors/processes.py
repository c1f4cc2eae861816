"""Tasks of `ProcessPoolExecutor`: measured in the child, in the trace of who submitted them."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
from collections.abc import Callable
from typing import Any

from opentelemetry import propagate
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from . import carried
from .naming import function_name
from .pools import PoolBook, PoolFigures
from .safety import report_failure
from .threads import outcome_of


class _Flight:
    """A submitted task, until it is counted."""

    __slots__ = ("figures", "future", "submitted_ns", "times")

    def __init__(self, figures: PoolFigures, submitted_ns: int) -> None:
        self.figures = figures
        self.submitted_ns = submitted_ns
        self.future: concurrent.futures.Future[Any] | None = None
        self.times: tuple[int, int] | None = None


class ProcessFollower:
    """Stands in for `ProcessPoolExecutor.submit`.

    Args:
        book: where tasks are counted.
    """

    def __init__(self, book: PoolBook) -> None:
        self._book = book
        self._numbers = itertools.count(1)
        #: By number. Set, got and popped in single steps, which need no lock.
        self._in_flight: dict[int, _Flight] = {}

    def listen(self) -> None:
        """Take in the times that children send from now on."""
        carried.receiver = self._receive

    def submit(
        self, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Submit a task, measured and with the submitter's trace."""
        prepared = self._prepare(instance, args)
        if prepared is None:
            future: concurrent.futures.Future[Any] = wrapped(*args, **kwargs)
            return future
        call, flight = prepared
        self._in_flight[call.number] = flight
        flight.figures.submit()
        try:
            future = wrapped(call, *args[1:], **kwargs)
        except BaseException:
            flight.figures.withdraw()
            self._in_flight.pop(call.number, None)
            raise
        flight.future = future
        future.add_done_callback(functools.partial(self._settle, call.number))
        return future

    def fold(self) -> None:
        """Count the tasks that are done, also where their callback is yet to run."""
        for number, flight in self._in_flight.copy().items():
            if flight.future is not None and flight.future.done():
                self._settle(number, flight.future)

    def after_fork(self) -> None:
        """Drop the parent's tasks in a forked child."""
        self._in_flight = {}

    def _prepare(self, instance: Any, args: Any) -> tuple[carried.CarriedCall, _Flight] | None:
        if not args or not callable(args[0]) or not is_instrumentation_enabled():
            return None
        try:
            figures = self._book.of(instance)
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            now_ns = self._book.monotonic_ns()
            call = carried.CarriedCall(
                args[0],
                function_name(args[0]),
                figures.name,
                carrier,
                next(self._numbers),
                now_ns,
            )
            return call, _Flight(figures, now_ns)
        except Exception as error:
            report_failure("measuring a task of a process pool", error)
            return None

    def _receive(self, number: int, started_ns: int, ended_ns: int) -> None:
        flight = self._in_flight.get(number)
        if flight is not None:
            flight.times = (started_ns, ended_ns)

    def _settle(self, number: int, future: concurrent.futures.Future[Any]) -> None:
        flight = self._in_flight.pop(number, None)
        if flight is None:
            return
        wait_ns = run_ns = None
        if flight.times is not None:
            started_ns, ended_ns = flight.times
            wait_ns, run_ns = started_ns - flight.submitted_ns, ended_ns - started_ns
        flight.figures.settle(outcome_of(future), wait_ns, run_ns)
