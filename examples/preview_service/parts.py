"""The service's parts, as the routes ask for them."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Query, Request

from examples.preview_service.cache import PreviewCache
from examples.preview_service.clips import ClipLibrary
from examples.preview_service.previews import PreviewService
from examples.preview_service.store import PreviewStore


def _library(request: Request) -> ClipLibrary:
    return cast("ClipLibrary", request.app.state.library)


def _cache(request: Request) -> PreviewCache:
    return cast("PreviewCache", request.app.state.cache)


def _store(request: Request) -> PreviewStore:
    return cast("PreviewStore", request.app.state.store)


def _previews(request: Request) -> PreviewService:
    return cast("PreviewService", request.app.state.previews)


Library = Annotated[ClipLibrary, Depends(_library)]
Cache = Annotated[PreviewCache, Depends(_cache)]
Store = Annotated[PreviewStore, Depends(_store)]
Previews = Annotated[PreviewService, Depends(_previews)]
Width = Annotated[int, Query(ge=16, le=1920, description="in pixels")]
