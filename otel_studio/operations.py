"""Operations: the decorators and context managers, on the OpenTelemetry API alone."""

from __future__ import annotations

import inspect
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar, overload

from opentelemetry import trace as trace_api
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util import types

from otel_studio.guard import report_internal_error, warn_once
from otel_studio.ports import (
    RECORDED_ATTRIBUTE,
    Binding,
    Port,
    get_tracer,
    mark_failed,
    slow_thresholds,
    span_of,
)
from otel_studio.wrapping import Options, wrap

_F = TypeVar("_F", bound=Callable[..., Any])

#: Told the name of every service that is declared; the default Studio registers it.
service_listeners: list[Callable[[str], None]] = []


#: Told of every `Service.track_memory`; the current Studio samples it.
memory_listeners: list[Callable[[MemoryProbe], None]] = []
#: What was tracked so far, for a Studio that starts later; bounded.
memory_probes: list[MemoryProbe] = []
_MAX_MEMORY_PROBES = 1_000


class MemoryProbe:
    """Memory that a service holds, sampled until `close()`.

    Args:
        service: who holds it.
        source: a callable that returns bytes, or the object that is sized.
    """

    def __init__(self, service: str, source: Any) -> None:
        self.service = service
        self.source = source
        self._tracked: list[Any] = []

    def track(self, tracker: Any) -> None:
        """Hand the source to a tracker of memory (see `resources.service_memory`)."""
        self._tracked.append(tracker.track(self.service, self.source))

    def close(self) -> None:
        """Stop tracking; a second call does nothing."""
        if self in memory_probes:
            memory_probes.remove(self)
        for tracked in self._tracked:
            tracked.close()
        self._tracked.clear()
        self.source = None


class Operation:
    """One run of an operation, as the code inside it sees it.

    Made by `Service.operation` (a context manager, `with` and `async with`) and by
    `current_operation`.
    """

    __slots__ = ("_binding", "_expected", "_port", "_run")

    def __init__(
        self,
        binding: Binding | None,
        expected: tuple[type[BaseException], ...] = (),
        run: Any = None,
    ) -> None:
        self._binding = binding
        self._expected = expected
        self._port: Port | None = None
        self._run = run

    @property
    def span(self) -> Span:
        """The OpenTelemetry span of this run."""
        return span_of(self._run)

    @property
    def trace_id(self) -> str:
        """The trace id, as 32 hexadecimal digits."""
        return trace_api.format_trace_id(self.span.get_span_context().trace_id)

    def set_attribute(self, key: str, value: types.AnyValue) -> None:
        """Set one attribute of the run.

        Args:
            key: not empty; dotted lower case by OpenTelemetry's conventions.
            value: text, number, boolean or a sequence of one of them.
        """
        _guarded_set(self.span, {key: value})

    def set_attributes(self, attributes: Mapping[str, types.AnyValue]) -> None:
        """Set several attributes of the run."""
        _guarded_set(self.span, attributes)

    def fail(self, error: BaseException | str) -> None:
        """Mark the run failed although no exception leaves it.

        Args:
            error: why: an exception, or a sentence.
        """
        _fail_span(self.span, error)

    def __enter__(self) -> Operation:
        binding = self._binding
        if binding is None or self._port is not None:
            warn_once(
                "reentry",
                binding.name if binding else "current",
                "an operation object was entered twice: make a new one for each run with "
                "service.operation(name).",
            )
            return self
        self._port = binding.port or binding.bind()
        self._run = self._port.enter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        port = self._port
        if port is None:
            return
        if error is not None:
            port.fail(self._run, error, self._expected)
        port.finish(self._run)

    async def __aenter__(self) -> Operation:
        self.__enter__()
        if self._port is not None:
            self._port.set_task(self._run)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, error, tb)


