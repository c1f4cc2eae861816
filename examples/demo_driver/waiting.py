"""Waits that end early when the demo ends."""

from __future__ import annotations

import asyncio


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
