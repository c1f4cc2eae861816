"""Wraps a callable of any shape so that each call is an operation, and its face stays the same."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import types
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace as trace_api
from opentelemetry.context import Context

from otel_studio.base.collecting import is_collecting
from otel_studio.base.guard import report_internal_error
from otel_studio.operations import binding as contexts
from otel_studio.operations import seat
from otel_studio.operations.binding import Binding, Port, span_of
from otel_studio.operations.following import ORDINARY, follow, may_be_followed
from otel_studio.operations.standing_in import TRACKED_MARK, is_function, stand_in

ARGUMENT_PREFIX = "studio.argument."
_INT64_LIMIT = 2**63


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What `track` was told about an operation.

    Attributes:
        expected: exceptions that mean "no" rather than "broken": the outcome is ok.
        capture_args: names of the parameters whose values become attributes.
    """

    expected: tuple[type[BaseException], ...] = ()
    capture_args: tuple[str, ...] = ()


def wrap(function: Callable[..., Any], binding: Binding, options: Options) -> Callable[..., Any]:
    """Return a wrapper of the function's own kind: plain, coroutine, generator, async generator.

    For a callable that is no function it is behind what stands for the callable.

    Args:
        function: any callable that is not a class.
        binding: the operation it becomes.
        options: how it is tracked.
    """
    capture = _capturer(function, options.capture_args) if options.capture_args else None
    called: Any = function
    while isinstance(called, functools.partial):
        called = called.func
    if not hasattr(called, "__code__"):
        called = called.__call__  # a callable object
    wrapper: Any
    if inspect.isasyncgenfunction(called):
        wrapper = _async_generator(function, binding, options.expected, capture)
    elif inspect.iscoroutinefunction(called):
        wrapper = _coroutine(function, binding, options.expected, capture)
    elif inspect.isgeneratorfunction(called):
        wrapper = _generator(function, binding, options.expected, capture)
        code: types.CodeType = called.__code__  # pyright: ignore[reportAttributeAccessIssue]
        if code.co_flags & inspect.CO_ITERABLE_COROUTINE:
            wrapper = types.coroutine(wrapper)  # it can be awaited
    else:
        wrapper = _plain(function, binding, options.expected, capture)
    if not is_function(function):
        functools.update_wrapper(wrapper, getattr(function, "__call__"))  # noqa: B004, B009
        remake = functools.partial(wrap, binding=binding, options=options)
        return stand_in(function, wrapper, remake)
    functools.update_wrapper(wrapper, function)
    setattr(wrapper, TRACKED_MARK, True)
    return wrapper  # type: ignore[no-any-return]


# A wrapper that cloudpickle ships is sent with what it names: `contexts` is a module, which goes by
# its name; the functions in it are methods of a `ContextVar`, which cannot go at all.
_Capture = Callable[[tuple[Any, ...], dict[str, Any]], Mapping[str, Any]]


def _plain(
    function: Callable[..., Any],
    binding: Binding,
    expected: tuple[type[BaseException], ...],
    capture: _Capture | None,
) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        context = contexts.get_context()
        port = run = None
        try:  # around the start as well: a signal handler's exception may come right after it
            port = binding.port or binding.bind()
            run = port.enter(context)
            if capture is not None:
                _set_captured(run, capture, args, kwargs)
            # Without the copy of no keyword, mostly.
            result = function(*args, **kwargs) if kwargs else function(*args)
            if result is not None:  # most often it is
                kind = type(result)
                try:
                    is_followed = kind not in ORDINARY and may_be_followed(kind)
                except TypeError:  # a class that its metaclass makes unhashable
                    is_followed = False
                if is_followed:
                    return follow(result, port, run, expected)
            port.finish(run)
            return result
        except BaseException as error:
            try:
                _leave(port, run, context, error, expected)
            except RecursionError:
                # Not even a call of ours fits on the stack: whoever has room ends the run.
                if run is not None:
                    run._lost = error
            raise

    return wrapper


