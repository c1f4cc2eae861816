"""What clients are told when a request cannot be met."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from examples.preview_service.clips import ClipNotFound
from examples.preview_service.jobs import QueueIsFull
from examples.preview_service.media import Undecodable, reason_of


def register_refusals(app: FastAPI) -> None:
    """Turn the service's exceptions into answers."""

    @app.exception_handler(ClipNotFound)
    async def not_found(request: Request, error: ClipNotFound) -> Response:
        return JSONResponse({"detail": str(error)}, 404)

    async def undecodable(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": f"the clip cannot be decoded: {reason_of(error)}"}, 422)

    for kind in Undecodable:
        app.add_exception_handler(kind, undecodable)

    @app.exception_handler(QueueIsFull)
    async def busy(request: Request, error: QueueIsFull) -> Response:
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "1"})
