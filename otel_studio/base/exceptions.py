"""What an exception says of the run that it left: it failed, was cancelled, or was only steered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from otel_studio.base.failure import type_name
from otel_studio.base.grpc_status import grpc_status
from otel_studio.base.outcome import CANCELLED, ERROR, OK

#: Types whose answer is remembered; further ones are looked at anew each time.
_MAX_REMEMBERED: Final = 1_000
#: Exceptions of one group that are looked at.
_MAX_MEMBERS: Final = 1_000

#: Somebody wants the work no more. By name, so that no library is loaded to look.
_CANCELLATIONS: Final = frozenset(
    {
        "GeneratorExit",
        "KeyboardInterrupt",
        "asyncio.exceptions.CancelledError",
        "concurrent.futures._base.CancelledError",
        "curio.errors.CancelledError",
        "greenlet.GreenletExit",
        "grpc.FutureCancelledError",
        "huey.exceptions.CancelExecution",
        "trio.Cancelled",
        "twisted.internet.defer.CancelledError",
    }
)
#: A program's way of saying what is to happen next.
_STEERING: Final = frozenset(
    {
        "StopAsyncIteration",
        "StopIteration",
        "arq.worker.Retry",
        "celery.exceptions.Ignore",
        "celery.exceptions.Reject",
        "celery.exceptions.Retry",
        "django.core.exceptions.PermissionDenied",
        "django.http.response.Http404",
        "dramatiq.errors.Retry",
        "huey.exceptions.RetryTask",
        "tornado.gen.Return",
        "tornado.web.Finish",
    }
)
#: Answers of web servers that are raised, and where each has its status.
_ANSWERS: Final = {
    "aiohttp.web_exceptions.HTTPException": "status",
    "blacksheep.exceptions.HTTPException": "status",
    "bottle.HTTPResponse": "status_code",
    "cherrypy._cperror.HTTPError": "code",
    "cherrypy._cperror.HTTPRedirect": "status",
    "falcon.http_error.HTTPError": "status_code",
    "falcon.http_status.HTTPStatus": "status_code",
    "litestar.exceptions.http_exceptions.HTTPException": "status_code",
    "ninja.errors.HttpError": "status_code",
    "pyramid.httpexceptions.HTTPException": "code",
    "rest_framework.exceptions.APIException": "status_code",
    "sanic.exceptions.SanicException": "status_code",
    "starlette.exceptions.HTTPException": "status_code",
    "tornado.web.HTTPError": "status_code",
    "webob.exc.WSGIHTTPException": "code",
    "werkzeug.exceptions.HTTPException": "code",
}


class _Known(NamedTuple):
    """What is remembered of a type.

    Attributes:
        names: its own canonical name and those of its bases.
        outcome: of each exception of it, or what tells it.
    """

    names: frozenset[str]
    outcome: int | Callable[[Any], int]


_known: Final[WeakKeyDictionary[type, _Known]] = WeakKeyDictionary()


def outcome_of_exception(
    error: BaseException,
    expected: tuple[type[BaseException], ...] = (),
    expected_names: Collection[str] = (),
) -> int:
    """Return how a run ended that an exception left: `OK`, `ERROR` or `CANCELLED`.

    A group of exceptions is what its members are: an error if one of them is.

    Args:
        error: what left the run.
        expected: types whose exceptions are no errors.
        expected_names: canonical names of such types, or of bases of theirs.

    Example:
        >>> outcome_of_exception(SystemExit(0)) == OK
        True
        >>> outcome_of_exception(KeyError("gone"), expected_names={"LookupError"}) == OK
        True
    """
    if not isinstance(error, BaseExceptionGroup):
        return _of_one(error, expected, expected_names)
    found = OK
    waiting: list[BaseException] = [error]
    for _ in range(_MAX_MEMBERS):
        if not waiting:
            break
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup) and not _is_expected(one, expected, expected_names):
            waiting.extend(one.exceptions[:_MAX_MEMBERS])
            continue
        how = _of_one(one, expected, expected_names)
        if how == ERROR:
            return ERROR
        if how == CANCELLED:
            found = CANCELLED
    return found


def is_cancellation(error: BaseException) -> bool:
    """Tell whether an exception means that the run was cancelled, not that it failed.

    Args:
        error: what left the run.
    """
    return outcome_of_exception(error) == CANCELLED


def is_cancellation_name(name: str) -> bool:
    """Tell whether a canonical name is that of a cancellation."""
    return name in _CANCELLATIONS


def _of_one(
    error: BaseException, expected: tuple[type[BaseException], ...], names: Collection[str]
) -> int:
    if _is_expected(error, expected, names):
        return OK
    how = _known_of(type(error)).outcome
    if not callable(how):
        return how
    try:
        return how(error)
    except Exception:  # the program's own class does not keep what it says
        return ERROR


def _is_expected(
    error: BaseException, expected: tuple[type[BaseException], ...], names: Collection[str]
) -> bool:
    if expected and isinstance(error, expected):
        return True
    if not names:
        return False
    kind = type(error)
    return not _known_of(kind).names.isdisjoint(names) or any(_names(name, kind) for name in names)


def _names(name: str, kind: type) -> bool:
    """Tell whether a name leads to a type or a base of it, as in `requests.HTTPError`."""
    module, _, attribute = name.rpartition(".")
    found = getattr(sys.modules.get(module), "__dict__", {}).get(attribute)
    return any(base is found for base in kind.__mro__)


def _known_of(kind: type) -> _Known:
    try:
        known = _known.get(kind)
        if known is None:
            known = _look_at(kind)
            if len(_known) < _MAX_REMEMBERED:
                _known[kind] = known
    except TypeError:  # a type that its metaclass makes unhashable
        known = _look_at(kind)
    return known


def _look_at(kind: type[BaseException]) -> _Known:
    names = [type_name(base) for base in kind.__mro__ if issubclass(base, BaseException)]
    # `asyncio` has had it in another module, and may again.
    names = [
        "asyncio.exceptions.CancelledError"
        if name.startswith("asyncio.") and name.endswith(".CancelledError")
        else name
        for name in names
    ]
    return _Known(frozenset(names), _rule(kind, names))


def _rule(kind: type, names: list[str]) -> int | Callable[[Any], int]:
    if issubclass(kind, SystemExit):
        return _of_exit
    for name in names:
        if name in _CANCELLATIONS:
            return CANCELLED
        if name in _STEERING:
            return OK
        if name in _ANSWERS:
            field = _ANSWERS[name]
            return lambda error: _of_answer(error, field)
    if kind is Exception or any(name.startswith("grpc.") for name in names):
        return _of_grpc
    return ERROR


def _of_exit(error: SystemExit) -> int:
    code = error.code
    return OK if code is None or (isinstance(code, int) and code == 0) else ERROR


def _of_answer(error: Any, field: str) -> int:
    status = getattr(error, field, None)
    if not isinstance(status, int):  # werkzeug's holds a whole response instead
        status = getattr(getattr(error, "response", None), "status_code", None)
    return OK if isinstance(status, int) and status < 500 else ERROR


def _of_grpc(error: BaseException) -> int:
    status = grpc_status(error)
    return CANCELLED if status is not None and status.code == "CANCELLED" else ERROR
