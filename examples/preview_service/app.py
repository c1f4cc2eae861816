"""Puts the service together: its parts, its routes, its instrumentation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path

from fastapi import FastAPI

import otel_studio as studio
from examples.preview_service import clip_routes, preview_routes, queries
from examples.preview_service.cache import PreviewCache, cache_service
from examples.preview_service.clips import ClipLibrary
from examples.preview_service.encodes import followed_encodes
from examples.preview_service.jobs import JobQueue
from examples.preview_service.media import frames_in_memory, media
from examples.preview_service.previews import PreviewService
from examples.preview_service.refusals import register_refusals
from examples.preview_service.store import PreviewStore, open_database
from examples.preview_service.telemetry import instrument_requests, instrumented_database


def create_app(folder: Path) -> FastAPI:
    """Return the service.

    Args:
        folder: where clips and the database go; made when it is missing.
    """
    library = ClipLibrary(folder / "clips")
    cache = PreviewCache()
    engine = open_database(folder / "previews.db")
    store = studio.instrument(PreviewStore(engine), service="preview-store")
    queue = JobQueue()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            stack.enter_context(instrumented_database(engine))
            stack.enter_context(followed_encodes(queue.waiting))
            stack.enter_context(closing(cache_service.track_memory(cache.size)))
            stack.enter_context(closing(media.track_memory(frames_in_memory)))
            queue.start()
            yield
            await queue.stop()
        engine.dispose()

    app = FastAPI(title="Media previews", lifespan=lifespan)
    app.state.library = library
    app.state.cache = cache
    app.state.store = store
    app.state.previews = PreviewService(library, cache, store, queue)
    app.include_router(clip_routes.router)
    app.include_router(preview_routes.router)
    app.include_router(queries.router)
    register_refusals(app)
    instrument_requests(app)
    return app
