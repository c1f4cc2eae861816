"""A generator is one run, from its first step to its end, and is never current for its consumer."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as context_api

from otel_studio import current_operation, service, track
from otel_studio.base.clock import ManualClock
from otel_studio.testing.isolation import isolated

SERVICE = "generators"
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(autouse=True)
def no_detach_failures(caplog):
    """OpenTelemetry's "Failed to detach context" is logged nowhere in this file."""
    yield
    assert "detach" not in caplog.text


@track("count", service=SERVICE)
def count(upto: int = 3):
    yield from range(upto)


@track("stream", service=SERVICE)
async def stream(upto: int = 3):
    for number in range(upto):
        await asyncio.sleep(0)
        yield number


def test_the_duration_covers_its_life_with_the_consumers_time():
    """From the first step to the end, what the consumer does in between included."""
    clock = ManualClock()
    with isolated(clock=clock) as s:
        generator = count(2)
        clock.advance(10)  # made, but not begun
        for _ in generator:
            clock.advance(0.25)
        assert s.operation(SERVICE, "count").max_duration_ms == 500


async def test_the_duration_of_an_async_one_covers_its_life():
    """As for a plain generator."""
    clock = ManualClock()
    with isolated(clock=clock) as s:
        async for _ in stream(2):
            clock.advance(0.25)
        assert s.operation(SERVICE, "stream").max_duration_ms == 500


def test_one_that_is_never_begun_is_no_run(s):
    """Its code has not run either."""
    generator = count()
    del generator
    gc.collect()
    assert "count" not in s.operations(SERVICE)


def test_while_suspended_it_is_active(s):
    """It counts as running until its end."""
    generator = count()
    next(generator)
    s.assert_operation(SERVICE, "count", count=0, active=1)
    list(generator)
    s.assert_operation(SERVICE, "count", count=1, active=0)


def test_it_is_current_in_its_own_code_and_never_in_its_consumers(s):
    """Children of its code are its children; those of the consumer are the consumer's."""
    inside = []

    @track("produce", service=SERVICE)
    def produce():
        for number in range(2):
            with service(SERVICE).operation("inner"):
                inside.append(trace.get_current_span().get_span_context().trace_id)
            yield number

    with service(SERVICE).operation("consume") as consumer:
        for _ in produce():
            assert trace.get_current_span() is consumer.span
            with service(SERVICE).operation("outer"):
                pass
        assert trace.get_current_span() is consumer.span
    s.assert_operation(SERVICE, "produce", parent="consume")
    s.assert_operation(SERVICE, "inner", count=2, parent="produce")
    s.assert_operation(SERVICE, "outer", count=2, parent="consume")
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_an_async_one_is_current_in_its_own_code_only(s):
    """The same across awaits."""

    @track("produce", service=SERVICE)
    async def produce():
        for number in range(2):
            async with service(SERVICE).operation("inner"):
                await asyncio.sleep(0)
            yield number

    async with service(SERVICE).operation("consume") as consumer:
        async for _ in produce():
            assert trace.get_current_span() is consumer.span
            with service(SERVICE).operation("outer"):
                await asyncio.sleep(0)
    s.assert_operation(SERVICE, "inner", count=2, parent="produce")
    s.assert_operation(SERVICE, "outer", count=2, parent="consume")


def test_current_operation_inside_a_generator(s):
    """`current_operation()` in its code is its run."""

    @track("produce", service=SERVICE)
    def produce():
        yield 1
        operation = current_operation()
        assert operation is not None
        operation.set_attribute("items", 2)
        yield 2

    list(produce())
    s.assert_operation(SERVICE, "produce", attributes={"items": 2})


def test_a_block_that_stays_open_over_a_yield(s):
    """A `with operation` around a yield holds for the generator's code alone."""

    @track("produce", service=SERVICE)
    def produce():
        with service(SERVICE).operation("held"):
            yield 1
            with service(SERVICE).operation("inner"):
                pass
            yield 2

    for _ in produce():
        assert current_operation() is None
    s.assert_operation(SERVICE, "held", parent="produce")
    s.assert_operation(SERVICE, "inner", parent="held")


def test_two_of_them_interleaved(s):
    """Neither becomes the parent of the other."""
    list(zip(count(), count(), strict=True))
    s.assert_operation(SERVICE, "count", count=2, active=0)
    assert all(span.parent is None for span in s.spans)


