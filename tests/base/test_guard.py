"""What is noted now and written later, and what belongs to the program."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import otel_studio
from otel_studio.base import guard
from otel_studio.operations.binding import Binding

needs_signals = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="this system has no such signal"
)


def test_a_noted_failure_is_counted_at_once_and_written_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Inside a fold no handler runs; the record comes with its traceback, once."""
    for _ in range(3):
        try:
            raise OSError("gone")
        except OSError as error:
            guard.note_internal_error("a part", error)
    assert guard.internal_errors == {"a part": 3}
    assert caplog.records == []
    guard.write_notes()
    guard.write_notes()
    (record,) = caplog.records
    assert "a part failed" in record.getMessage()
    assert "OSError: gone" in record.getMessage()
    assert record.exc_info is not None


def test_reporting_and_noting_count_together(caplog: pytest.LogCaptureFixture) -> None:
    """A place that was reported is not said again because it was noted."""
    guard.report_internal_error("a part", OSError())
    guard.note_internal_error("a part", OSError())
    guard.write_notes()
    assert guard.internal_errors == {"a part": 2}
    assert len(caplog.records) == 1


def test_a_noted_warning_is_written_once(caplog: pytest.LogCaptureFixture) -> None:
    """Once per topic and key, whichever way it was said."""
    guard.note_once("topic", "key", "said %d", 1)
    guard.note_once("topic", "key", "said %d", 2)
    guard.warn_once("topic", "key", "said %d", 3)
    assert caplog.messages == []
    guard.write_notes()
    assert caplog.messages == ["said 1"]


def test_what_handlers_note_waits_for_the_next_time() -> None:
    """A handler that makes us fail while notes are written does not keep us there."""

    class Noting(logging.Handler):
        count = 0

        def emit(self, record: logging.LogRecord) -> None:
            self.count += 1
            guard.note_once("topic", str(self.count), "again")

    handler = Noting()
    guard.logger.addHandler(handler)
    try:
        guard.note_once("topic", "first", "first")
        guard.write_notes()
        assert handler.count == 1
        guard.write_notes()
        assert handler.count == 2
    finally:
        guard.logger.removeHandler(handler)


def test_what_cannot_be_said_is_left_out() -> None:
    """An argument that cannot be turned into text loses its own message alone."""

    class Silent:
        def __str__(self) -> str:
            raise ValueError

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    heard: list[str] = []
    handler = Raising()
    guard.logger.addHandler(handler)
    try:
        guard.note_once("topic", "a", "%s", Silent())
        guard.note_once("topic", "b", "heard")
        guard.write_notes()
    finally:
        guard.logger.removeHandler(handler)
    assert heard == ["heard"]


def test_notes_and_places_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bounds failures are still counted, together."""
    monkeypatch.setattr(guard, "_MAX_NOTES", 5)
    monkeypatch.setattr(guard, "_MAX_REMEMBERED", 10)
    for number in range(30):
        guard.note_internal_error(f"place {number}", OSError())
    assert len(guard._notes) == 5
    assert len(guard.internal_errors) == 11
    assert sum(guard.internal_errors.values()) == 30


def test_failures_of_many_threads_are_all_counted() -> None:
    """No thread loses another's."""
    start = threading.Barrier(4)

    def fail() -> None:
        start.wait()
        for _ in range(2_000):
            guard.note_internal_error("a part", OSError())

    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    guard.note_internal_error("a part", OSError())
    assert guard.internal_errors["a part"] == 8_001
    assert len(guard._notes) == 1


@pytest.mark.parametrize("tell", [guard.note_internal_error, guard.report_internal_error])
def test_what_a_signal_handler_raised_is_the_programs(tell: Any) -> None:
    """A time limit that happens to strike inside our code is raised again, and not counted."""

    def limit(_number: int, _frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGUSR1, limit)
    try:
        try:
            signal.raise_signal(signal.SIGUSR1)
        except TimeoutError as error:
            struck = error
        with pytest.raises(TimeoutError):
            tell("a part", struck)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not guard.internal_errors


