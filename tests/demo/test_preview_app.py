"""The preview service over HTTP: what each request is answered, and what a leaving client ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import Request

from examples.demo_driver.server import ServiceThread, listen
from examples.preview_service.app import create_app
from examples.preview_service.preview_routes import unless_client_leaves


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    service = ServiceThread(create_app(tmp_path), listen(0, or_any=False))
    service.start()
    with httpx.Client(base_url=service.address, trust_env=False) as client:
        yield client
    service.stop()


@pytest.fixture
def clip_id(client: httpx.Client) -> str:
    made = client.post("/clips/test", params={"seconds": 0.5})
    assert made.status_code == 201
    return cast("str", made.json()["clip_id"])


def test_a_preview_is_made_once_and_then_kept(client: httpx.Client, clip_id: str) -> None:
    """The first request renders, the second is a hit; clearing the cache makes it a miss again."""
    first = client.get(f"/previews/{clip_id}")
    assert (first.status_code, first.headers["X-Cache"]) == (200, "miss")
    second = client.get(f"/previews/{clip_id}")
    assert (second.headers["X-Cache"], second.content) == ("hit", first.content)
    assert client.get(f"/previews/{clip_id}", params={"width": 80}).headers["X-Cache"] == "miss"
    assert client.delete("/cache").json() == {"dropped": 2}
    assert client.get(f"/previews/{clip_id}").headers["X-Cache"] == "miss"


def test_an_uploaded_clip_is_the_one_that_is_downloaded(client: httpx.Client, clip_id: str) -> None:
    """Upload and download keep every byte, and both are listed."""
    content = client.get(f"/clips/{clip_id}").content
    uploaded = client.post("/clips", content=content + b"\0\0\0\x08free").json()["clip_id"]
    assert uploaded != clip_id
    assert client.get("/clips").json() == {clip_id: len(content), uploaded: len(content) + 8}
    assert client.get(f"/previews/{uploaded}").status_code == 200


def test_a_damaged_clip_is_refused_and_noted_in_the_table(client: httpx.Client) -> None:
    """What the decoder says reaches the client and the table of attempts."""
    clip_id = client.post("/clips", content=b"this is no video").json()["clip_id"]
    refused = client.get(f"/previews/{clip_id}")
    assert refused.status_code == 422
    assert "Invalid data" in refused.json()["detail"]
    (attempt,) = client.get("/previews").json()
    assert (attempt["clip_id"], attempt["frames"]) == (clip_id, None)
    assert "Invalid data" in attempt["error"]


@pytest.mark.parametrize("path", ["/clips/none", "/previews/none", "/frames/none"])
def test_an_unknown_clip_is_not_found(client: httpx.Client, path: str) -> None:
    """Every route says in one sentence that there is no such clip, and what to do."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no clip is called 'none': upload it with POST /clips"


def test_a_clip_plays_as_jpeg_pictures(client: httpx.Client, clip_id: str) -> None:
    """Half a second is twelve parts, each a JPEG."""
    content = client.get(f"/frames/{clip_id}").content
    parts = content.split(b"--frame\r\n")[1:]
    pictures = [part.split(b"\r\n\r\n", 1)[1] for part in parts]
    assert len(pictures) == 12
    assert all(picture.startswith(b"\xff\xd8") for picture in pictures)


def test_the_queries_are_served_as_json(client: httpx.Client) -> None:
    """Names are listed, arguments are parameters, and mistakes are named."""
    assert "get_all_metrics" in client.get("/studio").json()
    assert isinstance(client.get("/studio/get_all_metrics").json(), list)
    assert client.get("/studio/get_slow_operations", params={"limit": 2}).status_code == 200
    assert client.get("/studio/reset_service_metrics").status_code == 404
    mistaken = client.get("/studio/get_all_metrics", params={"limt": 2})
    assert mistaken.status_code == 422
    assert "limt" in mistaken.json()["detail"]


class Listened:
    """The one part of a request that `unless_client_leaves` uses."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": b""})

    async def receive(self) -> dict[str, Any]:
        return await self._messages.get()

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})


async def test_work_ends_when_its_client_has_left() -> None:
    """A disconnect cancels the work; without one its result comes back."""
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def endless() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "never"

    async def quick() -> str:
        return "done"

    client = Listened()
    request = cast("Request", client)
    assert await unless_client_leaves(request, quick()) == "done"
    waiting = asyncio.create_task(unless_client_leaves(request, endless()))
    await began.wait()
    client.leave()
    assert await asyncio.wait_for(waiting, 5) is None
    await asyncio.wait_for(cancelled.wait(), 5)
