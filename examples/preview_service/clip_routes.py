"""HTTP routes for clips: upload, record, list, download, play."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from examples.preview_service.media import record_test_clip
from examples.preview_service.parts import Library, Previews, Width

router = APIRouter(tags=["clips"])

BOUNDARY = b"frame"


@router.post("/clips", status_code=201)
async def upload_clip(request: Request, library: Library) -> dict[str, str]:
    """Upload a clip: the request's body is the file."""
    content = await request.body()
    return {"clip_id": await asyncio.to_thread(library.add, content)}


@router.post("/clips/test", status_code=201)
def make_test_clip(
    library: Library,
    seed: Annotated[int, Query(ge=0)] = 0,
    seconds: Annotated[float, Query(gt=0, le=10)] = 2.0,
) -> dict[str, str]:
    """Record a clip of a moving test pattern."""
    return {"clip_id": library.add(record_test_clip(seed, seconds))}


@router.get("/clips")
async def list_clips(library: Library) -> dict[str, int]:
    """Return every clip's size in bytes."""
    return library.sizes()


@router.get("/clips/{clip_id}")
async def download_clip(clip_id: str, library: Library) -> Response:
    """Return a clip as it was uploaded."""
    return FileResponse(library.path(clip_id), media_type="video/mp4")


@router.get("/frames/{clip_id}")
async def stream_frames(
    clip_id: str, library: Library, previews: Previews, width: Width = 160
) -> Response:
    """Play a clip as a stream of JPEG pictures."""
    library.path(clip_id)
    return StreamingResponse(
        _parts(previews.stream_frames(clip_id, width)),
        media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}",
    )


async def _parts(pictures: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for picture in pictures:
        yield b"--%b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (
            BOUNDARY,
            len(picture),
            picture,
        )
    yield b"--%b--\r\n" % BOUNDARY
