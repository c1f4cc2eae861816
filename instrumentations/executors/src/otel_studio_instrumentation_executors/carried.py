"""What a pool's child process runs: the task, in the submitter's trace, with its times sent back.

The times travel with the result: what the child returns is pickled as a call of `_receive_*`,
which notes them in the parent and leaves there exactly what the task returned or raised. An
exception goes in an envelope of the pool's own, which takes them along: the exception is not
touched. Nothing else connects the two processes, so every start method works, and nothing is left
to close.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import process
from multiprocessing.reduction import ForkingPickler
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import propagate

from .safety import report_failure
from .spans import global_tracer, run_in_span

#: What the pool puts around an exception on its way; `None` where this Python has another way.
_Envelope: type[Any] | None = getattr(process, "_ExceptionWithTraceback", None)
#: Set in the parent: takes a task's number and its start and end on the machine's monotonic clock.
receiver: Callable[[int, int, int], None] | None = None


class CarriedCall:
    """The task as it is sent to a child process.

    Args:
        function: the task.
        name: of its operation.
        pool: the pool's name.
        carrier: the submitter's context, as the propagators wrote it.
        number: tells the task from others when its times come back.
        submitted_ns: when it was submitted, on the machine's monotonic clock.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        pool: str,
        carrier: dict[str, str],
        number: int,
        submitted_ns: int,
    ) -> None:
        self.function = function
        self.name = name
        self.pool = pool
        self.carrier = carrier
        self.number = number
        self.submitted_ns = submitted_ns

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, in the child."""
        token = None
        try:
            token = context_api.attach(propagate.extract(self.carrier))
        except Exception as error:
            report_failure("reading the context of a task", error)
        started_ns = time.monotonic_ns()
        attributes = {
            "executor.name": self.pool,
            "executor.wait_time": max(0, started_ns - self.submitted_ns) / 1e9,
        }
        try:
            result = run_in_span(
                global_tracer(), self.name, attributes, self.function, args, kwargs
            )
        except BaseException as error:
            _send_times_with(error, (self.number, started_ns, time.monotonic_ns()))
            raise
        finally:
            if token is not None:
                with contextlib.suppress(Exception):
                    context_api.detach(token)
        return _Result(result, self.number, started_ns, time.monotonic_ns())


class _Result:
    """A task's result on its way to the parent, where only the result itself arrives."""

    def __init__(self, value: Any, number: int, started_ns: int, ended_ns: int) -> None:
        self._call = (number, started_ns, ended_ns, value)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _receive_result, self._call


#: The identity of the exception that left the last failed task here, and the task's times.
_failed: tuple[int, tuple[int, int, int]] | None = None


def _send_times_with(error: BaseException, times: tuple[int, int, int]) -> None:
    """Have the envelope of an exception bring a task's times to the parent."""
    global _failed
    if _Envelope is not None:
        _failed = id(error), times
        ForkingPickler.register(_Envelope, _with_times)


def _with_times(envelope: Any) -> Any:
    """Return the form of an envelope, with the times of the task whose exception is in it."""
    global _failed
    failed, _failed = _failed, None
    form = envelope.__reduce__()
    if failed is None or failed[0] != id(getattr(envelope, "exc", None)):
        return form
    function, arguments, *rest = form
    return (_receive_and_make, (*failed[1], function, arguments), *rest)


def _receive_result(number: int, started_ns: int, ended_ns: int, value: Any) -> Any:
    _receive_times(number, started_ns, ended_ns)
    return value


def _receive_and_make(
    number: int,
    started_ns: int,
    ended_ns: int,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Any:
    _receive_times(number, started_ns, ended_ns)
    return function(*arguments)


def _receive_times(number: int, started_ns: int, ended_ns: int) -> None:
    if receiver is not None:
        receiver(number, started_ns, ended_ns)