def test_a_time_limit_strikes_a_handler_too() -> None:
    """What a signal handler raises while a log handler of the program runs is passed on."""

    def limit(_number: int, _frame: Any) -> None:
        raise TimeoutError

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            signal.raise_signal(signal.SIGUSR1)

    handler, before = Slow(), signal.signal(signal.SIGUSR1, limit)
    guard.logger.addHandler(handler)
    try:
        with pytest.raises(TimeoutError):
            guard.warn_once("topic", "key", "said")
    finally:
        guard.logger.removeHandler(handler)
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
def test_a_decorated_signal_handler_makes_no_handler_of_other_functions() -> None:
    """Its decorator's wrapper is theirs, too; inside the handler itself no handler may be run."""

    @otel_studio.track("handle", service="signals")
    def handle(*_: object) -> None:
        told.append(guard.is_ordinary_code())

    @otel_studio.track("work", service="signals")
    def work() -> bool:
        return guard.is_ordinary_code()

    told: list[bool] = []
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        assert work() is True
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == [False]


@contextlib.contextmanager
def handling(handler: Any) -> Iterator[None]:
    """Have a handler set inside the block."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@guard.guarded("a part", default=None)
def interrupted(then: Any = None) -> None:
    """Be a part of ours, where a signal comes or something of the program's is called."""
    signal.raise_signal(signal.SIGUSR1) if then is None else then()


class BrokenPort:
    """A failure of ours: no start of a run works."""

    def enter(self, context: object) -> None:
        raise RuntimeError("ours")

    def undo(self, context: object) -> None: ...


def unwrapped(function: Any) -> Any:
    """Decorate as many programs do: without `functools.wraps`."""

    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


class Limit:
    """Handles signals by a method, and when it is called."""

    def handle(self, *_: Any) -> None:
        raise TimeoutError

    def __call__(self, *_: Any) -> None:
        raise TimeoutError


def fail(*_: Any) -> None:
    raise TimeoutError


@needs_signals
@pytest.mark.parametrize(
    "decorate",
    [
        lambda handler: handler,
        otel_studio.track("handle", service="signals"),
        unwrapped,
        lambda handler: unwrapped(otel_studio.track("handle", service="signals")(handler)),
        lambda handler: otel_studio.track("handle", service="signals")(unwrapped(handler)),
        lambda handler: functools.partial(handler, 1),
        lambda _: otel_studio.track("handle", service="signals")(functools.partial(fail, 1)),
        lambda _: Limit(),
        lambda _: Limit().handle,
        lambda _: otel_studio.track("handle", service="signals")(Limit()),
        lambda _: otel_studio.track("handle", service="signals")(Limit().handle),
    ],
)
def test_what_a_decorated_handler_raises_is_the_programs(decorate: Any) -> None:
    """Whoever decorated it, and whatever kind of callable it is."""
    with handling(decorate(fail)), pytest.raises(TimeoutError):
        interrupted()
    assert not guard.internal_errors


@needs_signals
def test_what_a_decorators_own_code_raises_is_the_programs() -> None:
    """A time limit that is written in the decorator."""

    def limited(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*args: Any) -> None:
            function(*args)
            raise TimeoutError

        return inner

    for decorated in (limited(print), otel_studio.track("limit")(limited(lambda *_: None))):
        with handling(decorated), pytest.raises(TimeoutError):
            interrupted()
    assert not guard.internal_errors


@needs_signals
def test_a_failure_of_ours_in_a_tracked_handler_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted and goes no further, as everywhere."""

    @otel_studio.track("handle", service="signals")
    def handle(*_: Any) -> None: ...

    monkeypatch.setattr(Binding, "bind", lambda self: BrokenPort())
    with handling(handle):
        interrupted()
    assert guard.internal_errors == {"a part": 1}


@needs_signals
@pytest.mark.parametrize(
    ("handler", "other"),
    [
        (unwrapped(print), unwrapped(fail)),
        (Limit().handle, Limit().handle),
        (Limit(), Limit()),
        (otel_studio.track("one")(print), otel_studio.track("other")(fail)),
    ],
    ids=["decorator", "method", "object", "tracked"],
)
def test_what_shares_its_code_with_a_handler_is_no_handler(handler: Any, other: Any) -> None:
    """What fails in a part of ours is counted, though a handler has the same decorator or class."""
    with handling(handler):
        interrupted(other)
    assert guard.internal_errors == {"a part": 1}
