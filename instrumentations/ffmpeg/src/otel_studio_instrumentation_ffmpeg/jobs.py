"""The book of jobs: which run, how they ended, and the figures over all of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

from .codecs import hardware_kind, is_hardware
from .progress import LogReader, Progress
from .records import EncodeStatistics, Session
from .safety import report_failure

#: Ended jobs kept for `sessions(running=False)`.
_KEPT_ENDED = 100

#: Reports closer together than this say too little about the speed of now.
_RATE_INTERVAL_NS = 250_000_000

RUNNING, OK, ERROR, CANCELLED, UNKNOWN = "running", "ok", "error", "cancelled", "unknown"


class Observer(Protocol):
    """What is told of the start and the end of each job, to make a span of it."""

    def job_started(self, job: Job) -> None:
        """A job begins."""

    def job_ended(self, job: Job) -> None:
        """A job ended; its figures are final."""


class Job:
    """One job while it runs: changed by what feeds it, under the book's lock."""

    def __init__(self, number: int, source: str, operation: str, now_ns: int, wall_ns: int) -> None:
        self.number = number
        self.source = source
        self.operation = operation
        self.state = RUNNING
        self.started_ns = now_ns
        self.started_wall_ns = wall_ns
        self.ended_ns: int | None = None
        self.pid: int | None = None
        self.codec: str | None = None
        self.resolution: str | None = None
        self.frame_rate: float | None = None
        self.expected_seconds: float | None = None
        self.expected_frames: int | None = None
        self.progress = Progress()
        self.exit_code: int | None = None
        self.error: str | None = None
        self.error_type: str | None = None
        self.stopped_by_caller = False
        self.span: Any = None
        self._fps: float | None = None
        self._anchor: tuple[int, int] | None = None

    def report(self, progress: Progress, now_ns: int) -> None:
        """Take in a newer progress report.

        Args:
            progress: the report.
            now_ns: monotonic time of the report.
        """
        self.progress = progress
        if progress.frames is None:
            return
        if self._anchor is None:
            self._anchor = (now_ns, progress.frames)
            return
        elapsed = now_ns - self._anchor[0]
        if elapsed >= _RATE_INTERVAL_NS:
            self._fps = max(0, progress.frames - self._anchor[1]) / (elapsed / 1e9)
            self._anchor = (now_ns, progress.frames)

    def learn(self, log: LogReader) -> None:
        """Take in what the job's log says about its streams.

        Args:
            log: a reader that has seen (a part of) the log.
        """
        self.codec = log.codec(self.operation) or self.codec
        self.resolution = log.resolution or self.resolution
        self.frame_rate = log.frame_rate or self.frame_rate
        if self.expected_seconds is None:
            self.expected_seconds = log.expected_seconds

    @property
    def fps(self) -> float | None:
        """Frames per second of now; `None` once ended, or before two reports."""
        return self._fps if self.state == RUNNING else None

    def duration_ns(self, now_ns: int) -> int:
        """Return the time taken, so far while the job runs.

        Args:
            now_ns: monotonic time of the question.
        """
        return (self.ended_ns if self.ended_ns is not None else now_ns) - self.started_ns

    def fraction_done(self) -> float | None:
        """Return the part done, 0 to 1, or `None` where the expected length is unknown."""
        if self.state == OK:
            return 1.0
        frames, seconds = self.progress.frames, self.progress.output_seconds
        if self.expected_frames and frames is not None:
            return min(1.0, frames / self.expected_frames)
        if self.expected_seconds and seconds is not None:
            return min(1.0, max(0.0, seconds / self.expected_seconds))
        return None

    def session(self, now_ns: int) -> Session:
        """Return the job as a record.

        Args:
            now_ns: monotonic time of the question.
        """
        progress = self.progress
        duration_ns = self.duration_ns(now_ns)
        started = datetime.fromtimestamp(self.started_wall_ns / 1e9, tz=UTC)
        has_average = progress.frames is not None and duration_ns > 0
        return Session(
            session_id=self.number,
            source=self.source,
            operation=self.operation,
            state=self.state,
            pid=self.pid,
            codec=self.codec,
            hardware=hardware_kind(self.codec),
            hardware_accelerated=is_hardware(self.codec),
            resolution=self.resolution,
            frame_rate=self.frame_rate,
            frames=progress.frames,
            dropped_frames=progress.dropped_frames,
            fps=self.fps,
            average_fps=(progress.frames or 0) / (duration_ns / 1e9) if has_average else None,
            bitrate_kbps=progress.bitrate_kbps,
            output_bytes=progress.output_bytes,
            output_seconds=progress.output_seconds,
            speed=progress.speed,
            progress=self.fraction_done(),
            started_at=started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            duration_ms=duration_ns / 1e6,
            exit_code=self.exit_code,
            error=self.error,
        )


