"""The clients: requests at a steady rate, some of which are mistaken, hurried or hopeless."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import httpx

from examples.demo_driver.odd_jobs import ODD_JOBS
from examples.demo_driver.waiting import stopped_within

#: How long each test clip plays, in seconds; one after the other.
CLIP_SECONDS = (1.0, 1.5, 2.0, 2.0, 2.5, 3.0)
WIDTHS = (120, 160, 240)
MOST_AT_A_TIME = 40
#: How long the last requests may take once no new ones are sent, in seconds.
LAST_CALL = 3.0


class Load:
    """Sends requests and counts what came of them.

    Args:
        client: with the service's address as its base.
        rate: requests per second.
        seed: the same seed sends the same requests in the same order.
    """

    def __init__(self, client: httpx.AsyncClient, rate: float, seed: int = 1) -> None:
        #: How the requests ended: by status, or in words.
        self.outcomes: Counter[str] = Counter()
        self._client = client
        self._rate = rate
        self._random = random.Random(seed)
        self._clips: list[str] = []
        self._contents: list[bytes] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Record the test clips, then send requests until told to stop.

        Args:
            stop: ends the load; requests on their way are waited for, though not long.
        """
        running: set[asyncio.Task[None]] = set()
        try:
            await self._record_clips(stop)
            for request in self._requests():
                if len(running) < MOST_AT_A_TIME:
                    task = asyncio.create_task(self._count(request))
                    running.add(task)
                    task.add_done_callback(running.discard)
                else:
                    self.outcomes["held back"] += 1
                if await stopped_within(stop, 1 / self._rate):
                    break
        finally:
            if running:
                await asyncio.wait(running, timeout=LAST_CALL)
            for task in running:
                task.cancel()

    async def _record_clips(self, stop: asyncio.Event) -> None:
        for seed, seconds in enumerate(CLIP_SECONDS):
            if stop.is_set():
                return
            made = await self._client.post("/clips/test", params={"seed": seed, "seconds": seconds})
            self._clips.append(made.raise_for_status().json()["clip_id"])
            clip = await self._client.get(f"/clips/{self._clips[-1]}")
            self._contents.append(clip.raise_for_status().content)

    def _requests(self) -> Iterator[Callable[[], Awaitable[str]]]:
        """Yield requests for ever, from one shuffled deck after the other."""
        deck = [
            *[self._preview] * 22,
            *[self._upload] * 3,
            *[self._damaged_clip] * 3,
            *[self._play_and_leave] * 2,
            *[self._hurry] * 2,
            *[self._list_previews] * 3,
            self._record_clip,
            self._unknown_clip,
            self._odd_jobs,
        ]
        while True:
            self._random.shuffle(deck)
            yield from deck
            yield self._clear_cache

    async def _count(self, request: Callable[[], Awaitable[str]]) -> None:
        try:
            self.outcomes[await request()] += 1
        except httpx.HTTPError as error:
            self.outcomes[type(error).__name__] += 1

    async def _preview(self) -> str:
        # The first clips are asked for most, as it is with real ones.
        position = min(int(self._random.expovariate(0.7)), len(self._clips) - 1)
        return await self._get_preview(self._clips[position])

    async def _upload(self) -> str:
        # An empty box at the end makes it another file with the same pictures.
        note = self._random.randbytes(8)
        box = (8 + len(note)).to_bytes(4, "big") + b"free" + note
        return await self._post_clip(self._random.choice(self._contents) + box)

    async def _damaged_clip(self) -> str:
        clip = self._random.choice(self._contents)
        third = len(clip) // 3
        damaged = self._random.choice(
            [
                self._random.randbytes(len(clip)),
                clip[: self._random.randrange(third, 2 * third)],
                clip[:third] + self._random.randbytes(third) + clip[2 * third :],
            ]
        )
        return await self._post_clip(damaged)

    async def _post_clip(self, content: bytes) -> str:
        uploaded = await self._client.post("/clips", content=content)
        return await self._get_preview(uploaded.raise_for_status().json()["clip_id"])

    async def _play_and_leave(self) -> str:
        path = f"/frames/{self._random.choice(self._clips)}"
        async with self._client.stream("GET", path) as playing:
            async for _ in playing.aiter_bytes():
                if self._random.random() < 0.1:
                    return "left early"
        return str(playing.status_code)

    async def _hurry(self) -> str:
        path = f"/previews/{self._random.choice(self._clips)}"
        try:
            width = self._random.randrange(100, 300, 2)
            answer = await self._client.get(path, params={"width": width}, timeout=0.02)
        except httpx.TimeoutException:
            return "left early"
        return str(answer.status_code)

    async def _record_clip(self) -> str:
        seed = self._random.randrange(1_000_000)
        return str((await self._client.post("/clips/test", params={"seed": seed})).status_code)

    async def _unknown_clip(self) -> str:
        return await self._get_preview("0" * 16)

    async def _list_previews(self) -> str:
        return str((await self._client.get("/previews")).status_code)

    async def _odd_jobs(self) -> str:
        for job in ODD_JOBS:
            job()
        return "odd jobs"

    async def _clear_cache(self) -> str:
        return str((await self._client.delete("/cache")).status_code)

    async def _get_preview(self, clip_id: str) -> str:
        width = self._random.choice(WIDTHS)
        answer = await self._client.get(f"/previews/{clip_id}", params={"width": width})
        return str(answer.status_code)
