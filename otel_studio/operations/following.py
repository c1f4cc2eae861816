"""Follows a coroutine or a future that a plain function returned: the run ends when it ends."""

from __future__ import annotations

import inspect
import sys
from types import CoroutineType
from typing import Any, Final

from opentelemetry import trace as trace_api

from otel_studio.base.collecting import is_collecting
from otel_studio.base.guard import report_internal_error
from otel_studio.operations.binding import Port, get_context, reset_context, set_context, span_of

#: Types of most results: nothing of theirs is to be followed, and nobody asks further.
#: Classes that modules hold anyway are added as they are met.
ORDINARY: Final[set[type]] = {
    *(type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
}
_MAX_ORDINARY: Final = 1_000
#: References to a coroutine that only `_Awaited` holds, while it looks at them.
_OWN_REFERENCES: Final = 3


def may_be_followed(kind: type) -> bool:
    """Tell whether results of a type look like a coroutine or a future, and remember if not."""
    if kind is CoroutineType or hasattr(kind, "add_done_callback"):
        return True
    held = getattr(sys.modules.get(kind.__module__), "__dict__", {}).get(kind.__name__)
    if held is kind and len(ORDINARY) < _MAX_ORDINARY:
        ORDINARY.add(kind)
    return False


def follow(result: Any, port: Port, run: Any, expected: tuple[type[BaseException], ...]) -> Any:
    """End a run when what it returned ends; at once where that is nothing to wait for.

    Args:
        result: what the function returned, which looks like a coroutine or a future.
        port: of the run.
        run: still current.
        expected: exceptions that leave the outcome ok.

    Returns:
        a future as it is; for a coroutine, one that does what it does.
    """
    try:
        if run is not None and span_of(run).is_recording():
            if type(result) is CoroutineType:
                port.leave(run)
                return _followed_coroutine(result, port, run, expected)
            if _is_future(result):
                port.leave(run)
                _follow_future(result, port, run, expected)
                return result
    except Exception as error:
        report_internal_error("following what a function returned", error)
        port.end(run)
        return result
    port.finish(run)
    return result


class _Done:
    """A run whose end somebody sees to; made as one of the classes below, it becomes this."""

    __slots__ = ("_expected", "_port", "_run")

    def __init__(self, port: Port, run: Any, expected: tuple[type[BaseException], ...]) -> None:
        self._port = port
        self._run = run
        self._expected = expected


class _Awaited(_Done):
    """The run of a coroutine that nobody has awaited yet; abandoned if nobody ever does."""

    __slots__ = ("_coroutine",)

    def __init__(
        self,
        coroutine: Any,
        port: Port,
        run: Any,
        expected: tuple[type[BaseException], ...],
    ) -> None:
        self._coroutine = coroutine
        super().__init__(port, run, expected)

    def begin(self) -> tuple[Any, Port, Any, tuple[type[BaseException], ...]]:
        """Leave the end of the run to the caller, who awaits the coroutine."""
        taken = self._coroutine, self._port, self._run, self._expected
        self.__class__ = _Begun  # type: ignore[assignment]
        return taken

    def __del__(self) -> None:
        coroutine = self._coroutine
        if (
            inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
            and sys.getrefcount(coroutine) <= _OWN_REFERENCES
        ):
            coroutine.close()  # Python has warned of the one that stands for it, by its name
        self._port.abandon(self._run)


class _Begun(_Done):
    """What `_Awaited` becomes."""

    __slots__ = ("_coroutine",)


def _followed_coroutine(
    coroutine: Any, port: Port, run: Any, expected: tuple[type[BaseException], ...]
) -> Any:
    standing_in: Any = _await(_Awaited(coroutine, port, run, expected))
    standing_in.__name__ = coroutine.__name__
    standing_in.__qualname__ = coroutine.__qualname__
    return standing_in


async def _await(awaited: _Awaited) -> Any:
    coroutine, port, run, expected = awaited.begin()
    span, token, is_collected = span_of(run), None, False
    try:
        token = set_context(trace_api.set_span_in_context(span, get_context()))
        port.set_task(run)
        return await coroutine
    except BaseException as error:
        is_collected = error.__class__ is GeneratorExit and is_collecting()
        port.fail(run, error, expected)
        raise
    finally:
        if token is not None and not is_collected:
            reset_context(token, span)
        port.end(run)


class _Pending(_Done):
    """The run of a future that is not done; abandoned if the future vanishes before."""

    __slots__ = ()

    def __call__(self, future: Any) -> None:
        """End the run as the future ended."""
        self.__class__ = _Done  # type: ignore[assignment]
        try:
            error = _error_of(future)
            if error is not None:
                self._port.fail(self._run, error, self._expected)
        except Exception as internal:
            report_internal_error("following a future", internal)
        finally:
            self._port.end(self._run)

    def __del__(self) -> None:
        self._port.abandon(self._run)


def _follow_future(
    future: Any, port: Port, run: Any, expected: tuple[type[BaseException], ...]
) -> None:
    pending = _Pending(port, run, expected)
    if future.done():
        pending(future)
    else:
        future.add_done_callback(pending)


def _is_future(value: Any) -> bool:
    """Tell whether it is a future of asyncio or of `concurrent.futures`, tasks among them."""
    kind = type(value)
    if getattr(kind, "_asyncio_future_blocking", None) is not None:
        return True
    module = sys.modules.get("concurrent.futures._base")
    return module is not None and issubclass(kind, module.Future)


def _error_of(future: Any) -> BaseException | None:
    """Return what a future that is done ended with, without its taking that for having been seen.

    `exception()` of asyncio's would silence "exception was never retrieved".
    """
    if future.cancelled():
        cancelled: BaseException = _cancelled_error(future)
        return cancelled
    error: BaseException | None = future._exception
    return error


def _cancelled_error(future: Any) -> BaseException:
    name = "asyncio" if hasattr(type(future), "_asyncio_future_blocking") else "concurrent.futures"
    error: BaseException = sys.modules[name].CancelledError()
    return error