class JobBook:
    """Every job of this process, in bounded memory.

    Args:
        observer: told of starts and ends; may be set later.
        monotonic_ns: clock for durations, in nanoseconds.
        time_ns: wall clock, in nanoseconds since the Unix epoch.
    """

    def __init__(
        self,
        observer: Observer | None = None,
        monotonic_ns: Callable[[], int] = time.perf_counter_ns,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.observer = observer
        self.monotonic_ns = monotonic_ns
        self._time_ns = time_ns
        self.lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._running: dict[int, Job] = {}
        self._ended: deque[Job] = deque(maxlen=_KEPT_ENDED)
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._frames: Counter[str] = Counter()
        self._ok_time_ns: Counter[str] = Counter()
        self._queues: dict[str, Callable[[], int]] = {}
        #: Called before each question, so that an answer includes what has just ended.
        self.fold: Callable[[], None] = lambda: None

    def start(self, source: str, operation: str) -> Job:
        """Enter a job that starts now.

        Args:
            source: `process` or `pyav`.
            operation: `encode`, `decode` or `remux`.
        """
        with self.lock:
            job = Job(next(self._numbers), source, operation, self.monotonic_ns(), self._time_ns())
            self._running[job.number] = job
        if self.observer is not None:
            self.observer.job_started(job)
        return job

    def end(self, job: Job, state: str, ended_ns: int | None = None) -> bool:
        """Enter the end of a job; a second end of the same job changes nothing.

        Args:
            job: the job, its exit code and error set.
            state: `ok`, `error`, `cancelled` or `unknown`.
            ended_ns: monotonic time of the end; now when `None`.

        Returns:
            Whether this call ended it.
        """
        with self.lock:
            if job.state != RUNNING:
                return False
            job.ended_ns = self.monotonic_ns() if ended_ns is None else ended_ns
            job.state = state
            self._running.pop(job.number, None)
            self._ended.append(job)
            self._outcomes[job.operation, state] += 1
            self._frames[job.operation] += job.progress.frames or 0
            if state == OK:
                self._ok_time_ns[job.operation] += job.duration_ns(0)
        if self.observer is not None:
            self.observer.job_ended(job)
        return True

    def forget_all(self) -> None:
        """Start from nothing, as a forked child does: its parent's jobs are not its own."""
        self.lock = threading.RLock()
        self._running.clear()
        self._ended.clear()
        self._outcomes.clear()
        self._frames.clear()
        self._ok_time_ns.clear()

    def sessions(self, running: bool | None = None) -> list[Session]:
        """Return the jobs as records, newest first.

        Args:
            running: only the running ones (`True`), only the ended (`False`), or both.
        """
        self.fold()
        now_ns = self.monotonic_ns()
        with self.lock:
            jobs = [*self._ended, *self._running.values()]
            found = [
                job.session(now_ns)
                for job in jobs
                if running is None or running == (job.state == RUNNING)
            ]
        return sorted(found, key=lambda session: session.session_id, reverse=True)

    def track_queue(self, name: str, length: Callable[[], int]) -> None:
        """Add a source of waiting jobs; the same name replaces it.

        Args:
            name: what to call the queue.
            length: returns how many jobs wait.
        """
        with self.lock:
            self._queues[name] = length

    def untrack_queue(self, name: str) -> None:
        """Remove a source of waiting jobs; an unknown name changes nothing.

        Args:
            name: as given to `track_queue`.
        """
        with self.lock:
            self._queues.pop(name, None)

    def queue_lengths(self) -> dict[str, int]:
        """Return the waiting jobs by queue; a queue whose source fails is left out."""
        with self.lock:
            queues = list(self._queues.items())
        return dict(_asked(queues))

    def statistics(self) -> EncodeStatistics:
        """Return the figures over all encodes."""
        self.fold()
        queues = self.queue_lengths()
        with self.lock:
            active = [job for job in self._running.values() if job.operation == "encode"]
            completed = self._outcomes["encode", OK]
            return EncodeStatistics(
                encode_fps=total_fps(active),
                queue_length=sum(queues.values()) if queues else None,
                average_encode_time_ms=(
                    self._ok_time_ns["encode"] / completed / 1e6 if completed else None
                ),
                failed_encodes=self._outcomes["encode", ERROR],
                hardware_acceleration_active=_any_hardware(active),
                active_encodes=len(active),
                completed_encodes=completed,
                cancelled_encodes=self._outcomes["encode", CANCELLED],
                encoded_frames=self._frames["encode"]
                + sum(job.progress.frames or 0 for job in active),
            )

    def running_jobs(self) -> list[Job]:
        """Return the running jobs."""
        with self.lock:
            return list(self._running.values())

    def outcomes(self) -> dict[tuple[str, str], int]:
        """Return the ended jobs by operation and outcome."""
        with self.lock:
            return dict(self._outcomes)

    def frames(self) -> dict[str, int]:
        """Return the frames done by operation, running jobs included."""
        with self.lock:
            totals = Counter(self._frames)
            for job in self._running.values():
                totals[job.operation] += job.progress.frames or 0
            return dict(totals)


def total_fps(jobs: list[Job]) -> float | None:
    """Return the frames per second of jobs together; 0 for none, `None` when none has told.

    Args:
        jobs: running jobs.
    """
    if not jobs:
        return 0.0
    known = [job.fps for job in jobs if job.fps is not None]
    return sum(known) if known else None


def _any_hardware(jobs: list[Job]) -> bool | None:
    answers = [is_hardware(job.codec) for job in jobs]
    if True in answers:
        return True
    return None if answers and None in answers else False


def _asked(queues: list[tuple[str, Callable[[], int]]]) -> Iterator[tuple[str, int]]:
    for name, length in queues:
        try:
            yield name, int(length())
        except Exception as error:
            report_failure(f"reading the length of the queue {name!r}", error)
