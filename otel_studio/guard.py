"""Keeps failures of ours away from the host program: logged once each, and counted."""

from __future__ import annotations

import functools
import logging
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

    Args:
        place: which part failed, in words a user can act on ("span processor X").
        error: what was raised.
    """
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
