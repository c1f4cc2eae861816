"""Signal handlers and finalizers use the book of jobs inside of a use of it."""

from __future__ import annotations

import os

import pytest
from otel_studio_instrumentation_ffmpeg.jobs import OK, Ending, JobBook
from otel_studio_instrumentation_ffmpeg.stops import SignalFollower

from reentry import interrupted

pytestmark = [pytest.mark.prove, pytest.mark.timeout(300)]


def test_no_job_is_lost_and_nothing_waits() -> None:
    """Jobs start and end, queues are tracked and figures asked for, inside of the same."""
    book = JobBook()
    ended: list[int] = []

    def use() -> None:
        job = book.start("process", "encode")
        book.track_queue("jobs", lambda: 1)
        book.statistics()
        book.end(job, Ending(OK))
        ended.append(1)
        book.sessions(running=True)

    interrupted(use, use)
    found = book.statistics()

    assert (found.completed_encodes, found.active_encodes) == (len(ended), 0)


def test_signals_are_seen_inside_of_one() -> None:
    """A handler that sends a signal itself, as supervisors do."""
    seen: list[int] = []

    def sending(_target: str, _who: int, number: int) -> object:
        seen.append(number)
        return lambda: None

    follower = SignalFollower(sending)  # type: ignore[arg-type]
    follower.patch()
    try:
        interrupted(lambda: os.kill(os.getpid(), 0), lambda: os.kill(os.getpid(), 0))
    finally:
        follower.unpatch()
    assert seen == []  # none was sent: 0 only asks whether the process is there
