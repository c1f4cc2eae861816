"""Waits that end early when the demo ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait, and return whether the demo was told to stop.

    Args:
        stop: the event that says so.
        seconds: how long to wait at most.
    """
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """Give an event that Ctrl-C and SIGTERM set for as long as the context lasts."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def set_stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.set)

    before = {number: signal.signal(number, set_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
