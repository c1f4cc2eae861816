"""`track`: makes every call of a callable an operation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, TypeVar, overload

from opentelemetry.util import types

from otel_studio.operations.arguments import checked_service, exception_types, texts
from otel_studio.operations.binding import Binding
from otel_studio.operations.decorator_order import warn_of_order
from otel_studio.operations.descriptors import remade
from otel_studio.operations.tasks import track_inside
from otel_studio.operations.wrapping import Options, wrap

#: What can be decorated; a type checker sees the same thing come back.
_F = TypeVar("_F", bound="Callable[..., Any] | classmethod[Any, Any, Any] | staticmethod[Any, Any]")
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
    `staticmethod`, `property`, `functools.cached_property` and `partialmethod` on either side of
    the decorator. What stands for a callable object, a builtin or a `functools.partial` is of its
    type to anyone who asks, with its attributes. A Celery task, a Dramatiq actor or a Click command
    is returned itself, and the function that it runs is tracked. The methods of a whole class
    are `instrument`'s.

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
        TypeError: if an argument is of the wrong type, or a class is decorated.
        ValueError: if `capture_args` names no parameter, or `slow_threshold` is not positive.

    Warns:
        DecoratorOrderWarning: above a route's decorator (Flask, FastAPI, Starlette, aiohttp,
            Typer), which has registered the untracked function: `@app.get(...)` goes above
            `@track`.

    Example:
        >>> @track("resize", service="preview-service", capture_args=("path",))
        ... def resize(path: str) -> int:
        ...     return len(path)
        >>> resize("clip.mp4")
        8
    """
    name: str | None = None
    # By its type: `isinstance` would evaluate what stands for something that is made later.
    bare = target is not None and not issubclass(type(target), str)
    if not bare:
        name = target
        if name == "":
            raise TypeError('an operation\'s name is a non-empty text: write @track("resize")')
    checked_service(service)
    if attributes is not None and not isinstance(attributes, Mapping):
        raise TypeError(
            f"attributes is a mapping of names to values, not {type(attributes).__name__}"
        )
    captured = texts(capture_args, "capture_args holds parameter names")
    if "self" in captured:
        raise TypeError("capture_args names 'self', which is never captured: leave it out")
    if slow_threshold is not None and (
        isinstance(slow_threshold, bool)
        or not isinstance(slow_threshold, (int, float))
        or not slow_threshold > 0
    ):
        raise ValueError(f"slow_threshold is {slow_threshold!r}: give seconds as a number > 0")
    label_names = texts(labels, "labels holds names of attributes")
    for label in label_names:
        if label in _OWN_LABELS or not label:
            raise ValueError(
                f"labels names {label!r}, which is no attribute to tell runs apart by: the "
                "metrics have the operation, the service and the error's type already"
            )
    options = Options(exception_types(expected), captured)
    own_attributes = None if attributes is None else dict(attributes)
    threshold = None if slow_threshold is None else float(slow_threshold)

    def decorate(target: Any) -> Any:
        if track_inside(target, decorate):
            return target
        descriptor = remade(target, decorate)
        if descriptor is not None:
            return descriptor
        _check_target(target)
        if type(target) is FunctionType:
            warn_of_order(target)
        binding = Binding(
            service or _module_of(target),
            name or _name_of(target),
            own_attributes,
            slow_threshold=threshold,
            labels=label_names,
        )
        return wrap(target, binding, options)

    return decorate(target) if bare else decorate


def _check_target(target: Any) -> None:
    if inspect.isclass(target):
        raise TypeError(
            f"track() decorates functions and methods, not the class {_name_of(target)}: "
            "otel_studio.instrument() tracks the methods of a class"
        )
    if not callable(target):
        raise TypeError(
            f"track() decorates a callable, a classmethod or a staticmethod, not "
            f"{type(target).__name__}: put it directly above a def"
        )


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
