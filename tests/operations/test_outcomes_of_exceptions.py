"""What each kind of exception makes of a run: an error, a cancellation, or nothing at all."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import subprocess
import sys
import textwrap
from typing import Any

import celery.exceptions
import grpc
import pytest
import starlette.exceptions
import trio
import trio.testing
import werkzeug.exceptions
from aiohttp import web

from otel_studio import api, service, track
from otel_studio.base import exceptions
from otel_studio.base.exceptions import outcome_of_exception
from otel_studio.base.outcome import CANCELLED, ERROR, OK

from both_providers import PROVIDERS, studio_on

SERVICE = "outcomes"
numbers = itertools.count(1)


def aborted(status: int) -> BaseException:
    """What Flask's `abort` raises for a response of one's own."""
    try:
        werkzeug.exceptions.abort(werkzeug.Response(status=status))
    except werkzeug.exceptions.HTTPException as error:
        return error


def trio_cancelled() -> BaseException:
    """What trio raises in a scope that is cancelled."""
    found: list[BaseException] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                found.append(error)
                raise

    trio.run(main)
    return found[0]


class OwnExit(SystemExit):
    """A program's own way of ending."""


class OwnCancelled(asyncio.CancelledError):
    """A program's own cancellation."""


TABLE = {
    "exit 0": (SystemExit(0), OK),
    "exit None": (SystemExit(), OK),
    "exit 3": (SystemExit(3), ERROR),
    "exit with words": (SystemExit("usage: shop"), ERROR),
    "own exit 0": (OwnExit(0), OK),
    "interrupt": (KeyboardInterrupt(), CANCELLED),
    "generator closed": (GeneratorExit(), CANCELLED),
    "asyncio": (asyncio.CancelledError(), CANCELLED),
    "own asyncio": (OwnCancelled(), CANCELLED),
    "asyncio timeout": (TimeoutError(), ERROR),
    "future": (concurrent.futures.CancelledError(), CANCELLED),
    "trio": (trio_cancelled(), CANCELLED),
    "iterator": (StopIteration(), OK),
    "async iterator": (StopAsyncIteration(), OK),
    "celery retry": (celery.exceptions.Retry(), OK),
    "celery ignore": (celery.exceptions.Ignore(), OK),
    "celery reject": (celery.exceptions.Reject(), OK),
    "celery retries exceeded": (celery.exceptions.MaxRetriesExceededError(), ERROR),
    "aiohttp found": (web.HTTPFound("/"), OK),
    "aiohttp not found": (web.HTTPNotFound(), OK),
    "aiohttp broken": (web.HTTPInternalServerError(), ERROR),
    "starlette not found": (starlette.exceptions.HTTPException(404), OK),
    "starlette unavailable": (starlette.exceptions.HTTPException(503), ERROR),
    "werkzeug not found": (werkzeug.exceptions.NotFound(), OK),
    "werkzeug broken": (werkzeug.exceptions.InternalServerError(), ERROR),
    "werkzeug response": (aborted(409), OK),
    "werkzeug broken response": (aborted(502), ERROR),
    "grpc without status": (grpc.RpcError(), ERROR),
    "grpc future": (grpc.FutureCancelledError(), CANCELLED),
    "group of errors": (ExceptionGroup("", [ValueError(), KeyError()]), ERROR),
    "group of cancellations": (BaseExceptionGroup("", [asyncio.CancelledError()]), CANCELLED),
    "group of answers": (ExceptionGroup("", [web.HTTPFound("/"), StopIteration()]), OK),
    "answers and cancellations": (
        BaseExceptionGroup("", [web.HTTPFound("/"), KeyboardInterrupt()]),
        CANCELLED,
    ),
    "group in a group": (
        BaseExceptionGroup(
            "",
            [asyncio.CancelledError(), BaseExceptionGroup("", [SystemExit(0), SystemExit(1)])],
        ),
        ERROR,
    ),
}


def leaves_function(error: BaseException) -> None:
    """Let it leave a function."""

    @track("run", service=SERVICE)
    def run() -> None:
        raise error

    run()


def leaves_coroutine(error: BaseException) -> None:
    """Let it leave a coroutine, which no loop runs: it would take some of these for its own."""

    @track("run", service=SERVICE)
    async def run() -> None:
        raise error

    run().send(None)


def leaves_generator(error: BaseException) -> None:
    """Let it leave a generator."""

    @track("run", service=SERVICE)
    def run() -> Any:
        yield 1
        raise error

    list(run())


def leaves_async_generator(error: BaseException) -> None:
    """Let it leave an async generator."""

    @track("run", service=SERVICE)
    async def run() -> Any:
        yield 1
        raise error

    async def consume() -> None:
        async for _ in run():
            pass

    consume().send(None)


def leaves_block(error: BaseException) -> None:
    """Let it leave a block."""
    with service(SERVICE).operation("run"):
        raise error


