"""The previews that were asked for last, kept in memory."""

from __future__ import annotations

import time
from collections import OrderedDict

import otel_studio as studio
from examples.preview_service.media import Preview

cache_service = studio.service("cache-service")
statistics = studio.cache("previews", service="cache-service")


class PreviewCache:
    """A mapping of a clip's id and a width to a preview; drops what was used longest ago.

    Args:
        limit: how many previews are kept.
    """

    def __init__(self, limit: int = 12) -> None:
        self._limit = limit
        self._previews: OrderedDict[str, Preview] = OrderedDict()
        self._size = 0

    def size(self) -> int:
        """Return how many bytes the previews have together."""
        return self._size

    def get(self, clip_id: str, width: int) -> Preview | None:
        """Return a preview, or `None` when it is not kept."""
        started = time.perf_counter()
        key = f"{clip_id}:{width}"
        preview = self._previews.get(key)
        if preview is None:
            statistics.miss(key, duration=time.perf_counter() - started)
            return None
        self._previews.move_to_end(key)
        statistics.hit(key, duration=time.perf_counter() - started)
        return preview

    def put(self, clip_id: str, width: int, preview: Preview) -> None:
        """Keep a preview, and drop the one used longest ago when there are too many."""
        key = f"{clip_id}:{width}"
        replaced = self._previews.pop(key, None)
        self._previews[key] = preview
        self._size += len(preview.content) - (len(replaced.content) if replaced else 0)
        statistics.set(key, size=len(preview.content))
        while len(self._previews) > self._limit:
            oldest, dropped = self._previews.popitem(last=False)
            self._size -= len(dropped.content)
            statistics.evict(oldest, reason="size")

    def clear_all(self) -> int:
        """Drop every preview and return how many there were."""
        with cache_service.operation("clear_all") as operation:
            dropped = len(self._previews)
            operation.set_attribute("entries", dropped)
            self._previews.clear()
            self._size = 0
            statistics.clear(dropped)
            return dropped
