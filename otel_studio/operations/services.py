"""Services: the components of a process, and the ways to run or record their operations."""

from __future__ import annotations

import time
import types as types_of_python
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, overload

from opentelemetry.util import types

from otel_studio.base.guard import report_internal_error
from otel_studio.base.limited import count_limited
from otel_studio.base.locks import new_lock
from otel_studio.base.outcome import RECORDED_ATTRIBUTE
from otel_studio.base.text import safe_line
from otel_studio.operations import seat
from otel_studio.operations.arguments import exception_types
from otel_studio.operations.binding import Binding
from otel_studio.operations.decorator import track
from otel_studio.operations.runs import (
    OpenOperationRun,
    OpenTracker,
    OperationRun,
    Tracker,
    fail_span,
    set_attributes,
)

#: What can be decorated.
_F = TypeVar("_F", bound="Callable[..., Any] | classmethod[Any, Any, Any] | staticmethod[Any, Any]")


class MemoryProbe:
    """Memory that a service holds, sampled until `close()`, or until the object is gone.

    Args:
        service: who holds it.
        source: a callable that returns bytes, or the object that is sized.
    """

    def __init__(self, service: str, source: Any) -> None:
        self._seat = seat.current()
        self.service = service
        self._kind = type(source).__name__
        self._source: Callable[[], Any] | None = self._held(source)
        self._tracked: list[Any] = []

    def __repr__(self) -> str:
        return f"MemoryProbe({self.service!r}, {self._kind})"

    def _held(self, source: Any) -> Callable[[], Any]:
        """Return what gives the source: an object, and a method's owner, are not kept alive."""
        try:
            if isinstance(source, types_of_python.MethodType):
                return weakref.WeakMethod(source, self._forget)
            if not callable(source):
                return weakref.ref(source, self._forget)
        except TypeError:  # lists, texts and the like
            pass
        return lambda: source

    def _forget(self, _: object) -> None:
        self._seat.forget_memory(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Closed: what is sampled is memory of this process, and sampled once.
        return MemoryProbe, (self.service, None)

    def track(self, tracker: Any) -> None:
        """Hand the source to a tracker of memory (see `process.service_memory`)."""
        source = None if self._source is None else self._source()
        if source is not None:
            self._tracked.append(tracker.track(self.service, source))

    def close(self) -> None:
        """Stop tracking; a second call does nothing."""
        self._seat.forget_memory(self)
        for tracked in self._tracked:
            tracked.close()
        self._tracked.clear()
        self._source = None


class Service:
    """A component inside the process; `service(name)` returns the same object for the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._bindings: dict[str, Binding] = {}

    def __repr__(self) -> str:
        return f"Service({self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return service, (self.name,)  # a copy and what is unpickled are the one of that name

    def operation(
        self,
        name: str,
        *,
        attributes: Mapping[str, types.AnyValue] | None = None,
        expected: type[BaseException] | Iterable[type[BaseException]] = (),
    ) -> OperationRun:
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
        kinds = exception_types(expected) if expected else ()
        return OpenOperationRun(self._binding(name), kinds, None, attributes)

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
        tracker = OpenTracker(self._binding(name))
        if attributes:
            set_attributes(tracker.span, attributes)
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
            ValueError: if `duration` is negative, or longer than what has passed since 1970.
        """
        if isinstance(duration, bool) or not isinstance(duration, (int, float)):
            raise TypeError(
                f"duration is a number of seconds, not {type(duration).__name__}: give a float"
            )
        if not 0 <= duration < time.time():
            raise ValueError(
                f"duration is {duration}: give seconds, from 0 to what has passed since 1970"
            )
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
        made._seat.track_memory(made)
        return made

    @overload
    def track(self, target: _F, /) -> _F: ...

    @overload
    def track(
        self,
        operation: str | None = None,
        /,
        *,
        attributes: Mapping[str, types.AnyValue] | None = None,
        capture_args: Iterable[str] = (),
        expected: type[BaseException] | Iterable[type[BaseException]] = (),
        slow_threshold: float | None = None,
        labels: str | Iterable[str] = (),
    ) -> Callable[[_F], _F]: ...

    def track(
        self,
        target: Any = None,
        /,
        *,
        attributes: Mapping[str, types.AnyValue] | None = None,
        capture_args: Iterable[str] = (),
        expected: type[BaseException] | Iterable[type[BaseException]] = (),
        slow_threshold: float | None = None,
        labels: str | Iterable[str] = (),
    ) -> Any:
        """Make every call of a callable an operation of this service; see `otel_studio.track`.

        Args:
            target: the callable, when used bare; else the operation's name. By default the
                callable's qualified name.
            attributes: set on every run.
            capture_args: parameters whose values become attributes.
            expected: exceptions that mean "no" rather than "broken": the outcome stays ok.
            slow_threshold: seconds above which a run is slow.
            labels: attributes that become dimensions of the operation's metrics.

        Returns:
            the wrapped callable, of the same kind and signature; or a decorator.

        Raises:
            TypeError: if an argument is of the wrong type, or a class is decorated.
            ValueError: if `capture_args` names no parameter, or `slow_threshold` is not positive.

        Example:
            >>> @service("cache-service").track("clear", slow_threshold=0.5)
            ... def clear() -> None: ...
        """
        decorated: Any = track(
            target,
            service=self.name,
            attributes=attributes,
            capture_args=capture_args,
            expected=expected,
            slow_threshold=slow_threshold,
            labels=labels,
        )
        return decorated

    def _binding(self, name: str) -> Binding:
        try:
            binding = self._bindings.get(name)
        except TypeError:  # what cannot be hashed is no text either
            binding = None
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


#: One object for one name, for the life of the process: programs keep them in globals.
_services: Final[dict[str, Service]] = {}
#: Those past the bound: for as long as somebody else holds them.
_passing: Final[weakref.WeakValueDictionary[str, Service]] = weakref.WeakValueDictionary()
_making: Final = new_lock()


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
                f"a service's name is a non-empty text, not {name!r}: "
                'write service("cache-service")'
            )
        name = safe_line(name)
        found = _services.get(name) or _made(name)
    seat.current().declare_service(found.name)
    return found


def _made(name: str) -> Service:
    """Return a service that is not known for good yet."""
    if len(_services) < seat.current().max_services:
        return _services.setdefault(name, Service(name))
    with _making:
        found = _passing.get(name)
        if found is None:
            found = _passing[name] = Service(name)
            count_limited("services")
    return found


def _record(
    binding: Binding,
    duration_ns: int,
    error: BaseException | str | None,
    attributes: Mapping[str, Any] | None,
) -> None:
    tracer = seat.current().get_tracer(binding.service)
    clock = getattr(getattr(tracer, "provider", None), "clock", None)
    end = time.time_ns() if clock is None else clock.time_ns()
    span = tracer.start_span(binding.name, start_time=end - duration_ns)
    span.set_attributes({**(attributes or {}), RECORDED_ATTRIBUTE: True})
    if error is not None:
        fail_span(span, error)
    span.end(end_time=end)
