"""How a run ended: ok, error or cancelled; and what passes through to the caller."""

from __future__ import annotations

import asyncio
import contextvars
import traceback

import pytest
from opentelemetry.trace import StatusCode

from otel_studio import current_operation, service, track
from otel_studio.base import guard
from otel_studio.operations import seat

SERVICE = "outcomes"
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def failing(error: BaseException, **options):
    """A tracked function and a tracked coroutine function that raise the error."""

    @track("fail", service=SERVICE, **options)
    def fail() -> None:
        raise error

    @track("fail", service=SERVICE, **options)
    async def fail_later() -> None:
        await asyncio.sleep(0)
        raise error

    def block() -> None:
        with service(SERVICE).operation("fail", **options):
            raise error

    async def async_block() -> None:
        async with service(SERVICE).operation("fail", **options):
            raise error

    return {
        "function": fail,
        "coroutine": lambda: asyncio.run(fail_later()),
        "block": block,
        "async block": lambda: asyncio.run(async_block()),
    }


WAYS = ["function", "coroutine", "block", "async block"]


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_is_an_error_and_the_callers_own(s, way):
    """The caller gets the same object, and its traceback ends where it was raised."""
    problem = ValueError("disk is full")
    with pytest.raises(ValueError, match="disk is full") as raised:
        failing(problem)[way]()
    assert raised.value is problem
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None
    tail = traceback.extract_tb(problem.__traceback__)[-1]
    assert tail.line == "raise error"
    metrics = s.assert_operation(SERVICE, "fail", count=1, errors=1, active=0, outcome="error")
    assert metrics.last_error == "ValueError: disk is full"
    [span] = s.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "ValueError"
    [event] = span.events
    assert event.name == "exception"
    assert event.attributes["exception.message"] == "disk is full"


class Halt(BaseException):
    """As `SystemExit`, but asyncio and pytest do not know it."""


@pytest.mark.parametrize("kind", [SystemExit, Halt])
@pytest.mark.parametrize("way", ["function", "block"])
def test_what_ends_the_program_is_recorded_and_passes(s, way, kind):
    """`SystemExit` with a code, and any other BaseException: an error, and out it goes."""
    problem = kind(3)
    with pytest.raises(kind) as raised:
        failing(problem)[way]()
    assert raised.value is problem
    s.assert_operation(SERVICE, "fail", count=1, errors=1, active=0, outcome="error")


@pytest.mark.parametrize("way", WAYS)
def test_expected_exceptions_mean_no_rather_than_broken(s, way):
    """They pass as any other, and the run is ok; their subclasses too."""
    with pytest.raises(KeyError):
        failing(KeyError("gone"), expected=(LookupError, OSError))[way]()
    s.assert_operation(SERVICE, "fail", count=1, errors=0, outcome="ok")


def test_a_failure_said_by_hand_stays_when_an_expected_exception_follows(s):
    """`op.fail` is explicit: an expected exception does not take it back."""

    @track("fail", service=SERVICE, expected=KeyError)
    def fail() -> None:
        operation = current_operation()
        assert operation is not None
        operation.fail("broken")
        raise KeyError("gone")

    with pytest.raises(KeyError):
        fail()
    s.assert_operation(SERVICE, "fail", count=1, errors=1, outcome="error")


@pytest.mark.parametrize("way", ["coroutine", "async block"])
async def test_a_cancelled_task_is_cancelled_not_failed(s, way):
    """The run ends with the task; no error is counted."""
    begun = asyncio.Event()

    @track("wait", service=SERVICE)
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def block() -> None:
        async with service(SERVICE).operation("wait"):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait() if way == "coroutine" else block())
    await begun.wait()
    s.assert_operation(SERVICE, "wait", active=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    s.assert_operation(SERVICE, "wait", count=1, errors=0, cancelled=1, active=0)
    assert s.runs(SERVICE)[0].outcome == "cancelled"


async def test_a_timeout_cancels_what_it_cuts_short(s):
    """`asyncio.timeout`: the inner run is cancelled, and the outer one sees a TimeoutError."""

    @track("inner", service=SERVICE)
    async def inner() -> None:
        await asyncio.Event().wait()

    @track("outer", service=SERVICE)
    async def outer() -> None:
        async with asyncio.timeout(0):
            await inner()

    with pytest.raises(TimeoutError):
        await outer()
    s.assert_operation(SERVICE, "inner", count=1, errors=0, cancelled=1, active=0)
    s.assert_operation(SERVICE, "outer", count=1, errors=1, cancelled=0, active=0)


async def test_a_cancellation_that_is_caught_is_no_cancellation(s):
    """A run that goes on to its end after a cancellation is ok."""
    begun = asyncio.Event()

    @track("persist", service=SERVICE)
    async def persist() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "cleaned"
        return "never"

    task = asyncio.create_task(persist())
    await begun.wait()
    task.cancel()
    assert await task == "cleaned"
    s.assert_operation(SERVICE, "persist", count=1, cancelled=0, active=0, outcome="ok")


async def test_a_coroutine_that_is_closed_half_way(s):
    """A coroutine that is dropped while suspended is cancelled."""

    @track("wait", service=SERVICE)
    async def wait() -> None:
        await asyncio.sleep(0)

    coroutine = wait()
    coroutine.send(None)
    s.assert_operation(SERVICE, "wait", active=1)
    coroutine.close()
    s.assert_operation(SERVICE, "wait", count=1, cancelled=1, active=0)


async def test_a_task_group_with_a_failure(s):
    """The sibling of a failed task is cancelled, the group's own run fails."""

    @track("broken", service=SERVICE)
    async def broken() -> None:
        raise ValueError

    @track("sibling", service=SERVICE)
    async def sibling() -> None:
        await asyncio.Event().wait()

    @track("group", service=SERVICE)
    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sibling())
            await asyncio.sleep(0)
            tasks.create_task(broken())

    with pytest.raises(ExceptionGroup):
        await group()
    s.assert_operation(SERVICE, "broken", count=1, errors=1, parent="group")
    s.assert_operation(SERVICE, "sibling", count=1, cancelled=1, errors=0, parent="group")
    s.assert_operation(SERVICE, "group", count=1, errors=1, active=0)


