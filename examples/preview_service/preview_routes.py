"""HTTP routes for previews: get one, list the attempts, clear the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response

from examples.preview_service.parts import Cache, Previews, Store, Width

T = TypeVar("T")

router = APIRouter(tags=["previews"])

#: What nginx writes into its log when the client left before the answer was ready.
CLIENT_CLOSED_REQUEST = 499


@router.get("/previews/{clip_id}")
async def get_preview(
    request: Request, clip_id: str, previews: Previews, width: Width = 160
) -> Response:
    """Return a clip's preview, an MP4 file with every fourth frame."""
    answer = await unless_client_leaves(request, previews.get_preview(clip_id, width))
    if answer is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    preview, was_kept = answer
    return Response(
        preview.content,
        media_type="video/mp4",
        headers={"X-Cache": "hit" if was_kept else "miss"},
    )


@router.get("/previews")
def list_previews(
    store: Store, limit: Annotated[int, Query(ge=1, le=500)] = 20
) -> list[dict[str, Any]]:
    """Return the last attempts to make a preview, the newest first."""
    return store.newest(limit)


@router.delete("/cache")
async def clear_cache(cache: Cache) -> dict[str, int]:
    """Drop every preview that is kept."""
    return {"dropped": cache.clear_all()}


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what the work gives; cancel it and return `None` once the client has gone.

    Args:
        request: whose client is listened to; its body must have been read, or be empty.
        work: the coroutine to await.
    """

    async def leave() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.create_task(work), asyncio.create_task(leave())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()
