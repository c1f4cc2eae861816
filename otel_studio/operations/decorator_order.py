"""Warns where `@track` stands above a decorator that has registered the function untracked."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from otel_studio.base.guard import guarded
from otel_studio.operations.standing_in import TRACKED_MARK


class DecoratorOrderWarning(UserWarning):
    """`@track` stands above a route's decorator, where no request meets it."""


class _Route(NamedTuple):
    """What an application registered last.

    Attributes:
        decorator: the name of the method that does it.
        functions: what it kept.
    """

    decorator: str
    functions: tuple[Any, ...]

    def holds_untracked(self, function: Any) -> bool:
        """Tell whether it kept a function, and not a tracked one."""
        kept = any(each is function for each in self.functions)
        return kept and not hasattr(function, TRACKED_MARK)


def _last_of_flask(application: Any) -> _Route | None:
    deferred = getattr(application, "deferred_functions", None)
    if deferred is not None:  # a blueprint's, each in a closure until it is registered
        cells = deferred[-1].__closure__ or () if deferred else ()
        return _Route("route", tuple(cell.cell_contents for cell in cells))
    functions = application.view_functions
    return _Route("route", (next(reversed(functions.values())),)) if functions else None


def _last_of_starlette(application: Any) -> _Route | None:
    if not application.routes:
        return None
    route = application.routes[-1]
    methods = sorted(set(getattr(route, "methods", None) or ()) - {"HEAD"})
    name = methods[0].lower() if len(methods) == 1 else "route"
    return _Route(name, (getattr(route, "endpoint", None),))


def _last_of_aiohttp(table: Any) -> _Route | None:
    route: Any = table[-1] if len(table) else None
    handler = getattr(route, "handler", None)
    return None if handler is None else _Route(route.method.lower(), (handler,))


def _last_of_typer(application: Any) -> _Route | None:
    commands = application.registered_commands
    return _Route("command", (commands[-1].callback,)) if commands else None


#: How the last function is found that an object of a type has registered.
_LAST: Final[Mapping[tuple[str, str], Callable[[Any], _Route | None]]] = {
    ("flask.sansio.scaffold", "Scaffold"): _last_of_flask,
    ("flask.scaffold", "Scaffold"): _last_of_flask,
    ("starlette.applications", "Starlette"): _last_of_starlette,
    ("starlette.routing", "Router"): _last_of_starlette,
    ("aiohttp.web_routedef", "RouteTableDef"): _last_of_aiohttp,
    ("typer.main", "Typer"): _last_of_typer,
}
_MODULES: Final = tuple({module for module, _ in _LAST})


def warn_of_order(function: types.FunctionType) -> None:
    """Warn once if the function that is being tracked is an application's newest route already.

    Applications are looked for by name in the function's module and where it is decorated, and
    only where one of their libraries is loaded. What is not certain is not said.

    Args:
        function: what is decorated.
    """
    if not any(module in sys.modules for module in _MODULES):
        return
    depth = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        depth += 1
        frame = frame.f_back
    order = _order_for(function, frame)
    if order:
        warnings.warn(
            f"@track above a route's decorator does nothing: {function.__qualname__} was "
            f"registered before it was tracked. Write {order} above @track.",
            DecoratorOrderWarning,
            stacklevel=depth + 1,
        )


def _is_ours(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "otel_studio"


@guarded("looking for routes of a function", default="")
def _order_for(function: types.FunctionType, frame: types.FrameType) -> str:
    """Return the decorator that is to stand above, or nothing where none is known to be below."""
    spaces = [frame.f_locals]
    if function.__globals__ is not frame.f_locals:
        spaces.append(function.__globals__)
    if any(space.get(function.__name__) is function for space in spaces):
        return ""  # it has its name already, so it is no decorator that calls
    mine = list(_wrapped_by(function))
    for space in spaces:
        for name, value in list(space.items()):
            for kind in type(value).__mro__:
                find = _LAST.get((kind.__module__, kind.__name__))
                route = None if find is None else find(value)
                if route is not None and any(map(route.holds_untracked, mine)):
                    return f"@{name}.{route.decorator}(...)"
    return ""


def _wrapped_by(function: Any) -> Iterator[Any]:
    """Yield a function and those that it was made of, by other decorators in between."""
    for _ in range(100):
        yield function
        function = getattr(function, "__wrapped__", None)
        if function is None:
            return