def test_values_sent_thrown_and_returned_pass_through(s):
    """`send`, `throw`, `return` and `yield from` work as on the generator itself."""

    @track("talk", service=SERVICE)
    def talk():
        heard = []
        while True:
            try:
                word = yield list(heard)
            except ValueError as error:
                heard.append(f"caught {error}")
                continue
            if word is None:
                return "bye"
            heard.append(word)

    def outer():
        return (yield from talk())

    generator = outer()
    assert next(generator) == []
    assert generator.send("a") == ["a"]
    assert generator.throw(ValueError("b")) == ["a", "caught b"]
    with pytest.raises(StopIteration) as stopped:
        generator.send(None)
    assert stopped.value.value == "bye"
    s.assert_operation(SERVICE, "talk", count=1, errors=0, outcome="ok")


def test_an_exception_of_its_own(s):
    """It is the same object, its traceback ends in the generator, and the run failed."""
    problem = ValueError("no")

    @track("fail", service=SERVICE)
    def fail():
        yield 1
        raise problem

    with pytest.raises(ValueError, match="no") as raised:
        list(fail())
    assert raised.value is problem
    assert raised.traceback[-1].name == "fail"
    s.assert_operation(SERVICE, "fail", count=1, errors=1, active=0, outcome="error")


def test_an_exception_thrown_in_that_leaves_it(s):
    """It is an error of the run."""
    generator = count()
    next(generator)
    with pytest.raises(KeyError):
        generator.throw(KeyError("x"))
    s.assert_operation(SERVICE, "count", count=1, errors=1, active=0)


def test_expected_exceptions_leave_it_ok(s):
    """As for a function."""

    @track("fail", service=SERVICE, expected=LookupError)
    def fail():
        yield 1
        raise KeyError("gone")

    with pytest.raises(KeyError):
        list(fail())
    s.assert_operation(SERVICE, "fail", count=1, errors=0, outcome="ok")


def test_closed_early_it_is_cancelled(s):
    """Not an error; its `finally` has run, inside its own run."""
    cleaned = []

    @track("produce", service=SERVICE)
    def produce():
        try:
            yield 1
            yield 2
        finally:
            with service(SERVICE).operation("clean"):
                cleaned.append(True)

    generator = produce()
    next(generator)
    generator.close()
    assert cleaned == [True]
    s.assert_operation(SERVICE, "produce", count=1, errors=0, cancelled=1, outcome="cancelled")
    s.assert_operation(SERVICE, "clean", parent="produce")


def test_closed_early_and_returning_it_is_cancelled_too(s):
    """A generator that answers the close with a return was cut short all the same."""

    @track("produce", service=SERVICE)
    def produce():
        try:
            yield 1
        except GeneratorExit:
            return

    generator = produce()
    next(generator)
    generator.close()
    s.assert_operation(SERVICE, "produce", count=1, cancelled=1)


