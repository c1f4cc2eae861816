"""The preview service over HTTP: what each request is answered, and what a leaving client ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import Request

import otel_studio as studio
from examples.demo_driver.server import ServiceThread, listen
from examples.preview_service.app import create_app
from examples.preview_service.preview_routes import unless_client_leaves
from otel_studio import Isolated, api

from parts import wait_until


@pytest.fixture
def observed() -> Iterator[Isolated]:
    with studio.isolated() as own:
        yield own


@pytest.fixture
def client(tmp_path: Path, observed: Isolated) -> Iterator[httpx.Client]:
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


def test_a_preview_is_made_once_and_then_kept(
    client: httpx.Client, clip_id: str, observed: Isolated
) -> None:
    """The first request renders, the second is a hit; clearing the cache makes it a miss again."""
    first = client.get(f"/previews/{clip_id}")
    assert (first.status_code, first.headers["X-Cache"]) == (200, "miss")
    second = client.get(f"/previews/{clip_id}")
    assert (second.headers["X-Cache"], second.content) == ("hit", first.content)
    assert client.get(f"/previews/{clip_id}", params={"width": 80}).headers["X-Cache"] == "miss"
    assert client.delete("/cache").json() == {"dropped": 2}
    assert client.get(f"/previews/{clip_id}").headers["X-Cache"] == "miss"
    observed.assert_operation("preview-service", "generate_preview", count=3, errors=0, active=0)
    observed.assert_operation("cache-service", "clear_all", count=1, attributes={"entries": 2})
    (kept,) = api.get_cache_performance_metrics("previews")
    assert (kept.hits, kept.misses, kept.evictions_by_reason) == (1, 3, {"cleared": 2})


def test_an_uploaded_clip_is_the_one_that_is_downloaded(client: httpx.Client, clip_id: str) -> None:
    """Upload and download keep every byte, and both are listed."""
    content = client.get(f"/clips/{clip_id}").content
    uploaded = client.post("/clips", content=content + b"\0\0\0\x08free").json()["clip_id"]
    assert uploaded != clip_id
    assert client.get("/clips").json() == {clip_id: len(content), uploaded: len(content) + 8}
    assert client.get(f"/previews/{uploaded}").status_code == 200


def test_a_damaged_clip_is_refused_and_noted_in_the_table(
    client: httpx.Client, observed: Isolated
) -> None:
    """What the decoder says reaches the client, the table of attempts and the statistics."""
    clip_id = client.post("/clips", content=b"this is no video").json()["clip_id"]
    refused = client.get(f"/previews/{clip_id}")
    assert refused.status_code == 422
    assert "Invalid data" in refused.json()["detail"]
    (attempt,) = client.get("/previews").json()
    assert (attempt["clip_id"], attempt["frames"]) == (clip_id, None)
    assert "Invalid data" in attempt["error"]
    for service, operation in [
        ("media-service", "decode_frames"),
        ("preview-service", "generate_preview"),
    ]:
        observed.assert_operation(service, operation, count=1, errors=1, active=0)
    request = ("opentelemetry.instrumentation.fastapi", "GET /previews/{clip_id}")
    observed.assert_operation(*request, count=1, errors=0)
    assert observed.operation("opentelemetry.instrumentation.sqlalchemy", "INSERT").count == 1


def test_what_a_request_causes_belongs_to_its_trace(
    client: httpx.Client, clip_id: str, observed: Isolated
) -> None:
    """Across the queue, the worker and its thread, every step is below the request."""
    assert client.get(f"/previews/{clip_id}").status_code == 200
    for service, operation, parent in [
        ("job-queue", "wait_in_queue", "GET /previews/{clip_id}"),
        ("preview-service", "generate_preview", "GET /previews/{clip_id}"),
        ("media-service", "decode_frames", "generate_preview"),
        ("media-service", "resize_frame", "generate_preview"),
        ("media-service", "encode_preview", "generate_preview"),
        ("preview-store", "PreviewStore.save_preview", "generate_preview"),
        ("opentelemetry.instrumentation.sqlalchemy", "INSERT", "PreviewStore.save_preview"),
    ]:
        observed.assert_operation(service, operation, parent=parent)


def test_a_listener_that_leaves_cancels_the_stream(
    client: httpx.Client, clip_id: str, observed: Isolated
) -> None:
    """Closing the connection after the first picture ends the stream and closes the clip."""
    with client.stream("GET", f"/frames/{clip_id}") as playing:
        next(playing.iter_bytes())
    wait_until(
        lambda: observed.operation("preview-service", "stream_frames").cancelled == 1,
        what="the stream to be cancelled",
    )
    observed.assert_operation("preview-service", "stream_frames", count=1, errors=0, active=0)
    observed.assert_operation("media-service", "decode_frames", cancelled=1, errors=0, active=0)


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