def test_fail_without_an_exception(s):
    """`op.fail("...")` marks the run; the sentence is its error."""
    with service(SERVICE).operation("clear_all") as op:
        op.set_attribute("entries", 42)
        op.set_attributes({"disk": "sda", "ratio": 0.5})
        op.fail("disk is read-only")
    metrics = s.assert_operation(
        SERVICE,
        "clear_all",
        count=1,
        errors=1,
        outcome="error",
        attributes={"entries": 42, "disk": "sda", "ratio": 0.5},
    )
    assert metrics.last_error == "disk is read-only"


def test_fail_with_an_exception_that_was_caught(s):
    """`op.fail(error)` records type, message and place of an exception that goes no further."""
    with service(SERVICE).operation("get") as op:
        try:
            raise ConnectionError("refused")
        except ConnectionError as error:
            op.fail(error)
    metrics = s.assert_operation(SERVICE, "get", count=1, errors=1, outcome="error")
    assert metrics.last_error == "ConnectionError: refused"


def test_fail_with_a_cancellation(s):
    """`fail(CancelledError())` is a cancellation, as if it had left the block."""
    with service(SERVICE).operation("get") as op:
        op.fail(asyncio.CancelledError())
    tracker = service(SERVICE).start_operation("get")
    tracker.fail(asyncio.CancelledError())
    s.assert_operation(SERVICE, "get", count=2, errors=0, cancelled=2)


def test_the_current_operation(s):
    """`current_operation()` is the innermost one, with its span and trace id; else `None`."""
    assert current_operation() is None
    with service(SERVICE).operation("outer") as outer:
        with service(SERVICE).operation("inner") as inner:
            found = current_operation()
            assert found is not None
            assert found.span is inner.span
            assert (
                found.trace_id
                == outer.trace_id
                == format(inner.span.get_span_context().trace_id, "032x")
            )
        again = current_operation()
        assert again is not None
        assert again.span is outer.span
    assert current_operation() is None


def test_an_operation_object_is_for_one_run(s, said):
    """Entered twice it warns once, and the second block is no run."""
    operation = service(SERVICE).operation("get")
    with operation:
        pass
    for _ in range(3):
        with operation:
            pass
    s.assert_operation(SERVICE, "get", count=1, active=0)
    assert said.text.count("entered twice") == 1


def test_context_variables_set_inside_stay_set(s):
    """What a tracked function or block sets in a context variable, its caller sees."""

    @track("set", service=SERVICE)
    def set_it(value: str) -> None:
        variable.set(value)

    set_it("by function")
    assert variable.get() == "by function"

    @track("set", service=SERVICE)
    async def set_later(value: str) -> None:
        variable.set(value)

    async def main() -> str:
        await set_later("by coroutine")
        return variable.get()

    assert asyncio.run(main()) == "by coroutine"
    with service(SERVICE).operation("set"):
        variable.set("by block")
    assert variable.get() == "by block"


def test_an_exception_whose_text_raises(s):
    """Its own `__str__` failing does not stand in its way."""

    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    problem = Rude()
    with pytest.raises(Rude) as raised:
        failing(problem)["function"]()
    assert raised.value is problem
    s.assert_operation(SERVICE, "fail", count=1, errors=1, active=0)


def test_an_attribute_whose_text_raises(s):
    """The host sees nothing of it, and the run is counted."""

    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

        __repr__ = __str__

    with service(SERVICE).operation("get", attributes={"rude": Rude()}) as op:
        op.set_attribute("rude", Rude())
        op.set_attribute("fine", 1)
    guard.forget_said()  # the SDK's span raises, which is reported and harms nothing
    s.assert_operation(SERVICE, "get", count=1, outcome="ok", attributes={"fine": 1})


def test_slow_threshold_is_kept_for_the_operation(s):
    """`slow_threshold=` sets, in seconds, what is slow for this operation alone."""

    @track("slow", service=SERVICE, slow_threshold=0.5)
    def slow() -> None: ...

    slow()
    assert seat.current().declared.slow_thresholds[SERVICE, "slow"] == 0.5
