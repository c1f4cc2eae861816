"""`start_as_current_span`: a context manager that is a decorator too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_studio.base import outcome
from otel_studio.base.collecting import is_collecting
from otel_studio.base.otel_private import SPAN_KEY, context_functions
from otel_studio.operations.binding import reset_context
from otel_studio.spans.span import StudioSpan

if TYPE_CHECKING:
    from otel_studio.spans.tracer import StudioTracer

_get_context, _set_context, _reset_context = context_functions()
_F = TypeVar("_F", bound=Callable[..., Any])


class SpanBlock:
    """Starts a span on entry, makes it current, and ends it on exit."""

    __slots__ = ("_arguments", "_before", "_span", "_token", "_tracer")

    def __init__(self, tracer: StudioTracer, arguments: tuple[Any, ...]) -> None:
        self._tracer = tracer
        #: Of `start_span`; the last one tells whether the span ends with the block.
        self._arguments = arguments

    def __enter__(self) -> Span:
        context = self._before = _get_context()
        span = self._span = self._tracer.start_span(*self._arguments)
        self._token = _set_context(
            Context({**context, SPAN_KEY: span} if context else {SPAN_KEY: span})
        )
        return span

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        span = self._span
        if exc_type is not GeneratorExit or not is_collecting():
            try:
                _reset_context(self._token)
            except ValueError:
                reset_context(self._token, span)  # left in another context than entered
        if error is not None and isinstance(span, StudioSpan) and not span._end:
            record_exception, set_status = self._arguments[-3:-1]
            # As the SDK has it: what is no `Exception` leaves neither event nor status.
            is_usual = isinstance(error, Exception)
            span._mark_exception(error, record_exception and is_usual, set_status and is_usual)
        if self._arguments[-1]:
            span.end()
        # Left as it should be: nothing to make up for.
        self.__class__ = SpanBlock  # pyright: ignore[reportAttributeAccessIssue]

    def __call__(self, function: _F) -> _F:
        """Decorate a function or a coroutine function: each call runs in a span of its own."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return cast(_F, async_wrapper)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return cast(_F, wrapper)

    def _again(self) -> Any:
        if self._tracer.successor is not None:
            return self._tracer.successor.start_as_current_span(*self._arguments)
        return CurrentSpan(self._tracer, self._arguments)


class CurrentSpan(SpanBlock):
    """A block that was not left yet.

    What a signal handler raises may leave the block at any instruction, at the first one of
    `__exit__` too: then the exit is made up for when this object goes, a moment later.
    """

    __slots__ = ()

    def __del__(self) -> None:
        try:
            before, span = self._before, self._span
        except AttributeError:  # it was not entered
            return
        if _get_context().get(SPAN_KEY) is span and not is_collecting():
            _set_context(before)
        if self._arguments[-1] and span.is_recording():
            if isinstance(span, StudioSpan):
                span._make_unusual(_outcome=outcome.CANCELLED)
            span.end()
