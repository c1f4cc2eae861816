"""`instrument`: tracks what is there already, one thing or each of several services by name."""

from __future__ import annotations

import dataclasses
import inspect
import operator
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from otel_studio.operations import instrumenting
from otel_studio.operations.arguments import checked_service, texts
from otel_studio.operations.instrumenting import Plan

_T = TypeVar("_T")
#: What no service is.
_PLAIN = (type(None), str, bytes, int, float, complex)


def instrument(
    target: _T,
    service: str | None = None,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = ("_*",),
) -> _T:
    """Make the methods of an object or a class, or the functions of a module, operations.

    A class and a module are changed in place. An object goes on as it is, its class replaced
    by a subclass of it, of which no hook of the class hears: `isinstance`, attributes, special
    methods and pickling stay as they were; an object that does not allow this is returned behind
    a proxy.

    Where `service` is not given, several services can be tracked at once, each under its own
    name:

    - A mapping of one of Python's own types, such as a `dict`: each value is tracked as the
      service that its key names. A value that needs a proxy is replaced by it.
    - An object that holds services and has no methods of its own: neither its class nor a base
      class from the same top-level package defines a method that would be tracked. Its services
      are its public attributes that are objects of classes of that package with a method to
      track, each named as the attribute is. Properties are not read; what comes from libraries,
      values and settings are left alone.

    An object that does have methods of its own is tracked itself, whatever it holds: give the
    services it holds as a mapping. With `service`, the target is that one service, also where
    it is a mapping.

    Args:
        target: an object, a class or a module; or several services, as said above.
        service: the component; by default the module's name.
        include: patterns (`get_*`) of the names to track; by default all.
        exclude: patterns of names to leave alone; by default those with an underscore first.

    Returns:
        what was given, or the proxy that is to be used from now on.

    Raises:
        TypeError: if the patterns or the service are no texts, the class is built in, a mapping
            holds what cannot be a service, or there is nothing to track and `service` is not
            given.

    Example:
        >>> import queue
        >>> jobs = instrument(queue.Queue(), service="jobs", include=("put", "get"))
        >>> queues = instrument({"uploads": queue.Queue(), "previews": queue.Queue()})
    """
    patterns = "include and exclude hold name patterns"
    plan = Plan(checked_service(service), texts(include or (), patterns), texts(exclude, patterns))
    found: Any = target
    if (
        service is not None
        or inspect.isclass(target)
        or isinstance(target, types.ModuleType)
        or instrumenting.is_tracked(target)
    ):
        found = instrumenting.instrument(target, plan)
    elif isinstance(target, Mapping) and _package_of(type(target)) is None:
        _check_services(target)
        _instrument_each(target, target, plan, operator.setitem)
    elif services := _held_services(target, plan):
        _instrument_each(target, services, plan, setattr)
    elif not plan.finds_methods(type(target).__mro__[:-1]):
        raise TypeError(
            f"instrument() finds nothing to track in a {type(target).__qualname__}, which has no "
            "such method and holds no service of its own package: give the services by name, as "
            'in instrument({"cache-service": cache})'
        )
    else:
        found = instrumenting.instrument(target, plan)
    return found  # type: ignore[no-any-return]


def _instrument_each(
    holder: Any, services: Mapping[str, Any], plan: Plan, put: Callable[[Any, str, Any], object]
) -> None:
    for name, service in list(services.items()):
        tracked = instrumenting.instrument(service, dataclasses.replace(plan, service=name))
        if tracked is service:
            continue
        try:
            put(holder, name, tracked)
        except Exception:
            raise TypeError(
                f"the service {name!r} can be tracked behind a proxy alone, and a "
                f"{type(holder).__qualname__} does not let one take its place: give the services "
                "in a dict"
            ) from None


def _check_services(services: Mapping[Any, Any]) -> None:
    for name, service in services.items():
        if not isinstance(name, str) or not name:
            raise TypeError(
                f"a mapping of services has their names as keys, not {name!r}: "
                'write instrument({"cache-service": cache})'
            )
        if isinstance(service, _PLAIN):
            raise TypeError(
                f"the service {name!r} in the mapping is of type {type(service).__name__}, which "
                "has nothing to track: give an object, a class or a module"
            )


def _held_services(holder: Any, plan: Plan) -> dict[str, Any]:
    """Return the services that an object holds by name; none where it has methods itself."""
    package = _package_of(type(holder))
    if package is None or plan.finds_methods(_classes_of(type(holder), package)):
        return {}
    return {
        name: held
        for name, held in _attributes_of(holder)
        if not name.startswith("_") and plan.finds_methods(_classes_of(type(held), package))
    }


def _attributes_of(holder: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object that reading runs no code for."""
    attributes: dict[str, Any] = {}
    for cls in reversed(type(holder).__mro__):
        for name, member in list(vars(cls).items()):
            if inspect.ismemberdescriptor(member):  # of `__slots__`
                if hasattr(holder, name):
                    attributes[name] = getattr(holder, name)
            elif not hasattr(type(member), "__get__"):
                attributes[name] = member
    yield from {**attributes, **getattr(holder, "__dict__", {})}.items()


def _classes_of(cls: type, package: str) -> list[type]:
    """Return a class and its bases, those that a package defines."""
    return [base for base in cls.__mro__ if _package_of(base) == package]


def _package_of(cls: type) -> str | None:
    """Return the top-level package that defines a class; `None` for Python itself."""
    package = str(cls.__module__).partition(".")[0]
    return None if package in sys.stdlib_module_names else package
