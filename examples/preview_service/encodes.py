"""The encode and decode jobs of the service, followed by OTel Studio's package for FFmpeg."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PACKAGE = "otel_studio_instrumentation_ffmpeg"
#: Installed from instrumentations/ffmpeg; without it the service does the same work unfollowed.
ffmpeg: Any = importlib.import_module(_PACKAGE) if importlib.util.find_spec(_PACKAGE) else None


@contextmanager
def followed_encodes(waiting: Callable[[], int]) -> Iterator[None]:
    """Make every encode and decode an operation while the context lasts.

    Args:
        waiting: returns how many jobs wait to be done.
    """
    if ffmpeg is None:
        yield
        return
    ffmpeg.FFmpegInstrumentor().instrument()
    ffmpeg.track_queue("previews", waiting)
    try:
        yield
    finally:
        ffmpeg.untrack_queue("previews")
        ffmpeg.FFmpegInstrumentor().uninstrument()
