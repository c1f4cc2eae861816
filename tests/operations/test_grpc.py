"""gRPC's errors on both sides of a call: they say code and details, and the code says the rest."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from otel_studio import api, service, track
from otel_studio.base.grpc_status import grpc_status

from both_providers import PROVIDERS, studio_on

SERVICE = "users"
PATH = "/shop.Users/get"

OUTCOMES = {
    code.name: "cancelled" if code.name == "CANCELLED" else "error"
    for code in grpc.StatusCode
    if code is not grpc.StatusCode.OK
}


def same(data: bytes) -> bytes:
    """Stands for a message's serializer."""
    return data


class Users:
    """A servicer whose calls abort with the code that they are asked for."""

    @track("get", service=SERVICE)
    def get(self, request: bytes, context: Any) -> bytes:
        """Abort."""
        context.abort(grpc.StatusCode[request.decode()], "no user 7")
        raise AssertionError("it has raised")


class AsyncUsers:
    """The same for `grpc.aio`."""

    @track("get", service=SERVICE)
    async def get(self, request: bytes, context: Any) -> bytes:
        """Abort, a step later."""
        await asyncio.sleep(0)
        await context.abort(grpc.StatusCode[request.decode()], "no user 7")
        raise AssertionError("it has raised")


def handlers(servicer: Any) -> Any:
    """Return what a server calls."""
    methods = {"get": grpc.unary_unary_rpc_method_handler(servicer.get, same, same)}
    return (grpc.method_handlers_generic_handler("shop.Users", methods),)


@contextmanager
def served() -> Iterator[Any]:
    """Return the call of a server that runs."""
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=handlers(Users()))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel.unary_unary(PATH, same, same)
    finally:
        server.stop(None).wait(10)


async def calls_later(codes: list[str]) -> None:
    """Call a server of `grpc.aio` once for each code."""
    server = grpc.aio.server(handlers=handlers(AsyncUsers()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(PATH, same, same)
            for code in codes:
                with pytest.raises(grpc.aio.AioRpcError):
                    async with service(SERVICE).operation("call"):
                        await call(code.encode(), timeout=30)
    finally:
        await server.stop(None)


def calls(codes: list[str]) -> None:
    """Call a server once for each code."""
    with served() as call:
        for code in codes:
            with pytest.raises(grpc.RpcError), service(SERVICE).operation("call"):
                call(code.encode(), timeout=30)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_every_code_of_an_aborted_call(kind, provider):
    """It failed on both sides, unless it was cancelled; each says code and details."""
    with studio_on(provider, recent_runs_per_operation=100):
        _call_with_every_code(kind)


def _call_with_every_code(kind: str) -> None:
    codes = list(OUTCOMES)
    if kind == "sync":
        calls(codes)
    else:
        asyncio.run(calls_later(codes))
    runs = api.get_recent_operations(service=SERVICE)
    inside = {run.attributes["rpc.response.status_code"]: run for run in runs if _is(run, "get")}
    outside = {run.attributes["rpc.response.status_code"]: run for run in runs if _is(run, "call")}
    assert {code: run.outcome for code, run in inside.items()} == OUTCOMES
    assert {code: run.outcome for code, run in outside.items()} == OUTCOMES
    for code, run in [*inside.items(), *outside.items()]:
        assert run.attributes["studio.rpc.details"] == "no user 7"
        if run.outcome == "error":
            assert run.error.endswith(f": {code}: no user 7")


def _is(run: Any, operation: str) -> bool:
    return bool(run.operation == operation)


def test_the_group_of_an_aborted_call_says_what_it_was(s):
    """Message and stack of the error group have code and details; the place is the servicer."""
    calls(["INTERNAL"])
    groups = api.get_error_statistics().by_service[SERVICE].groups
    [inside] = [group for group in groups if group.error_type == "Exception"]
    [outside] = [group for group in groups if group.error_type != "Exception"]
    for group in (inside, outside):
        assert group.message == "INTERNAL: no user 7"
    assert "test_grpc.py in " in inside.place


def test_what_only_looks_like_grpcs(s, monkeypatch):
    """A bare exception of the program's own, an error without a call, and no gRPC: as before."""

    def abort(code: Any, details: str) -> None:
        raise Exception

    for error in (Exception(), Exception("words"), grpc.RpcError(), ValueError()):
        assert grpc_status(error) is None
    with pytest.raises(Exception, match=r"^$") as raised:
        abort(grpc.StatusCode.INTERNAL, "mine")
    assert grpc_status(raised.value) is None
    monkeypatch.delitem(sys.modules, "grpc")
    assert grpc_status(raised.value) is None


def test_a_call_that_goes_on_is_not_asked():
    """Its code would be waited for."""

    class Going(grpc.RpcError):
        def done(self) -> bool:
            return False

        def code(self) -> Any:
            raise AssertionError("it would wait")

    assert grpc_status(Going()) is None


def test_an_error_whose_code_cannot_be_told():
    """A subclass that raises, or has another kind of code, is told by its text alone."""

    class Raising(grpc.RpcError):
        def code(self) -> Any:
            raise RuntimeError("not yet")

    class Odd(grpc.RpcError):
        def code(self) -> Any:
            return "NOT_FOUND"

    assert grpc_status(Raising()) is None
    assert grpc_status(Odd()) is None