class Tracker:
    """A run that is ended by hand: `complete()` or `fail(error)`, from any thread.

    Dropped without either, it is counted as abandoned and warned of once.
    """

    __slots__ = ("__weakref__", "_binding", "_done", "_port", "_run")

    def __init__(self, binding: Binding) -> None:
        self._done = False
        self._binding = binding
        self._port = binding.port or binding.bind()
        self._run = self._port.start()

    @property
    def span(self) -> Span:
        """The OpenTelemetry span of this run."""
        return span_of(self._run)

    def set_attribute(self, key: str, value: types.AnyValue) -> None:
        """Set one attribute of the run."""
        _guarded_set(self.span, {key: value})

    def complete(self) -> None:
        """End the run as ok; a second end is ignored and logged once."""
        if self._first_end("complete"):
            self._port.end(self._run)

    def fail(self, error: BaseException | str) -> None:
        """End the run as failed; a second end is ignored and logged once.

        Args:
            error: why: an exception, or a sentence.
        """
        if self._first_end("fail"):
            _fail_span(self.span, error)
            self._port.end(self._run)

    def _first_end(self, method: str) -> bool:
        if self._done:
            warn_once(
                "second end",
                f"{self._binding.service}/{self._binding.name}",
                "%s() on a run of %s/%s that has ended already is ignored.",
                method,
                self._binding.service,
                self._binding.name,
            )
            return False
        self._done = True
        return True

    def __del__(self) -> None:
        if not getattr(self, "_done", True):
            self._done = True
            binding = self._binding
            warn_once(
                "abandoned",
                f"{binding.service}/{binding.name}",
                "a run of %s/%s was dropped without complete() or fail(): it is counted as abandoned.",
                binding.service,
                binding.name,
            )
            self._port.abandon(self._run)


