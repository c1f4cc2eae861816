"""What a pool's child process runs: the task, in the submitter's trace, with its times sent back.

The times travel with the result: what the child returns is pickled as a call of `_receive_*`,
which notes them in the parent and leaves there exactly what the task returned or raised. Nothing
else connects the two processes, so every start method works, and nothing is left to close.
"""

from __future__ import annotations

import contextlib
import copyreg
import time
from collections.abc import Callable
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import propagate

from .safety import report_failure
from .spans import global_tracer, run_in_span

#: What `pickle` asks an object for its form by, the object itself first.
_REDUCE = "__reduce_ex__"
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


def _send_times_with(error: BaseException, times: tuple[int, int, int]) -> None:
    """Have an exception bring a task's times to the parent, when it is pickled next.

    It stays as it is for whatever it makes its own form of: what `pickle` asks of it first takes
    itself away, and only adds a step to the form that the exception gives then.
    """
    if type(error) in copyreg.dispatch_table:
        return  # pickled by what is registered there, without being asked
    with contextlib.suppress(Exception):  # an exception without a `__dict__`
        attributes = error.__dict__

        def reduce(protocol: int) -> Any:
            attributes.pop(_REDUCE, None)
            form = error.__reduce_ex__(protocol)
            if not isinstance(form, tuple):
                return form
            function, arguments, *rest = form
            return (_receive_and_make, (*times, function, arguments), *rest)

        attributes[_REDUCE] = reduce


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
