"""Operations: the decorators and context managers, on the OpenTelemetry API alone."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from opentelemetry import trace as trace_api
from opentelemetry.util import types

from otel_studio.operations import instrumenting
from otel_studio.operations.instrumenting import Plan
from otel_studio.operations.runs import Operation, Tracker
from otel_studio.operations.services import MemoryProbe, Service, exception_types, service
from otel_studio.operations.wrapping import Options, wrap

__all__ = [
    "MemoryProbe",
    "Operation",
    "Service",
    "Tracker",
    "current_operation",
    "instrument",
    "service",
    "track",
]

#: What can be decorated; a type checker sees the same thing come back.
_F = TypeVar("_F", bound="Callable[..., Any] | classmethod[Any, Any, Any] | staticmethod[Any, Any]")
_T = TypeVar("_T")
#: Dimensions that every operation's metrics have.
_OWN_LABELS = frozenset({"studio.service", "studio.operation", "error.type"})


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
    labels: str | Iterable[str] = (),
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
    labels: str | Iterable[str] = (),
) -> Any:
    """Make every call of a callable an operation.

    For functions, coroutine functions, generators and async generators (whose duration is
    their whole life, the consumer's time included), methods, `classmethod` and
    `staticmethod` on either side of the decorator, callable objects, `functools.partial`,
    and classes (each public method that the class itself defines; the name, where one is
    given, stands for the class's in front of the method's).

    Args:
        target: the callable, when used bare; else the operation's name. By default the
            callable's qualified name.
        service: the component it belongs to; by default the callable's module.
        attributes: set on every run.
        capture_args: parameters whose values become attributes `studio.argument.<name>`,
            cut at 256 characters; `self` never.
        expected: exceptions that mean "no" rather than "broken": the outcome stays ok.
        slow_threshold: seconds above which a run is slow.
        labels: attributes that become dimensions of the operation's metrics, such as `tenant`:
            of few values. At most 50 sets of values are told apart, further runs are counted as
            `__other__`. No other attribute ever becomes a dimension.

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
    captured = _texts(capture_args, "capture_args holds parameter names")
    if "self" in captured:
        raise TypeError("capture_args names 'self', which is never captured: leave it out")
    if slow_threshold is not None and (
        isinstance(slow_threshold, bool)
        or not isinstance(slow_threshold, (int, float))
        or not slow_threshold > 0
    ):
        raise ValueError(f"slow_threshold is {slow_threshold!r}: give seconds as a number > 0")
    label_names = _texts(labels, "labels holds names of attributes")
    for label in label_names:
        if label in _OWN_LABELS or not label:
            raise ValueError(
                f"labels names {label!r}, which is no attribute to tell runs apart by: the "
                "metrics have the operation, the service and the error's type already"
            )
    plan = Plan(
        labels=label_names,
        service=service,
        prefix=name,
        attributes=None if attributes is None else dict(attributes),
        slow_threshold=None if slow_threshold is None else float(slow_threshold),
        options=Options(exception_types(expected), captured),
    )
    return _track(target, plan) if bare else functools.partial(_track, plan=plan)


def _track(target: Any, plan: Plan) -> Any:
    if isinstance(target, (classmethod, staticmethod)):
        return type(target)(_track(target.__func__, plan))
    if inspect.isclass(target):
        return instrumenting.instrument_class(target, plan)
    if not callable(target):
        raise TypeError(
            f"track() decorates a callable, a class, a classmethod or a staticmethod, not "
            f"{type(target).__name__}: put it directly above a def or a class"
        )
    home = plan.service or _module_of(target)
    name = plan.prefix or _name_of(target)
    return wrap(target, plan.binding(home, name), plan.options)


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
    target: _T,
    service: str | None = None,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = ("_*",),
) -> _T:
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
        TypeError: if the patterns or the service are no texts, or the class is built in.

    Example:
        >>> import queue
        >>> jobs = instrument(queue.Queue(), service="jobs", include=("put", "get"))
    """
    if service is not None and (not isinstance(service, str) or not service):
        raise TypeError(
            f"service is a non-empty text, not {service!r}: leave it out for the module's name"
        )
    patterns = "include and exclude hold name patterns"
    plan = Plan(service, _texts(include or (), patterns), _texts(exclude, patterns))
    return instrumenting.instrument(target, plan)  # type: ignore[no-any-return]


def current_operation() -> Operation | None:
    """Return the operation that the calling code runs in, or `None` outside any.

    Example:
        >>> current_operation() is None
        True
    """
    span = trace_api.get_current_span()
    return Operation(None, (), span) if span.is_recording() else None


def _texts(value: str | Iterable[str], what: str) -> tuple[str, ...]:
    """Return one text or several as a tuple.

    Raises:
        TypeError: if it is anything else.
    """
    texts = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{what} as text, not {text!r}: give a text or several in a tuple")
    return texts