def _coroutine(
    function: Callable[..., Any],
    binding: Binding,
    expected: tuple[type[BaseException], ...],
    capture: _Capture | None,
) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        context = contexts.get_context()
        port = run = None
        try:
            port = binding.port or binding.bind()
            run = port.enter(context)
            port.set_task(run)
            if capture is not None:
                _set_captured(run, capture, args, kwargs)
            result = await function(*args, **kwargs)
            port.finish(run)
            return result
        except BaseException as error:
            try:
                _leave(port, run, context, error, expected)
            except RecursionError:
                if run is not None:
                    run._lost = error
            raise

    return wrapper


def _leave(
    port: Port | None,
    run: Any,
    context: Context,
    error: BaseException,
    expected: tuple[type[BaseException], ...],
) -> None:
    """End a run that an exception left, wherever in its wrapper it came from.

    Args:
        port: `None` where it came before there was one.
        run: `None` where it came before the run was handed over.
        context: what was current before the run.
        error: the program's, or a signal handler's.
        expected: exceptions that leave the outcome ok.
    """
    if port is None:
        return
    if run is None:
        port.undo(context)
        return
    try:
        port.fail(run, error, expected)
    finally:  # at the recursion limit even a call of ours may raise
        if error.__class__ is GeneratorExit and is_collecting():
            port.end(run)
        else:
            port.finish(run)


class _Ended:
    """A generator's run; made as `_Suspended`, it becomes this at its end."""

    __slots__ = ("_closed", "_port", "context", "is_collected", "run")

    def __init__(self, port: Port) -> None:
        self._closed = False
        #: Whether the collector closes the generator, where the context may not be touched.
        self.is_collected = False
        self._port = port
        self.run = run = port.start()
        #: What is current while the generator's own code runs; its consumer never sees it.
        self.context = (
            contexts.get_context()
            if run is None
            else trace_api.set_span_in_context(span_of(run), contexts.get_context())
        )

    def interrupted(self, thrown: BaseException) -> BaseException:
        """Note what the consumer threw in."""
        self._closed = isinstance(thrown, GeneratorExit)
        self.is_collected = self._closed and is_collecting()
        return thrown

    def end(self, expected: tuple[type[BaseException], ...]) -> None:
        """End a run whose generator returned; cancelled, if it did so on being closed."""
        if self._closed:
            self._port.fail(self.run, GeneratorExit(), expected)
        self._port.end(self.run)
        self.__class__ = _Ended  # pyright: ignore[reportAttributeAccessIssue]

    def fail(self, error: BaseException, expected: tuple[type[BaseException], ...]) -> None:
        """End a run that an exception left."""
        self._port.fail(self.run, error, expected)
        self._port.end(self.run)
        self.__class__ = _Ended  # pyright: ignore[reportAttributeAccessIssue]


class _Suspended(_Ended):
    """A generator's run that has not ended: abandoned if the generator vanishes."""

    __slots__ = ()

    def __del__(self) -> None:
        try:
            run = self.run
        except AttributeError:  # interrupted before it was made
            return
        if run is not None:
            self._port.abandon(run)


def _generator(
    function: Callable[..., Any],
    binding: Binding,
    expected: tuple[type[BaseException], ...],
    capture: _Capture | None,
) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before = contexts.get_context()
        life: _Suspended | None = None
        try:
            life = _Suspended(binding.port or binding.bind())
            if capture is not None:
                _set_captured(life.run, capture, args, kwargs)
            generator = function(*args, **kwargs)
            step, argument = generator.send, None
            while True:
                before = contexts.get_context()
                try:
                    contexts.set_context(life.context)
                    item = step(argument)
                finally:
                    # What the generator left current is there again at its next step.
                    life.context = contexts.get_context()
                    contexts.set_context(before)
                    argument = None  # an exception kept here would keep this frame alive
                try:
                    argument = yield item
                    step = generator.send
                except BaseException as thrown:
                    # GeneratorExit too: the generator may answer it as it would unwrapped.
                    step, argument = generator.throw, life.interrupted(thrown)
                    if life.is_collected:
                        yield generator.throw(thrown)  # as it would, if it ignored its end
        except StopIteration as stop:
            if life is not None:
                life.end(expected)
            return stop.value
        except BaseException as error:
            if life is None or not life.is_collected:
                _put_back_consumers(life, before)
            if life is not None:
                life.fail(error, expected)
            raise

    return wrapper


