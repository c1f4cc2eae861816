"""Wraps a callable of any shape so that each call is an operation, and its face stays the same."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sized
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api

from otel_studio.guard import report_internal_error
from otel_studio.ports import Binding, Port, reset_context, span_of

#: Characters kept of a captured argument.
MAX_ARGUMENT_CHARACTERS = 256
ARGUMENT_PREFIX = "studio.argument."
_PLAIN = (bool, int, float)


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

    Args:
        function: any callable that is not a class.
        binding: the operation it becomes.
        options: how it is tracked.
    """
    capture = _capturer(function, options.capture_args) if options.capture_args else None
    called = function
    while isinstance(called, functools.partial):
        called = called.func
    if not inspect.isroutine(called):
        called = type(called).__call__  # a callable object
    if inspect.isasyncgenfunction(called):
        make = _async_generator
    elif inspect.iscoroutinefunction(called):
        make = _coroutine
    elif inspect.isgeneratorfunction(called):
        make = _generator
    else:
        make = _plain
    wrapper = make(function, binding, options.expected, capture)
    functools.update_wrapper(wrapper, function)
    if not hasattr(function, "__name__"):  # partial and callable objects have none
        wrapper.__name__ = binding.name.rpartition(".")[2]
        wrapper.__qualname__ = binding.name
    return wrapper


_Capture = Callable[[tuple[Any, ...], dict[str, Any]], Mapping[str, Any]]


def _plain(
    function: Callable[..., Any],
    binding: Binding,
    expected: tuple[type[BaseException], ...],
    capture: _Capture | None,
) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        port = binding.port or binding.bind()
        run = port.enter()
        if capture is not None:
            _set_captured(run, capture, args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            port.fail(run, error, expected)
            port.finish(run)
            raise
        port.finish(run)
        return result

    return wrapper


def _coroutine(
    function: Callable[..., Any],
    binding: Binding,
    expected: tuple[type[BaseException], ...],
    capture: _Capture | None,
) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        port = binding.port or binding.bind()
        run = port.enter()
        port.set_task(run)
        if capture is not None:
            _set_captured(run, capture, args, kwargs)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            port.fail(run, error, expected)
            port.finish(run)
            raise
        port.finish(run)
        return result

    return wrapper


class _Suspended:
    """A generator's run: ended once, and abandoned if the generator vanishes without an end."""

    __slots__ = ("_ended", "_port", "context", "run")

    def __init__(self, port: Port, run: Any) -> None:
        self._port = port
        self._ended = False
        self.run = run
        #: What is current while the generator's own code runs; its consumer never sees it.
        self.context = trace_api.set_span_in_context(span_of(run))

    def leave(self, token: Any) -> None:
        """Keep what the generator's code left current for its next step, and put back the consumer's."""
        self.context = context_api.get_current()
        reset_context(token)

    def end(self) -> None:
        self._ended = True
        self._port.end(self.run)

    def fail(self, error: BaseException, expected: tuple[type[BaseException], ...]) -> None:
        self._port.fail(self.run, error, expected)
        self.end()

    def __del__(self) -> None:
        if not self._ended:
            self._port.abandon(self.run)


def _generator(
    function: Callable[..., Any],
    binding: Binding,
    expected: tuple[type[BaseException], ...],
    capture: _Capture | None,
) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        port = binding.port or binding.bind()
        life = _Suspended(port, port.start())
        if capture is not None:
            _set_captured(life.run, capture, args, kwargs)
        try:
            generator = function(*args, **kwargs)
            step, argument = generator.send, None
            while True:
                token = context_api.attach(life.context)
                try:
                    item = step(argument)
                finally:
                    life.leave(token)
                try:
                    argument = yield item
                    step = generator.send
                except GeneratorExit:
                    token = context_api.attach(life.context)
                    try:
                        generator.close()
                    finally:
                        life.leave(token)
                    raise
                except BaseException as thrown:
                    step, argument = generator.throw, thrown
        except StopIteration as stop:
            life.end()
            return stop.value
        except BaseException as error:
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
        port = binding.port or binding.bind()
        life = _Suspended(port, port.start())
        port.set_task(life.run)
        if capture is not None:
            _set_captured(life.run, capture, args, kwargs)
        try:
            generator = function(*args, **kwargs)
            step, argument = generator.asend, None
            while True:
                token = context_api.attach(life.context)
                try:
                    item = await step(argument)
                finally:
                    life.leave(token)
                try:
                    argument = yield item
                    step = generator.asend
                except GeneratorExit:
                    token = context_api.attach(life.context)
                    try:
                        await generator.aclose()
                    finally:
                        life.leave(token)
                    raise
                except BaseException as thrown:
                    step, argument = generator.athrow, thrown
        except StopAsyncIteration:
            life.end()
        except BaseException as error:
            life.fail(error, expected)
            raise

    return wrapper


# Captured arguments


def _capturer(function: Callable[..., Any], names: tuple[str, ...]) -> _Capture:
    parameters = inspect.signature(function).parameters
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise ValueError(
            f"capture_args names {unknown[0]!r}, which is no parameter of "
            f"{getattr(function, '__qualname__', function)}: it has {', '.join(parameters) or 'none'}"
        )
    places = []
    for position, (name, parameter) in enumerate(parameters.items()):
        if name in names:
            places.append((ARGUMENT_PREFIX + name, name, position, parameter.default))

    def capture(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        captured = {}
        for attribute, name, position, default in places:
            value = args[position] if position < len(args) else kwargs.get(name, default)
            if value is not inspect.Parameter.empty:
                captured[attribute] = describe_argument(value)
        return captured

    return capture


def describe_argument(value: Any) -> str | bool | int | float:
    """Return what an attribute may say of an argument: bounded, and never a `repr` of it.

    Numbers, booleans, text and paths as they are (text cut at 256 characters); anything
    else as its type, with its length where it has one.

    Args:
        value: the argument.

    Example:
        >>> describe_argument([1, 2, 3])
        'list(len=3)'
    """
    if isinstance(value, _PLAIN):
        return value
    if value is None:
        return "None"
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        if len(value) > MAX_ARGUMENT_CHARACTERS:
            return value[: MAX_ARGUMENT_CHARACTERS - 1] + "…"
        return str(value)
    kind = type(value).__qualname__
    if isinstance(value, Sized) and not isinstance(value, type):
        return f"{kind}(len={len(value)})"
    return kind


def _set_captured(
    run: Any, capture: _Capture, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    try:
        span_of(run).set_attributes(capture(args, kwargs))
    except Exception as error:
        report_internal_error("capturing arguments", error)
