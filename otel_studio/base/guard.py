"""Keeps failures of ours away from the host program: logged once each, and counted."""

from __future__ import annotations

import functools
import itertools
import logging
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from otel_studio.base.signal_handlers import code_of, is_frame_of, own_functions

logger = logging.getLogger("otel_studio")

_LOGGING_FILE = logging.Logger.handle.__code__.co_filename

P = ParamSpec("P")
T = TypeVar("T")

#: Internal failures since the process began, by the place that reported them.
internal_errors: Counter[str] = Counter()

#: Distinct places and messages remembered; past it, places count together and nothing new is said.
_MAX_REMEMBERED = 1_000
_OTHER_PLACE = "another place"
#: Notes that may wait to be written; past it further ones are only counted.
_MAX_NOTES = 1_000

#: How often each place failed: a number is taken in one step, so no thread loses another's.
_numbers: dict[str, itertools.count[int]] = {}
#: What was said, and the mark of whoever said it first.
_said: dict[tuple[str, str], object] = {}
#: Messages that wait for `write_notes`, each with its arguments and the exception it is about.
_notes: deque[tuple[str, tuple[Any, ...], BaseException | None]] = deque()


def report_internal_error(place: str, error: BaseException) -> None:
    """Count an internal failure, and log it with its traceback the first time.

    It runs the program's log handlers: inside a fold, in a finalizer and under a lock use
    `note_internal_error`.

    An exception of the program's own signal handler, such as a time limit's, is no failure of
    ours: it is raised again.

    Args:
        place: which part failed, in words a user can act on ("span processor X").
        error: what was raised.
    """
    if _count_failure(place, error) == 1:
        _log(*_failure(place, error))


def note_internal_error(place: str, error: BaseException) -> None:
    """Count an internal failure now, and leave its log record to `write_notes`.

    Takes no lock and runs no code of the program's, so it may be called from anywhere. An
    exception of a signal handler is raised again, as by `report_internal_error`.

    Args:
        place: as for `report_internal_error`.
        error: what was raised; it is held until it is written.
    """
    if _count_failure(place, error) == 1:
        _note(_failure(place, error))


def _count_failure(place: str, error: BaseException) -> int:
    """Return how often a place has failed, this time included."""
    if raised_by_signal_handler(error):
        raise error
    if place not in _numbers and len(_numbers) >= _MAX_REMEMBERED:
        place = _OTHER_PLACE
    number = next(_numbers.setdefault(place, itertools.count(1)))
    internal_errors[place] = max(internal_errors[place], number)
    return number


def _failure(place: str, error: BaseException) -> tuple[str, tuple[Any, ...], BaseException | None]:
    message = "%s failed and is ignored from here on in the log (failures are counted): %s: %s"
    return message, (place, type(error).__name__, error), error


def _note(note: tuple[str, tuple[Any, ...], BaseException | None]) -> None:
    if len(_notes) < _MAX_NOTES:
        _notes.append(note)


def write_notes() -> None:
    """Write the log records that wait; from ordinary code, and under no lock of ours.

    What handlers note meanwhile waits for the next call.
    """
    for _ in range(len(_notes)):
        try:
            note = _notes.popleft()
        except IndexError:  # another thread wrote it
            return
        _log(*note)


def has_notes() -> bool:
    """Tell whether log records wait for `write_notes`."""
    return bool(_notes)


def _log(message: str, args: tuple[Any, ...], error: BaseException | None) -> None:
    try:
        logger.warning(message, *args, exc_info=error)
    except Exception as raised:  # an argument's __str__, or a handler, may raise
        if raised_by_signal_handler(raised):
            raise


def is_ordinary_code() -> bool:
    """Tell whether the caller may run the program's handlers here.

    Not in a finalizer or a signal handler, which may have interrupted one that holds a lock,
    nor inside `logging`, whose handlers hold theirs. (Callbacks of weak references look like
    any other function.)
    """
    on_main = threading.get_ident() == threading.main_thread().ident
    handlers = _signal_handlers() if on_main else {}  # no other thread runs them
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename == _LOGGING_FILE:
            return False
        if any(is_frame_of(frame, function) for function in handlers.get(code, ())):
            return False
        frame = frame.f_back
    return True


def _signal_handlers() -> dict[Any, list[Any]]:
    """Return the functions of the handlers that the program has set for signals, by their code."""
    found: dict[Any, list[Any]] = {}
    # The part in C: `signal.getsignal` makes an enumeration's member of each of 64 answers.
    signals = sys.modules.get("_signal")
    if signals is not None:
        for handler in map(signals.getsignal, range(1, signals.NSIG)):
            for function in own_functions(handler) if callable(handler) else ():
                found.setdefault(code_of(function), []).append(function)
    return found


def raised_by_signal_handler(error: BaseException) -> bool:
    """Tell whether an exception comes out of a handler that the program set for a signal.

    Args:
        error: what was caught; handlers run between any two instructions, ours included.
    """
    traceback = error.__traceback__
    handlers = _signal_handlers() if traceback is not None else {}
    while handlers and traceback is not None:
        frame = traceback.tb_frame
        if any(is_frame_of(frame, function) for function in handlers.get(frame.f_code, ())):
            return True
        traceback = traceback.tb_next
    return False


def say(message: str, *args: Any) -> None:
    """Log a warning; a handler of the program's that raises harms nothing.

    Args:
        message: a `logging` format string.
        *args: what the format string names.
    """
    _log(message, args, None)


def warn_once(topic: str, key: str, message: str, *args: Any) -> None:
    """Log a warning once per (topic, key) in the life of the process.

    It runs the program's log handlers: inside a fold, in a finalizer and under a lock use
    `note_once`.

    Args:
        topic: what the warning is about ("cardinality").
        key: what tells one occurrence from another (a service's name).
        message: a `logging` format string.
        *args: what the format string names.
    """
    if _is_first(topic, key):
        _log(message, args, None)


def note_once(topic: str, key: str, message: str, *args: Any) -> None:
    """Leave a warning to `write_notes`, once per (topic, key) in the life of the process.

    Takes no lock and runs no code of the program's, so it may be called from anywhere.

    Args:
        topic: as for `warn_once`.
        key: likewise.
        message: likewise.
        *args: likewise; they are held until the warning is written.
    """
    if _is_first(topic, key):
        _note((message, args, None))


def _is_first(topic: str, key: str) -> bool:
    if (topic, key) in _said or len(_said) >= _MAX_REMEMBERED:
        return False
    mine = object()
    return _said.setdefault((topic, key), mine) is mine


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
    _notes.clear()
    _numbers.clear()
    internal_errors.clear()