def leaves_async_block(error: BaseException) -> None:
    """Let it leave an async block."""

    async def run() -> None:
        async with service(SERVICE).operation("run"):
            raise error

    run().send(None)


def said_in_block(error: BaseException) -> None:
    """Say it by hand in a block."""
    with service(SERVICE).operation("run") as op:
        op.fail(error)


def said_of_tracker(error: BaseException) -> None:
    """Say it by hand of a tracker."""
    service(SERVICE).start_operation("run").fail(error)


def said_of_recorded(error: BaseException) -> None:
    """Say it of a run that was measured elsewhere."""
    service(SERVICE).record_operation("run", 0.1, error)


WAYS = {
    function.__name__: function
    for function in (
        leaves_function,
        leaves_coroutine,
        leaves_generator,
        leaves_async_generator,
        leaves_block,
        leaves_async_block,
        said_in_block,
        said_of_tracker,
        said_of_recorded,
    )
}


def raises(way: str, error: BaseException) -> None:
    """Do it, and expect the same object back where it leaves something."""
    if way.startswith("said"):
        WAYS[way](error)
        return
    with pytest.raises(type(error)) as raised:
        WAYS[way](error)
    assert raised.value is error


def _passes(way: str, error: BaseException) -> bool:
    """Tell whether it leaves as it is: some ends of iterators become a RuntimeError."""
    if isinstance(error, StopIteration):
        return way in ("leaves_function", "leaves_block") or way.startswith("said")
    return way != "leaves_async_generator" or not isinstance(error, StopAsyncIteration)


@pytest.mark.parametrize(
    ("way", "name"),
    [(way, name) for way in WAYS for name, (error, _) in TABLE.items() if _passes(way, error)],
)
def test_every_way_out_says_the_same(s, way, name):
    """The outcome is the exception's, whichever way it leaves; what is no error leaves no trace."""
    error, how = TABLE[name]
    raises(way, error)
    s.assert_operation(
        SERVICE, "run", count=1, errors=how == ERROR, cancelled=how == CANCELLED, active=0
    )
    if how == OK:
        [span] = s.spans
        assert span.status.is_ok
        assert not span.events
        assert "error.type" not in span.attributes
    assert api.get_error_statistics().total_errors == (how == ERROR)


class OutOfStock(Exception):
    """A program's own error."""


class LastOutOfStock(OutOfStock):
    """One below it."""


@pytest.mark.patient
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("names", "error"),
    [
        ((f"{__name__}.OutOfStock",), LastOutOfStock()),
        (("LookupError",), KeyError("gone")),
        (("builtins.LookupError",), KeyError("gone")),
        (("not.there.Missing", "aiohttp.web.HTTPServerError"), web.HTTPBadGateway()),
        (("LookupError", "OSError"), ExceptionGroup("", [KeyError("a"), FileNotFoundError()])),
    ],
)
def test_the_setting_expected_errors(provider, way, names, error):
    """It names exceptions, their bases, or the place they are imported from; groups of them too."""
    with studio_on(provider, expected_errors=names) as s:
        raises(way, error)
        s.assert_operation(SERVICE, "run", count=1, errors=0, cancelled=0, outcome="ok")
    with studio_on(provider, expected_errors=("shop.Missing",)) as s:
        raises(way, error)
        s.assert_operation(SERVICE, "run", count=1, errors=1, outcome="error")


def test_expected_errors_in_a_group(s):
    """`expected=` of the decorator holds for the members of a group; one other is an error."""

    @track("run", service=SERVICE, expected=LookupError)
    def run(error: Exception) -> None:
        raise error

    for group in (
        ExceptionGroup("", [KeyError(), IndexError()]),
        ExceptionGroup("", [KeyError(), ValueError()]),
    ):
        with pytest.raises(ExceptionGroup):
            run(group)
    s.assert_operation(SERVICE, "run", count=2, errors=1)


def test_the_end_of_an_iterator_of_ones_own(s):
    """`__next__` and `__anext__` that are tracked end as they must: ok."""

    class Numbers:
        @track("next", service=SERVICE)
        def __next__(self) -> int:
            raise StopIteration

        def __iter__(self) -> Numbers:
            return self

        def __aiter__(self) -> Numbers:
            return self

        @track("anext", service=SERVICE)
        async def __anext__(self) -> int:
            raise StopAsyncIteration

    async def consume() -> list[int]:
        return [number async for number in Numbers()]

    assert list(Numbers()) == []
    assert asyncio.run(consume()) == []
    s.assert_operation(SERVICE, "next", count=1, errors=0, outcome="ok")
    s.assert_operation(SERVICE, "anext", count=1, errors=0, outcome="ok")


def test_trio_cancels_a_scope(s):
    """What trio's cancellation leaves is cancelled; a nursery of cancelled tasks too."""

    @track("sleep", service=SERVICE)
    async def sleep() -> None:
        await trio.sleep_forever()

    @track("nursery", service=SERVICE)
    async def nursery() -> None:
        async with trio.open_nursery() as children:
            children.start_soon(sleep)
            children.start_soon(sleep)

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as children:
                children.start_soon(nursery)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()

    trio.run(main)
    s.assert_operation(SERVICE, "sleep", count=2, errors=0, cancelled=2)
    s.assert_operation(SERVICE, "nursery", count=1, errors=0, cancelled=1)