def test_one_that_ignores_the_close_answers_as_it_would_unwrapped(s):
    """RuntimeError to whoever closes; the run goes on and ends when the generator does."""

    @track("stubborn", service=SERVICE)
    def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    generator = stubborn()
    next(generator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        generator.close()
    assert list(generator) == []
    s.assert_operation(SERVICE, "stubborn", count=1, active=0)


def test_collected_as_garbage_it_is_cancelled(s):
    """Dropped half-way, by itself or in a cycle, its run ends."""
    for cycle in (False, True):
        generator = count()
        next(generator)
        if cycle:
            holder = [generator]
            holder.append(holder)
            del holder
        del generator
        gc.collect()
    s.assert_operation(SERVICE, "count", count=2, cancelled=2, active=0)


def test_break_in_a_for_loop(s):
    """The loop drops the generator: cancelled, and the consumer's context is untouched."""
    with service(SERVICE).operation("consume") as consumer:
        for _ in count():
            break
        gc.collect()
        assert trace.get_current_span() is consumer.span
    s.assert_operation(SERVICE, "count", count=1, cancelled=1, active=0)


def test_begun_in_one_thread_and_ended_in_another(s):
    """The context of neither thread is disturbed."""
    generator = count()
    next(generator)
    rest = []

    def finish() -> None:
        rest.extend(generator)
        assert current_operation() is None

    thread = threading.Thread(target=finish)
    thread.start()
    thread.join()
    assert rest == [1, 2]
    assert current_operation() is None
    s.assert_operation(SERVICE, "count", count=1, active=0, outcome="ok")


async def test_an_async_one_closed_from_another_task(s):
    """`aclose` in another task: cancelled, its `finally` runs, nothing is logged."""
    cleaned = []

    @track("produce", service=SERVICE)
    async def produce():
        try:
            with service(SERVICE).operation("held"):
                yield 1
                yield 2
        finally:
            await asyncio.sleep(0)
            cleaned.append(current_operation() is not None)

    generator = produce()

    async def begin() -> None:
        await anext(generator)

    await asyncio.create_task(begin())
    await asyncio.create_task(generator.aclose())
    assert cleaned == [True]
    s.assert_operation(SERVICE, "produce", count=1, errors=0, cancelled=1, active=0)
    s.assert_operation(SERVICE, "held", count=1, cancelled=1, active=0)


async def test_an_async_one_that_is_dropped(s):
    """The event loop closes it: cancelled."""
    generator = stream()
    await anext(generator)
    del generator
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    s.assert_operation(SERVICE, "stream", count=1, cancelled=1, active=0)


async def test_an_async_one_whose_task_is_cancelled(s):
    """Cancelled, also where the cancellation strikes inside an await of its own."""
    begun = asyncio.Event()

    @track("wait", service=SERVICE)
    async def wait():
        yield 1
        begun.set()
        await asyncio.Event().wait()
        yield 2

    async def consume() -> None:
        async for _ in wait():
            pass

    task = asyncio.create_task(consume())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    s.assert_operation(SERVICE, "wait", count=1, errors=0, cancelled=1, active=0)


async def test_values_sent_and_thrown_into_an_async_one(s):
    """`asend` and `athrow` work as on the generator itself."""

    @track("talk", service=SERVICE)
    async def talk():
        heard = []
        while True:
            try:
                heard.append((yield list(heard)))
            except ValueError as error:
                heard.append(f"caught {error}")

    generator = talk()
    assert await anext(generator) == []
    assert await generator.asend("a") == ["a"]
    assert await generator.athrow(ValueError("b")) == ["a", "caught b"]
    with pytest.raises(ZeroDivisionError):
        await generator.athrow(ZeroDivisionError())
    s.assert_operation(SERVICE, "talk", count=1, errors=1, active=0)


def test_context_variables_are_shared_as_without_tracking(s):
    """What its code sets is seen by the consumer and the other way round."""

    @track("produce", service=SERVICE)
    def produce():
        seen = variable.get()
        variable.set("by generator")
        yield seen
        yield variable.get()

    token = variable.set("by consumer")
    generator = produce()
    assert next(generator) == "by consumer"
    assert variable.get() == "by generator"
    variable.set("by consumer again")
    assert next(generator) == "by consumer again"
    generator.close()
    variable.reset(token)


def test_baggage_that_its_code_attaches_stays_with_it(s):
    """OpenTelemetry's own context is the generator's from step to step, and not its consumer's."""

    @track("produce", service=SERVICE)
    def produce():
        context_api.attach(baggage.set_baggage("tenant", "blue"))
        yield baggage.get_baggage("tenant")
        yield baggage.get_baggage("tenant")

    assert [(item, baggage.get_baggage("tenant")) for item in produce()] == [
        ("blue", None),
        ("blue", None),
    ]


def test_no_cycle_keeps_an_exception_alive():
    """An exception that was thrown in does not wait for the garbage collector."""
    import weakref

    class Big(Exception):
        pass

    @track("swallow", service=SERVICE)
    def swallow():
        while True:
            try:
                yield
            except Big:
                pass

    with isolated():
        generator = swallow()
        next(generator)
        problem = Big()
        alive = weakref.ref(problem)
        generator.throw(problem)
        gc.disable()
        try:
            problem.__traceback__ = None
            del problem
            assert alive() is None
        finally:
            gc.enable()
        generator.close()


def test_abandoned_where_even_the_close_never_comes(s, caplog):
    """A run whose generator's frame is gone without an end leaves the active ones."""
    caplog.set_level(logging.WARNING)
    from otel_studio.operations.binding import Binding
    from otel_studio.operations.wrapping import _Suspended

    life = _Suspended(Binding(SERVICE, "vanish").bind())
    s.assert_operation(SERVICE, "vanish", active=1)
    del life
    gc.collect()
    s.assert_operation(SERVICE, "vanish", active=0, abandoned=1, count=0)
