"""What clients are told when a request cannot be met."""

from __future__ import annotations

import av
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from examples.preview_service.clips import ClipNotFound
from examples.preview_service.jobs import QueueIsFull


def register_refusals(app: FastAPI) -> None:
    """Turn the service's exceptions into answers."""

    @app.exception_handler(ClipNotFound)
    async def not_found(request: Request, error: ClipNotFound) -> Response:
        return JSONResponse({"detail": str(error)}, 404)

    @app.exception_handler(av.FFmpegError)
    async def no_video(request: Request, error: av.FFmpegError) -> Response:
        return JSONResponse({"detail": f"the clip cannot be decoded: {error.strerror}"}, 422)

    @app.exception_handler(QueueIsFull)
    async def busy(request: Request, error: QueueIsFull) -> Response:
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "1"})