def test_gevent_kills_a_greenlet():
    """A greenlet that is killed is cancelled, one whose `gevent.Timeout` is over has failed."""
    program = """
        import gevent
        import otel_studio as studio
        from otel_studio import api

        studio.configure(service_name="case", gpu=False)

        @studio.track("wait", service="jobs")
        def wait():
            gevent.sleep(60)

        @studio.track("timeout", service="jobs")
        def timeout():
            with gevent.Timeout(0.01):
                gevent.sleep(60)

        waiting = gevent.spawn(wait)
        gevent.sleep(0)
        waiting.kill()
        try:
            timeout()
        except gevent.Timeout:
            pass
        found = api.get_service_metrics("jobs").operation_metrics
        print([(name, m.count, m.errors, m.cancelled) for name, m in sorted(found.items())])
        studio.shutdown()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "[('timeout', 1, 1, 0), ('wait', 1, 0, 1)]", done.stderr


def test_celery_tasks_that_are_tried_again(s):
    """What a task raises to be tried again, or to be left out, is no error; the failure is."""
    # Of a name of its own each time: Celery tells of two tasks of one name.
    app = celery.Celery(f"shop{next(numbers)}", broker="memory://", set_as_current=False)
    app.conf.task_always_eager = True

    @app.task(bind=True, max_retries=2, name=f"{app.main}.send", shared=False)
    def send(task: Any) -> str:
        with service(SERVICE).operation("send"):
            if task.request.retries < 2:
                raise task.retry(countdown=0)
            raise ValueError("refused")

    @app.task(bind=True, name=f"{app.main}.drop", shared=False)
    def drop(task: Any) -> None:
        with service(SERVICE).operation("drop"):
            raise celery.exceptions.Ignore

    send.apply()
    drop.apply()
    app.close()
    s.assert_operation(SERVICE, "send", count=3, errors=1, cancelled=0)
    s.assert_operation(SERVICE, "drop", count=1, errors=0, cancelled=0)


async def test_aiohttp_answers_that_are_raised(s):
    """A handler's redirection and its "not found" are answers; what is broken is an error."""
    from aiohttp.test_utils import TestClient, TestServer

    @track("handle", service=SERVICE)
    async def handle(request: web.Request) -> web.Response:
        if request.path == "/found":
            raise web.HTTPFound("/there")
        if request.path == "/gone":
            raise web.HTTPGone
        raise web.HTTPServiceUnavailable

    app = web.Application()
    app.router.add_get("/{name}", handle)
    async with TestClient(TestServer(app)) as client:
        for path, status in (("/found", 302), ("/gone", 410), ("/broken", 503)):
            answered = await client.get(path, allow_redirects=False)
            assert answered.status == status
    s.assert_operation(SERVICE, "handle", count=3, errors=1, cancelled=0)


def test_an_answer_that_does_not_say_its_status():
    """A subclass whose status raises, or is no number, is an error, and nothing is raised."""

    class Odd(web.HTTPException):
        status_code = 404

        @property
        def status(self) -> int:
            raise RuntimeError("no status yet")

    assert outcome_of_exception(Odd.__new__(Odd)) == ERROR
    assert outcome_of_exception(werkzeug.exceptions.HTTPException()) == ERROR


def test_types_are_remembered_without_being_kept(monkeypatch):
    """The memory of types is bounded, and lets go of a type that nobody else holds."""
    monkeypatch.setattr(exceptions, "_MAX_REMEMBERED", len(exceptions._known) + 10)

    def make() -> None:
        kinds = [type(f"Error{number}", (ValueError,), {}) for number in range(50)]
        for kind in kinds:
            assert outcome_of_exception(kind()) == ERROR
        assert len(exceptions._known) <= exceptions._MAX_REMEMBERED

    make()
    import gc

    gc.collect()
    assert len(exceptions._known) <= exceptions._MAX_REMEMBERED - 10


def test_a_type_that_cannot_be_remembered():
    """An exception class that cannot be hashed is looked at all the same."""

    class Meta(type):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(cls, other: object) -> bool:
            return False

    class Unhashable(asyncio.CancelledError, metaclass=Meta):
        pass

    assert outcome_of_exception(Unhashable()) == CANCELLED


def test_no_library_is_loaded_to_look():
    """A program without asyncio, gRPC and the like does not get them for the sake of a look."""
    program = """
        import sys
        from otel_studio.base.exceptions import outcome_of_exception
        before = set(sys.modules)
        outcome_of_exception(ValueError("no"), (), {"celery.exceptions.Retry", "asyncio.X"})
        outcome_of_exception(Exception())
        print(sorted(set(sys.modules) - before), "asyncio" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[] False"
