"""The clips that were uploaded: a bounded folder of files, named after their content."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import otel_studio as studio

clip_library = studio.service("clip-library")


class ClipNotFound(LookupError):
    """No clip has this id: it was never uploaded, or it was removed to make room."""


class ClipLibrary:
    """Keeps the newest clips on disk.

    Args:
        folder: where the files go; made when it is missing.
        limit: how many clips are kept; the oldest is removed first.
    """

    def __init__(self, folder: Path, limit: int = 100) -> None:
        self._folder = folder
        self._limit = limit
        self._clips: dict[str, int] = {}
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, content: bytes) -> str:
        """Keep a clip and return its id; the same content gives the same id.

        Args:
            content: the file as it was uploaded. Nothing is said yet about its being a video.
        """
        with clip_library.operation("add_clip") as operation:
            operation.set_attribute("clip.bytes", len(content))
            clip_id = hashlib.sha256(content).hexdigest()[:16]
            with self._lock:
                if clip_id not in self._clips:
                    self._file(clip_id).write_bytes(content)
                    self._clips[clip_id] = len(content)
                    self._make_room()
            return clip_id

    @studio.track("find_clip", service="clip-library", expected=(ClipNotFound,))
    def path(self, clip_id: str) -> Path:
        """Return where a clip lies.

        Raises:
            ClipNotFound: if no clip has this id.
        """
        if clip_id not in self._clips:
            raise ClipNotFound(f"no clip is called {clip_id!r}: upload it with POST /clips")
        return self._file(clip_id)

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of every clip, by id, the oldest first."""
        with self._lock:
            return dict(self._clips)

    def _file(self, clip_id: str) -> Path:
        return self._folder / f"{clip_id}.mp4"

    def _make_room(self) -> None:
        while len(self._clips) > self._limit:
            oldest = next(iter(self._clips))
            del self._clips[oldest]
            self._file(oldest).unlink(missing_ok=True)
