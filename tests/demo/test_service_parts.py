"""The preview service's parts: clips, cache, job queue, table."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from examples.preview_service.cache import PreviewCache
from examples.preview_service.clips import ClipLibrary, ClipNotFound
from examples.preview_service.jobs import JobQueue, QueueIsFull
from examples.preview_service.media import Preview
from examples.preview_service.store import PreviewStore, open_database

PREVIEW = Preview(b"preview", frames=1, width=160, height=120)


def test_the_same_content_is_one_clip(tmp_path: Path) -> None:
    """A clip's id comes from its content: uploaded twice, it is kept once."""
    library = ClipLibrary(tmp_path)
    clip_id = library.add(b"pictures")
    assert library.add(b"pictures") == clip_id
    assert library.path(clip_id).read_bytes() == b"pictures"
    assert library.sizes() == {clip_id: 8}


def test_the_oldest_clip_makes_room(tmp_path: Path) -> None:
    """Past the limit the oldest clip goes, file and all, and is not found any more."""
    library = ClipLibrary(tmp_path, limit=2)
    first, second, third = (library.add(content) for content in (b"one", b"two", b"three"))
    assert list(library.sizes()) == [second, third]
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted([second, third])
    with pytest.raises(ClipNotFound, match=first):
        library.path(first)


def test_the_cache_drops_what_was_used_longest_ago() -> None:
    """A preview that was read lately outlives one that was put in later but not read."""
    cache = PreviewCache(limit=2)
    cache.put("a", 160, PREVIEW)
    cache.put("b", 160, PREVIEW)
    assert cache.get("a", 160) is PREVIEW
    cache.put("c", 160, PREVIEW)
    assert cache.get("b", 160) is None
    assert cache.get("a", 160) is PREVIEW
    assert cache.get("a", 240) is None
    cache.put("a", 160, Preview(b"another", frames=1, width=160, height=120))
    assert cache.size() == len(b"preview") + len(b"another")
    assert (cache.clear_all(), cache.size()) == (2, 0)
    assert cache.get("a", 160) is None


async def test_a_job_gives_its_result_or_its_exception() -> None:
    """Who asked for a job gets what it returned, or the very exception that it raised."""
    failure = ValueError("no such picture")

    async def good() -> str:
        return "done"

    async def bad() -> str:
        raise failure

    queue = JobQueue()
    queue.start()
    try:
        assert await queue.do(good) == "done"
        with pytest.raises(ValueError, match="no such picture") as raised:
            await queue.do(bad)
        assert raised.value is failure
    finally:
        await queue.stop()


async def test_cancelling_who_waits_cancels_the_job() -> None:
    """A job whose caller has gone ends, and its worker takes the next one."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def next_one() -> str:
        return "next"

    queue = JobQueue(workers=1)
    queue.start()
    try:
        caller = asyncio.create_task(queue.do(endless))
        await began.wait()
        caller.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        assert await asyncio.wait_for(queue.do(next_one), 5) == "next"
        assert caller.cancelled()
    finally:
        await queue.stop()


async def test_a_full_queue_refuses_the_next_job_and_stopping_cancels_the_rest() -> None:
    """One job more than may wait is refused at once; those that wait end when the queue stops."""

    async def work() -> None:
        """Never begins: no worker was started."""

    queue = JobQueue(limit=1)
    waiting = asyncio.create_task(queue.do(work))
    await asyncio.sleep(0)
    with pytest.raises(QueueIsFull, match="1 jobs wait already"):
        await queue.do(work)
    await queue.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_the_table_keeps_attempts_newest_first(tmp_path: Path) -> None:
    """Previews and failures come back as they were saved, and no more than asked for."""
    engine = open_database(tmp_path / "previews.db")
    store = PreviewStore(engine)
    store.save_preview("a", 160, frames=12, size=4096)
    store.save_failure("b", 240, error="Invalid data")
    failure, preview = store.newest(limit=5)
    assert (failure["clip_id"], failure["error"], failure["frames"]) == ("b", "Invalid data", None)
    assert (preview["clip_id"], preview["frames"], preview["size"]) == ("a", 12, 4096)
    assert store.newest(limit=1) == [failure]
    engine.dispose()
