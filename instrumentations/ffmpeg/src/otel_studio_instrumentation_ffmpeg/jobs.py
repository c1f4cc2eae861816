"""The book of jobs: which run, how they ended, and the figures over all of them."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from .codecs import hardware_kind, is_hardware
from .progress import LogReader, Progress
from .records import EncodeStatistics, Session
from .safety import report_failure

K = TypeVar("K")

#: Ended jobs kept for `sessions(running=False)`.
_KEPT_ENDED = 100

#: Reports closer together than this say too little about the speed of now.
_RATE_INTERVAL_NS = 250_000_000

RUNNING, OK, ERROR, CANCELLED, UNKNOWN = "running", "ok", "error", "cancelled", "unknown"


class Observer(Protocol):
    """What is told of the start and the end of each job, to make a span of it."""

    def job_started(self, job: Job) -> None:
        """A job begins."""

    def job_ended(self, job: Job, ending: Ending) -> None:
        """A job ended; its figures are final."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended.

    Attributes:
        state: `ok`, `error`, `cancelled` or `unknown`.
        ended_ns: monotonic time of the end; when it is entered if `None`.
        exit_code: of the child.
        error: why it failed, in words.
        error_type: an exit code, a signal or an exception by name.
    """

    state: str
    ended_ns: int | None = None
    exit_code: int | None = None
    error: str | None = None
    error_type: str | None = None


class Job:
    """One job while it runs: changed by what feeds it, one feed at a time."""

    def __init__(self, number: int, source: str, operation: str, now_ns: int, wall_ns: int) -> None:
        self.number = number
        self.source = source
        self.operation = operation
        self.started_ns = now_ns
        self.started_wall_ns = wall_ns
        self.pid: int | None = None
        self.codec: str | None = None
        self.resolution: str | None = None
        self.frame_rate: float | None = None
        self.expected_seconds: float | None = None
        self.expected_frames: int | None = None
        self.progress = Progress()
        #: One output alone: what is reported of the whole job is reported of it.
        self.has_one_output = True
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
        """Frames per second of now, while the job runs; `None` before two reports."""
        return self._fps

    def fraction_done(self) -> float | None:
        """Return the part done, 0 to 1, or `None` where the expected length is unknown."""
        frames, seconds = self.progress.frames, self.progress.output_seconds
        if self.expected_frames and frames is not None:
            return min(1.0, frames / self.expected_frames)
        if self.expected_seconds and seconds is not None:
            return min(1.0, max(0.0, seconds / self.expected_seconds))
        return None

    def session(self, now_ns: int, ending: Ending | None = None) -> Session:
        """Return the job as a record.

        Args:
            now_ns: monotonic time of the question, or of the end.
            ending: how it ended; `None` while it runs.
        """
        progress = self.progress
        duration_ns = now_ns - self.started_ns
        started = datetime.fromtimestamp(self.started_wall_ns / 1e9, tz=UTC)
        has_average = progress.frames is not None and duration_ns > 0
        return Session(
            session_id=self.number,
            source=self.source,
            operation=self.operation,
            state=RUNNING if ending is None else ending.state,
            pid=self.pid,
            codec=self.codec,
            hardware=hardware_kind(self.codec),
            hardware_accelerated=is_hardware(self.codec),
            resolution=self.resolution,
            frame_rate=self.frame_rate,
            frames=progress.frames,
            dropped_frames=progress.dropped_frames,
            fps=self.fps if ending is None else None,
            average_fps=(progress.frames or 0) / (duration_ns / 1e9) if has_average else None,
            bitrate_kbps=progress.bitrate_kbps,
            output_bytes=progress.output_bytes,
            output_seconds=progress.output_seconds,
            speed=progress.speed,
            progress=1.0 if ending is not None and ending.state == OK else self.fraction_done(),
            started_at=started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            duration_ms=duration_ns / 1e6,
            exit_code=ending.exit_code if ending is not None else None,
            error=ending.error if ending is not None else None,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Page:
    """All that the book says at one moment: never changed, only replaced as a whole."""

    running: Mapping[int, Job] = dataclasses.field(default_factory=dict)
    ended: tuple[Session, ...] = ()
    outcomes: Mapping[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    frames: Mapping[str, int] = dataclasses.field(default_factory=dict)
    spent_ns: Mapping[tuple[str, str], int] = dataclasses.field(default_factory=dict)


class JobBook:
    """Every job of this process, in bounded memory.

    A job is running or counted at each moment, for a signal handler and a finalizer that interrupt
    the book too: each change makes a new page, and puts it in the old one's place in one step.

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
        #: The one lock of this package, re-entrant: of two, finalizers on two threads could each
        #: hold one and wait for the other.
        self.lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._page = _Page()
        self._queues: dict[str, Callable[[], int]] = {}
        #: Called before each question, so that an answer includes what has just ended.
        self.fold: Callable[[], None] = lambda: None

    def start(self, source: str, operation: str) -> Job:
        """Enter a job that starts now.

        Args:
            source: `process` or `pyav`.
            operation: `encode`, `decode` or `remux`.
        """
        job = Job(next(self._numbers), source, operation, self.monotonic_ns(), self._time_ns())
        self._turn(
            lambda page: dataclasses.replace(page, running={**page.running, job.number: job})
        )
        if self.observer is not None:
            self.observer.job_started(job)
        return job

    def end(self, job: Job, ending: Ending) -> bool:
        """Enter the end of a job; a second end of the same job changes nothing.

        Args:
            job: the job, its figures final.
            ending: how it ended.

        Returns:
            Whether this call ended it.
        """
        if ending.ended_ns is None:
            ending = dataclasses.replace(ending, ended_ns=self.monotonic_ns())
        if not self._turn(lambda page: _with_end(page, job, ending)):
            return False
        if self.observer is not None:
            self.observer.job_ended(job, ending)
        return True

    def forget_all(self) -> None:
        """Start from nothing, as a forked child does: its parent's jobs are not its own."""
        self.lock = threading.RLock()
        self._page = _Page()

    def sessions(self, running: bool | None = None) -> list[Session]:
        """Return the jobs as records, newest first.

        Args:
            running: only the running ones (`True`), only the ended (`False`), or both.
        """
        self.fold()
        page, now_ns = self._page, self.monotonic_ns()
        found = [] if running else list(page.ended)
        if running is not False:
            found += [job.session(now_ns) for job in page.running.values()]
        return sorted(found, key=lambda session: session.session_id, reverse=True)

    def track_queue(self, name: str, length: Callable[[], int]) -> None:
        """Add a source of waiting jobs; the same name replaces it.

        Args:
            name: what to call the queue.
            length: returns how many jobs wait.
        """
        self._queues[name] = length

    def untrack_queue(self, name: str) -> None:
        """Remove a source of waiting jobs; an unknown name changes nothing.

        Args:
            name: as given to `track_queue`.
        """
        self._queues.pop(name, None)

    def queue_lengths(self) -> dict[str, int]:
        """Return the waiting jobs by queue; a queue whose source fails is left out."""
        return dict(_asked(list(self._queues.items())))

    def statistics(self) -> EncodeStatistics:
        """Return the figures over all encodes."""
        self.fold()
        queues = self.queue_lengths()
        page = self._page
        active = [job for job in page.running.values() if job.operation == "encode"]
        completed = page.outcomes.get(("encode", OK), 0)
        spent_ns = page.spent_ns.get(("encode", OK), 0)
        return EncodeStatistics(
            encode_fps=total_fps(active),
            queue_length=sum(queues.values()) if queues else None,
            average_encode_time_ms=spent_ns / completed / 1e6 if completed else None,
            failed_encodes=page.outcomes.get(("encode", ERROR), 0),
            hardware_acceleration_active=_any_hardware(active),
            active_encodes=len(active),
            completed_encodes=completed,
            cancelled_encodes=page.outcomes.get(("encode", CANCELLED), 0),
            encoded_frames=_frames_of(page).get("encode", 0),
        )

    def running_jobs(self) -> list[Job]:
        """Return the running jobs."""
        return list(self._page.running.values())

    def outcomes(self) -> Mapping[tuple[str, str], int]:
        """Return the ended jobs by operation and outcome."""
        return self._page.outcomes

    def seconds(self) -> dict[tuple[str, str], float]:
        """Return the time that the ended jobs took, by operation and outcome."""
        return {key: spent_ns / 1e9 for key, spent_ns in self._page.spent_ns.items()}

    def frames(self) -> dict[str, int]:
        """Return the frames done by operation, running jobs included."""
        return _frames_of(self._page)

    def _turn(self, change: Callable[[_Page], _Page | None]) -> bool:
        """Put a changed page in the place of the last; return whether there was a change."""
        while True:
            page = self._page
            changed = change(page)
            if changed is None:
                return False
            with self.lock:
                # Nothing is called between the two, so nothing interrupts: what did so before,
                # by a signal or a finalizer, has left another page, which is then changed anew.
                if self._page is page:
                    self._page = changed
                    return True


def _with_end(page: _Page, job: Job, ending: Ending) -> _Page | None:
    if job.number not in page.running:
        return None
    now_ns = ending.ended_ns or 0
    key = job.operation, ending.state
    session = job.session(now_ns, ending)
    return _Page(
        running={number: each for number, each in page.running.items() if number != job.number},
        ended=(*page.ended, session)[-_KEPT_ENDED:],
        outcomes=_with(page.outcomes, key, 1),
        frames=_with(page.frames, job.operation, session.frames or 0),
        spent_ns=_with(page.spent_ns, key, now_ns - job.started_ns),
    )


def _with(totals: Mapping[K, int], key: K, more: int) -> dict[K, int]:
    return {**totals, key: totals.get(key, 0) + more}


def _frames_of(page: _Page) -> dict[str, int]:
    totals = Counter(page.frames)
    for job in page.running.values():
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
