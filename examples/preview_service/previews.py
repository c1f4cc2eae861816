"""What the service is for: the preview of a clip, from the cache or made anew."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import AsyncIterator

from anyio import to_thread

import otel_studio as studio
from examples.preview_service.cache import PreviewCache
from examples.preview_service.clips import ClipLibrary
from examples.preview_service.jobs import JobQueue
from examples.preview_service.media import (
    FRAMES_PER_SECOND,
    Preview,
    Undecodable,
    play,
    reason_of,
    render_preview,
)
from examples.preview_service.store import PreviewStore

logger = logging.getLogger(__name__)


class PreviewService:
    """Finds or makes previews.

    Args:
        library: the clips.
        cache: asked first.
        store: told of every attempt.
        queue: does the work.
    """

    def __init__(
        self, library: ClipLibrary, cache: PreviewCache, store: PreviewStore, queue: JobQueue
    ) -> None:
        self._library = library
        self._cache = cache
        self._store = store
        self._queue = queue

    async def get_preview(self, clip_id: str, width: int) -> tuple[Preview, bool]:
        """Return the preview of a clip, and whether it came from the cache.

        Args:
            clip_id: which clip.
            width: of the preview, in pixels.

        Raises:
            ClipNotFound: if no clip has this id.
            QueueIsFull: if too many previews are being made.
            av.FFmpegError: if the clip is damaged.
            NoPictures: if it is no video.
        """
        kept = self._cache.get(clip_id, width)
        if kept is not None:
            return kept, True
        self._library.path(clip_id)
        return await self._queue.do(functools.partial(self.generate, clip_id, width)), False

    @studio.track(
        "generate_preview",
        service="preview-service",
        capture_args=("clip_id", "width"),
        slow_threshold=0.5,
    )
    async def generate(self, clip_id: str, width: int) -> Preview:
        """Make a preview, keep it and note it in the table; arguments as for `get_preview`."""
        path = self._library.path(clip_id)
        stop = threading.Event()
        try:
            preview = await asyncio.to_thread(render_preview, path, width, stop)
        except asyncio.CancelledError:
            stop.set()
            logger.info("the preview of clip %s is no longer wanted", clip_id)
            raise
        except Undecodable as error:
            reason = reason_of(error)
            logger.warning("clip %s: %s", clip_id, reason)
            await asyncio.to_thread(self._store.save_failure, clip_id, width, reason)
            raise
        self._cache.put(clip_id, width, preview)
        await asyncio.to_thread(
            self._store.save_preview, clip_id, width, preview.frames, len(preview.content)
        )
        return preview

    @studio.track("stream_frames", service="preview-service", capture_args=("clip_id",))
    async def stream_frames(self, clip_id: str, width: int) -> AsyncIterator[bytes]:
        """Yield a clip's frames as JPEG pictures at the pace at which the clip plays.

        Args:
            clip_id: which clip.
            width: of each picture, in pixels.

        Raises:
            ClipNotFound: if no clip has this id.
            av.FFmpegError: if the clip is damaged.
            NoPictures: if it is no video.
        """
        pictures = play(self._library.path(clip_id), width)
        try:
            while (picture := await to_thread.run_sync(next, pictures, None)) is not None:
                yield picture
                await asyncio.sleep(1 / FRAMES_PER_SECOND)
        finally:
            # When the whole service is stopped a thread may still be inside of the iterator,
            # which then closes itself once that thread lets go of it.
            with contextlib.suppress(ValueError):
                pictures.close()
