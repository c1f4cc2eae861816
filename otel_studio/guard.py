"""Keeps failures of ours away from the host program: logged once each, and counted."""

from __future__ import annotations

import functools
import logging
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

logger = logging.getLogger("otel_studio")

P = ParamSpec("P")
T = TypeVar("T")

#: Internal failures since the process began, by the place that reported them.
internal_errors: Counter[str] = Counter()

#: Distinct messages remembered for `warn_once`; past it, new ones are only counted.
_MAX_REMEMBERED = 1_000
_said: set[tuple[str, str]] = set()


def report_internal_error(place: str, error: BaseException) -> None:
    """Count an internal failure, and log it with its traceback the first time.

    An exception of the program's own signal handler, such as a time limit's, is no failure of
    ours: it is raised again.

    Args:
        place: which part failed, in words a user can act on ("span processor X").
        error: what was raised.
    """
    if raised_by_signal_handler(error):
        raise error
    internal_errors[place] += 1
    if internal_errors[place] == 1:
        try:
            logger.warning(
                "%s failed and is ignored from here on in the log (failures are counted): %s: %s",
                place,
                type(error).__name__,
                error,
                exc_info=error,
            )
        except Exception:  # the error's own __str__, or a handler, may raise
            pass


def raised_by_signal_handler(error: BaseException) -> bool:
    """Tell whether an exception comes out of a handler that the program set for a signal.

    Args:
        error: what was caught; handlers run between any two instructions, ours included.
    """
    signals = sys.modules.get("signal")
    traceback = error.__traceback__
    if signals is None or traceback is None:
        return False
    codes = {_code_of(signals.getsignal(number)) for number in signals.valid_signals()} - {None}
    while codes and traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False


def _code_of(handler: Any) -> Any:
    while isinstance(handler, functools.partial):
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    called = getattr(type(handler), "__call__", None)  # noqa: B004  (its code is wanted)
    return getattr(handler, "__code__", None) or getattr(called, "__code__", None)


def warn_once(topic: str, key: str, message: str, *args: Any) -> None:
    """Log a warning once per (topic, key) in the life of the process.

    Args:
        topic: what the warning is about ("cardinality").
        key: what tells one occurrence from another (a service's name).
        message: a `logging` format string.
        *args: what the format string names.
    """
    if (topic, key) in _said or len(_said) >= _MAX_REMEMBERED:
        return
    _said.add((topic, key))
    try:
        logger.warning(message, *args)
    except Exception:  # a handler of the host may raise; that is not ours to pass on
        pass


def guarded(place: str, default: T) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator: an exception is reported as an internal error and becomes `default`.

    Args:
        place: as for `report_internal_error`.
        default: what the caller gets when the function fails.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                report_internal_error(place, error)
                return default

        return wrapper

    return decorate


def forget_said() -> None:
    """Forget what was warned of and counted, so that each test starts fresh."""
    _said.clear()
    internal_errors.clear()
