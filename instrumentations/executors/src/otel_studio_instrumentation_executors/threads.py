"""Tasks of `ThreadPoolExecutor`: measured where they run, in the context of who submitted them."""

from __future__ import annotations

import concurrent.futures
import contextvars
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from .naming import function_name
from .pools import PoolBook, PoolFigures
from .safety import report_failure
from .spans import run_in_span


class _ThreadCall:
    """What the pool runs in place of the task; keeps nothing of it once it ran."""

    __slots__ = (
        "_book",
        "_context",
        "_figures",
        "_function",
        "_name",
        "_started",
        "_submitted_ns",
        "_tracer",
    )

    def __init__(
        self,
        book: PoolBook,
        figures: PoolFigures,
        tracer: trace.Tracer,
        function: Callable[..., Any],
    ) -> None:
        self._book = book
        self._figures = figures
        self._tracer = tracer
        self._function: Callable[..., Any] | None = function
        self._name = function_name(function)
        self._context: contextvars.Context | None = contextvars.copy_context()
        self._started = False
        self._submitted_ns = book.monotonic_ns()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function, context = self._function, self._context
        assert function is not None  # a pool runs each task once
        assert context is not None
        self._function = self._context = None
        self._started = True
        started_ns = self._book.monotonic_ns()
        wait_ns = started_ns - self._submitted_ns
        self._figures.start(wait_ns)
        attributes = {"executor.name": self._figures.name, "executor.wait_time": wait_ns / 1e9}
        outcome = "completed"
        try:
            return context.run(
                run_in_span, self._tracer, self._name, attributes, function, args, kwargs
            )
        except BaseException as error:
            outcome = "failed" if isinstance(error, Exception) else "cancelled"
            raise
        finally:
            self._figures.end(self._book.monotonic_ns() - started_ns, outcome)
            # The task's exception keeps this frame alive: keep nothing of the task in it.
            del function, context, args, kwargs

    def settle(self, future: concurrent.futures.Future[Any]) -> None:
        """Count a task that will not run: cancelled while it waited, or its pool broke."""
        if self._started:
            return
        self._started = True
        self._function = self._context = None
        self._figures.settle("cancelled" if future.cancelled() else "failed")


class ThreadFollower:
    """Stands in for `ThreadPoolExecutor.submit`.

    Args:
        book: where tasks are counted.
    """

    def __init__(self, book: PoolBook) -> None:
        self._book = book
        self.tracer: trace.Tracer = trace.NoOpTracer()

    def submit(
        self, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Submit a task, measured and in the submitter's context."""
        prepared = self._prepare(instance, args)
        if prepared is None:
            future: concurrent.futures.Future[Any] = wrapped(*args, **kwargs)
            return future
        figures, call = prepared
        figures.submit()
        try:
            # A pool of interpreters pickles its tasks, so they must stay as they are.
            future = wrapped(*args if call is None else (call, *args[1:]), **kwargs)
        except BaseException:
            figures.withdraw()
            raise
        future.add_done_callback(_settler(figures) if call is None else call.settle)
        return future

    def _prepare(self, instance: Any, args: Any) -> tuple[PoolFigures, _ThreadCall | None] | None:
        if not args or not callable(args[0]) or not is_instrumentation_enabled():
            return None
        try:
            figures = self._book.of(instance)
            if figures.kind != "thread":
                return figures, None
            return figures, _ThreadCall(self._book, figures, self.tracer, args[0])
        except Exception as error:
            report_failure("measuring a task of a thread pool", error)
            return None


def _settler(figures: PoolFigures) -> Callable[[concurrent.futures.Future[Any]], None]:
    return lambda future: figures.settle(outcome_of(future))


def outcome_of(future: concurrent.futures.Future[Any]) -> str:
    """Return how a done future ended: `completed`, `failed` or `cancelled`.

    Args:
        future: done.
    """
    if future.cancelled():
        return "cancelled"
    return "completed" if future.exception() is None else "failed"
