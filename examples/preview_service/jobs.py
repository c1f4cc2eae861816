"""A queue of jobs and the workers that do them, a few at a time."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import otel_studio as studio

T = TypeVar("T")

job_queue = studio.service("job-queue")


class QueueIsFull(Exception):
    """So many jobs wait already that another would only make everyone wait longer."""


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[], Awaitable[Any]]
    outcome: asyncio.Future[Any]
    # The job belongs to the request that asked for it, though a worker does it.
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    queued_at: float = field(default_factory=time.perf_counter)


class JobQueue:
    """Does asynchronous work with a bounded number of workers.

    Args:
        workers: how many jobs are done at a time.
        limit: how many may wait.
    """

    def __init__(self, workers: int = 2, limit: int = 32) -> None:
        self._queue: asyncio.Queue[_Job] = asyncio.Queue(limit)
        self._worker_count = workers
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the workers on the running event loop."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._worker_count)]

    def waiting(self) -> int:
        """Return how many jobs wait to be done."""
        return self._queue.qsize()

    async def stop(self) -> None:
        """Stop the workers; whoever still waits for a job gets `CancelledError`."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        while not self._queue.empty():
            self._queue.get_nowait().outcome.cancel()

    async def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Queue a job and return its result; when the caller is cancelled, so is the job.

        Args:
            work: a function without arguments that returns an awaitable.

        Raises:
            QueueIsFull: when no more jobs may wait.
        """
        job = _Job(work, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            raise QueueIsFull(f"{self._queue.maxsize} jobs wait already; try again later") from None
        result: T = await job.outcome
        return result

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            if job.outcome.cancelled():
                continue
            waited = time.perf_counter() - job.queued_at
            job.context.run(job_queue.record_operation, "wait_in_queue", duration=waited)
            task = asyncio.create_task(_run(job), context=job.context)
            job.outcome.add_done_callback(functools.partial(_cancel, task))
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                job.outcome.cancel()
                raise


def _cancel(task: asyncio.Task[None], outcome: asyncio.Future[Any]) -> None:
    task.cancel()


async def _run(job: _Job) -> None:
    try:
        result = await job.work()
    except asyncio.CancelledError:
        job.outcome.cancel()
        raise
    except Exception as error:
        if not job.outcome.done():
            job.outcome.set_exception(error)
    else:
        if not job.outcome.done():
            job.outcome.set_result(result)