class Service:
    """A component inside the process; `service(name)` returns the same object for the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._bindings: dict[str, Binding] = {}

    def __repr__(self) -> str:
        return f"Service({self.name!r})"

    def operation(
        self,
        name: str,
        *,
        attributes: Mapping[str, types.AnyValue] | None = None,
        expected: type[BaseException] | Iterable[type[BaseException]] = (),
    ) -> Operation:
        """Return a context manager whose block is one run of an operation.

        Args:
            name: the operation; of few distinct values (no ids in it).
            attributes: set on this run.
            expected: exceptions that leave the outcome ok.

        Raises:
            TypeError: if `name` is not text or `expected` holds no exception types.

        Example:
            >>> cache = service("cache-service")
            >>> with cache.operation("clear_all") as op:
            ...     op.set_attribute("entries", 42)
        """
        operation = Operation(self._binding(name), _exception_types(expected) if expected else ())
        return operation if not attributes else _WithAttributes(operation, attributes)

    def start_operation(
        self, name: str, *, attributes: Mapping[str, types.AnyValue] | None = None
    ) -> Tracker:
        """Start a run that is ended by hand; it does not become the current operation.

        Args:
            name: the operation.
            attributes: set on this run.

        Raises:
            TypeError: if `name` is not text.
        """
        tracker = Tracker(self._binding(name))
        if attributes:
            _guarded_set(tracker.span, attributes)
        return tracker

    def record_operation(
        self,
        name: str,
        duration: float,
        error: BaseException | str | None = None,
        *,
        attributes: Mapping[str, types.AnyValue] | None = None,
    ) -> None:
        """Count a run that was measured elsewhere and has just ended.

        Args:
            name: the operation.
            duration: seconds, not negative.
            error: why it failed; `None` when it went well.
            attributes: set on this run.

        Raises:
            TypeError: if `name` is not text or `duration` is no number.
            ValueError: if `duration` is negative or not finite.
        """
        if isinstance(duration, bool) or not isinstance(duration, (int, float)):
            raise TypeError(
                f"duration is a number of seconds, not {type(duration).__name__}: give a float"
            )
        if not math.isfinite(duration) or duration < 0:
            raise ValueError(f"duration is {duration}: give seconds as a finite number >= 0")
        binding = self._binding(name)
        try:
            _record(binding, round(duration * 1e9), error, attributes)
        except Exception as internal:
            report_internal_error("recording an operation", internal)

    def track_memory(self, probe: Any) -> MemoryProbe:
        """Report memory as this service's, sampled every few seconds.

        Args:
            probe: a callable that returns bytes; or an object that is sized: numpy and torch
                arrays, bytes, text, containers to a bounded depth.

        Returns:
            what ends it with `close()`.

        Example:
            >>> buffers = service("preview-service").track_memory(lambda: 4096)
            >>> buffers.close()
        """
        made = MemoryProbe(self.name, probe)
        if len(memory_probes) < _MAX_MEMORY_PROBES:
            memory_probes.append(made)
        for listener in memory_listeners:
            listener(made)
        return made

    def track(self, operation: str | None = None, **options: Any) -> Callable[[_F], _F]:
        """Return `track(operation, service=<this service>, ...)`."""
        return track(operation, service=self.name, **options)

    def _binding(self, name: str) -> Binding:
        binding = self._bindings.get(name)
        if binding is None:
            if not isinstance(name, str) or not name:
                raise TypeError(
                    f"an operation's name is a non-empty text, not {name!r}: "
                    'write service.operation("clear_all")'
                )
            binding = Binding(self.name, name)
            # Names without bound (ids in them) are legal, if unwise: they are not remembered.
            if len(self._bindings) < 1_000:
                self._bindings[name] = binding
        return binding


class _WithAttributes(Operation):
    """An operation whose attributes are set once it has begun."""

    __slots__ = ("_attributes",)

    def __init__(self, operation: Operation, attributes: Mapping[str, Any]) -> None:
        super().__init__(operation._binding, operation._expected)
        self._attributes = attributes

    def __enter__(self) -> Operation:
        super().__enter__()
        self.set_attributes(self._attributes)
        return self


_services: dict[str, Service] = {}
_services_lock = threading.Lock()


def service(name: str) -> Service:
    """Return the service of a name, registering it at once.

    Args:
        name: a component of the process, such as `cache-service`.

    Raises:
        TypeError: if `name` is not a non-empty text.
    """
    found = _services.get(name) if isinstance(name, str) else None
    if found is None:
        if not isinstance(name, str) or not name:
            raise TypeError(
                f'a service\'s name is a non-empty text, not {name!r}: write service("cache-service")'
            )
        with _services_lock:
            found = _services.setdefault(name, Service(name))
    for listener in service_listeners:
        listener(name)
    return found


def declared_services() -> list[str]:
    """Return the names of the services declared so far."""
    return list(_services)


@overload
def track(target: _F, /) -> _F: ...


@overload
def track(
    operation: str | None = None,
    /,
    *,
    service: str | None = None,
    attributes: Mapping[str, types.AnyValue] | None = None,
    capture_args: Iterable[str] = (),
    expected: type[BaseException] | Iterable[type[BaseException]] = (),
    slow_threshold: float | None = None,
) -> Callable[[_F], _F]: ...


def track(
    target: Any = None,
    /,
    *,
    service: str | None = None,
    attributes: Mapping[str, types.AnyValue] | None = None,
    capture_args: Iterable[str] = (),
    expected: type[BaseException] | Iterable[type[BaseException]] = (),
    slow_threshold: float | None = None,
) -> Any:
    """Make every call of a callable an operation.

    For functions, coroutine functions, generators and async generators (whose duration is
    their whole life, the consumer's time included), methods, `classmethod` and
    `staticmethod` on either side of the decorator, callable objects, `functools.partial`,
    and classes (each public method that the class itself defines).

    Args:
        target: the callable, when used bare; else the operation's name. By default the
            callable's qualified name.
        service: the component it belongs to; by default the callable's module.
        attributes: set on every run.
        capture_args: parameters whose values become attributes `studio.argument.<name>`,
            cut at 256 characters; `self` never.
        expected: exceptions that mean "no" rather than "broken": the outcome stays ok.
        slow_threshold: seconds above which a run is slow.

    Returns:
        the wrapped callable, of the same kind and signature; or a decorator.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `capture_args` names no parameter, or `slow_threshold` is not positive.

    Example:
        >>> @track("resize", service="preview-service", capture_args=("path",))
        ... def resize(path: str) -> int:
        ...     return len(path)
        >>> resize("clip.mp4")
        8
    """
    name: str | None = None
    bare = target is not None and not isinstance(target, str)
    if not bare:
        name = target
        if name == "":
            raise TypeError('an operation\'s name is a non-empty text: write @track("resize")')
    if service is not None and (not isinstance(service, str) or not service):
        raise TypeError(
            f"service is a non-empty text, not {service!r}: leave it out for the module's name"
        )
    if attributes is not None and not isinstance(attributes, Mapping):
        raise TypeError(
            f"attributes is a mapping of names to values, not {type(attributes).__name__}"
        )
    captured = (capture_args,) if isinstance(capture_args, str) else tuple(capture_args)
    if "self" in captured or not all(isinstance(item, str) for item in captured):
        raise TypeError(f"capture_args holds parameter names, never self: got {captured!r}")
    if slow_threshold is not None and (
        isinstance(slow_threshold, bool)
        or not isinstance(slow_threshold, (int, float))
        or not slow_threshold > 0
    ):
        raise ValueError(f"slow_threshold is {slow_threshold!r}: give seconds as a number > 0")
    options = Options(_exception_types(expected), captured)

    def decorate(callable_: Any) -> Any:
        return _track(callable_, name, service, attributes, options, slow_threshold)

    return decorate(target) if bare else decorate


def _track(
    target: Any,
    name: str | None,
    service: str | None,
    attributes: Mapping[str, Any] | None,
    options: Options,
    slow_threshold: float | None,
) -> Any:
    if isinstance(target, (classmethod, staticmethod)):
        inner = _track(target.__func__, name, service, attributes, options, slow_threshold)
        return type(target)(inner)
    if inspect.isclass(target):
        from otel_studio.instrumenting import instrument_class

        return instrument_class(target, service, (), ("_*",), options)
    if not callable(target):
        raise TypeError(
            f"track() decorates a callable, a class, a classmethod or a staticmethod, not "
            f"{type(target).__name__}: put it directly above a def or a class"
        )
    home = service or _module_of(target)
    binding = Binding(home, name or _name_of(target), attributes)
    if slow_threshold is not None:
        slow_thresholds[home, binding.name] = float(slow_threshold)
    return wrap(target, binding, options)


def _module_of(target: Any) -> str:
    while hasattr(target, "func") and not hasattr(target, "__name__"):
        target = target.func
    return str(getattr(target, "__module__", None) or type(target).__module__)


def _name_of(target: Any) -> str:
    while hasattr(target, "func") and not hasattr(target, "__name__"):
        target = target.func
    name = getattr(target, "__qualname__", None) or type(target).__qualname__
    # A function made inside another reads better without the maker's "<locals>".
    return str(name).rpartition("<locals>.")[2]


def instrument(
    target: Any,
    service: str | None = None,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = ("_*",),
) -> Any:
    """Make the methods of an object or a class, or the functions of a module, operations.

    A class and a module are changed in place. An object goes on as it is, its class replaced
    by a subclass of it: `isinstance`, attributes, special methods and pickling stay as they
    were; an object that does not allow this is returned behind a proxy.

    Args:
        target: an object, a class or a module.
        service: the component; by default the module's name.
        include: patterns (`get_*`) of the names to track; by default all.
        exclude: patterns of names to leave alone; by default those with an underscore first.

    Returns:
        the class, the module, or the object to use from now on.

    Raises:
        TypeError: if the patterns or the service are no texts.

    Example:
        >>> import queue
        >>> jobs = instrument(queue.Queue(), service="jobs", include=("put", "get"))
    """
    from otel_studio import instrumenting

    if service is not None and (not isinstance(service, str) or not service):
        raise TypeError(
            f"service is a non-empty text, not {service!r}: leave it out for the module's name"
        )
    return instrumenting.instrument(target, service, _patterns(include), _patterns(exclude))


def current_operation() -> Operation | None:
    """Return the operation that the calling code runs in, or `None` outside any.

    Example:
        >>> current_operation() is None
        True
    """
    span = trace_api.get_current_span()
    return Operation(None, (), span) if span.is_recording() else None


# Helpers


def _patterns(value: str | Iterable[str] | None) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str) else tuple(value or ())
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"include and exclude hold name patterns as text, not {pattern!r}")
    return patterns


def _exception_types(
    expected: type[BaseException] | Iterable[type[BaseException]],
) -> tuple[type[BaseException], ...]:
    kinds = (expected,) if isinstance(expected, type) else tuple(expected)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(
                f"expected= holds exception types, not {kind!r}: write expected=(FileNotFoundError,)"
            )
    return kinds


def _guarded_set(span: Span, attributes: Mapping[str, Any]) -> None:
    try:
        span.set_attributes(attributes)
    except Exception as error:
        report_internal_error("setting an attribute", error)


def _fail_span(span: Span, error: BaseException | str) -> None:
    if isinstance(error, BaseException):
        mark_failed(span, error)
        return
    try:
        span.set_status(StatusCode.ERROR, str(error))
    except Exception as internal:
        report_internal_error("failing an operation", internal)


def _record(
    binding: Binding,
    duration_ns: int,
    error: BaseException | str | None,
    attributes: Mapping[str, Any] | None,
) -> None:
    tracer = get_tracer(binding.service)
    clock = getattr(getattr(tracer, "provider", None), "clock", None)
    end = time.time_ns() if clock is None else clock.time_ns()
    span = tracer.start_span(binding.name, start_time=end - duration_ns)
    span.set_attributes({**(attributes or {}), RECORDED_ATTRIBUTE: True})
    if error is not None:
        _fail_span(span, error)
    span.end(end_time=end)
