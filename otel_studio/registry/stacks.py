"""The current stack of a thread or an asyncio task, as lines of text."""

from __future__ import annotations

from types import FrameType
from typing import Any

from otel_studio.base.failure import is_own_file
from otel_studio.base.text import safe_line

#: Calls shown at most; of a deeper stack the innermost ones.
_MAX_FRAMES = 50


def current_stack(frame: FrameType | None, task: Any) -> list[str]:
    """Return the calls that are going on, outermost first, without the SDK's own.

    Args:
        frame: the innermost frame of the thread; `None` when the thread is gone.
        task: the asyncio task, when one runs the operation: its own chain of awaits is
            shown rather than whatever the thread does now.
    """
    frames = _task_frames(task) if task is not None else _thread_frames(frame)
    return [
        safe_line(f"{f.f_code.co_filename}:{f.f_lineno} in {f.f_code.co_qualname}")
        for f in frames
        if not is_own_file(f.f_code.co_filename)
    ][-_MAX_FRAMES:]


def _thread_frames(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _task_frames(task: Any) -> list[FrameType]:
    """Follow the awaits from the task's coroutine inwards."""
    frames: list[FrameType] = []
    awaited = task.get_coro()
    while awaited is not None and len(frames) < 1_000:
        frame = (
            getattr(awaited, "cr_frame", None)
            or getattr(awaited, "gi_frame", None)
            or getattr(awaited, "ag_frame", None)
        )
        if frame is None:
            break
        frames.append(frame)
        awaited = (
            getattr(awaited, "cr_await", None)
            or getattr(awaited, "gi_yieldfrom", None)
            or getattr(awaited, "ag_await", None)
        )
    return frames
