"""The demo's load: a steady stream of requests whose ends are counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from examples.demo_driver.load import CLIP_SECONDS, Load

Answer = Callable[[httpx.Request], httpx.Response]


def answer(request: httpx.Request) -> httpx.Response:
    """Answer as the service does, without any of its work."""
    if request.method == "POST":
        return httpx.Response(201, json={"clip_id": "a1"})
    if request.url.path == "/previews/" + "0" * 16:
        return httpx.Response(404)
    return httpx.Response(200, content=b"some content of a clip")


async def run(answer: Answer, requests: int) -> Load:
    """Run a load against `answer` until it has had so many requests."""
    stop = asyncio.Event()
    had = 0

    def count(request: httpx.Request) -> httpx.Response:
        nonlocal had
        had += 1
        if had == requests:
            stop.set()
        return answer(request)

    transport = httpx.MockTransport(count)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        load = Load(client, rate=10_000)
        await asyncio.wait_for(load.run(stop), 30)
    return load


async def test_one_deck_sends_every_kind_of_request() -> None:
    """Uploads, previews, plays, lists and clearings all come within the first requests."""
    seen: list[tuple[str, str, bytes]] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path.split("/")[1], request.content))
        return answer(request)

    load = await run(note, 80)
    kinds = {(method, path) for method, path, _ in seen}
    assert {("POST", "clips"), ("GET", "previews"), ("GET", "frames"), ("DELETE", "cache")} <= kinds
    uploads = [content for method, _, content in seen if method == "POST" and content]
    assert len(set(uploads)) >= 6
    assert {"200", "201", "404"} <= set(load.outcomes)


async def test_failed_requests_are_counted_by_their_exception() -> None:
    """A service that drops connections does not end the load."""
    prepared = 0

    def drop(request: httpx.Request) -> httpx.Response:
        nonlocal prepared
        prepared += 1
        if prepared <= 2 * len(CLIP_SECONDS):
            return answer(request)
        raise httpx.ReadError("connection reset", request=request)

    load = await run(drop, 80)
    assert set(load.outcomes) == {"ReadError", "odd jobs"}


async def test_a_service_that_cannot_record_clips_ends_the_load() -> None:
    """Without clips there is nothing to ask for: the error is passed on."""

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500, content=json.dumps({"detail": "disk full"}))

    with pytest.raises(httpx.HTTPStatusError):
        await run(refuse, 80)