def _async_generator(
    function: Callable[..., Any],
    binding: Binding,
    expected: tuple[type[BaseException], ...],
    capture: _Capture | None,
) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        before = contexts.get_context()
        life: _Suspended | None = None
        try:
            port = binding.port or binding.bind()
            life = _Suspended(port)
            port.set_task(life.run)
            if capture is not None:
                _set_captured(life.run, capture, args, kwargs)
            generator = function(*args, **kwargs)
            step, argument = generator.asend, None
            while True:
                before, token = contexts.get_context(), None
                try:
                    token = contexts.set_context(life.context)
                    item = await step(argument)
                finally:
                    # What the generator left current is there again at its next step.
                    life.context = contexts.get_context()
                    if token is not None:
                        contexts.reset_context(token)  # a step may end elsewhere than it began
                    argument = None  # an exception kept here would keep this frame alive
                try:
                    argument = yield item
                    step = generator.asend
                except BaseException as thrown:
                    # GeneratorExit too: the generator may answer it as it would unwrapped.
                    step, argument = generator.athrow, life.interrupted(thrown)
        except StopAsyncIteration:
            if life is not None:
                life.end(expected)
        except BaseException as error:
            if life is None or not life.is_collected:
                _put_back_consumers(life, before)
            if life is not None:
                life.fail(error, expected)
            raise

    return wrapper


def _put_back_consumers(life: _Suspended | None, before: Context) -> None:
    """Make current what was so before a generator's step, where its span still is."""
    if life is not None and life.run is not None:
        span = span_of(life.run)
        if trace_api.get_current_span() is span and trace_api.get_current_span(before) is not span:
            contexts.set_context(before)


# Captured arguments


def _capturer(function: Callable[..., Any], names: tuple[str, ...]) -> _Capture:
    parameters = inspect.signature(function).parameters
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise ValueError(
            f"capture_args names {unknown[0]!r}, which is no parameter of "
            f"{getattr(function, '__qualname__', function)}: "
            f"it has {', '.join(parameters) or 'none'}"
        )
    kinds = inspect.Parameter
    known = frozenset(parameters)
    places = [
        (ARGUMENT_PREFIX + name, name, position, parameter.kind, parameter.default)
        for position, (name, parameter) in enumerate(parameters.items())
        if name in names
    ]

    def capture(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        captured = {}
        for attribute, name, position, kind, default in places:
            if kind is kinds.VAR_POSITIONAL:
                value: Any = args[position:]
            elif kind is kinds.VAR_KEYWORD:
                value = {key: kwargs[key] for key in kwargs if key not in known}
            elif kind is not kinds.KEYWORD_ONLY and position < len(args):
                value = args[position]
            else:
                value = kwargs.get(name, default)
            if value is not kinds.empty:
                captured[attribute] = describe_argument(value)
        return captured

    return capture


def describe_argument(value: Any) -> str | bool | int | float:
    """Return what an attribute may say of an argument: bounded, and never a `repr` of it.

    Numbers, booleans, text and paths as they are (text is cut, see the setting
    `captured_argument_length`); anything else as its type, with its length where that is no
    code of the program's own (the length of a database query may run it).

    Args:
        value: the argument.

    Example:
        >>> describe_argument([1, 2, 3])
        'list(len=3)'
    """
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        # OpenTelemetry's integers have 64 bits.
        fits = -_INT64_LIMIT <= value < _INT64_LIMIT
        return value if fits else f"int({value.bit_length()} bits)"
    if value is None:
        return "None"
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        most = seat.current().argument_characters
        if len(value) > most:
            return value[: most - 1] + "…"
        return str(value)
    kind = type(value)
    if isinstance(getattr(kind, "__len__", None), types.WrapperDescriptorType):
        return f"{kind.__qualname__}(len={len(value)})"
    return kind.__qualname__


def _set_captured(
    run: Any, capture: _Capture, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    try:
        span_of(run).set_attributes(capture(args, kwargs))
    except Exception as error:
        report_internal_error("capturing arguments", error)
