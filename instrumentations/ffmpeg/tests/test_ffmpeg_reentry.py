"""Signal handlers and finalizers use the book of jobs inside of a use of it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import otel_studio_instrumentation_ffmpeg as followed
import pytest
from otel_studio_instrumentation_ffmpeg.jobs import OK, Ending, JobBook
from otel_studio_instrumentation_ffmpeg.stops import SignalFollower

from reentry import interrupted

import proving

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


def open_descriptors() -> int:
    """Return how many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_children_are_followed_inside_of_one_another(ffmpeg: Any) -> None:
    """Handlers and finalizers start, ask for, stop and wait for children, as the program does.

    Descriptors, the watcher's thread and the book are used inside of a use of them; each child is
    counted once, as what it was, and nothing is left open.
    """
    launcher = ffmpeg.folder / "ffmpeg"
    launcher.write_text("#!/bin/sh\nexec sleep 60\n")
    launcher.chmod(0o755)
    short = ffmpeg.encode("-", frames=5, options=("-v", "error"), codec="mpeg4")[:-1]
    short += ["-f", "null", "/dev/null"]
    counts = {"ok": 0, "cancelled": 0}
    turns = itertools.count()

    def encode() -> None:
        child = subprocess.Popen(short)
        followed.sessions(running=True)
        assert child.wait() == 0
        counts["ok"] += 1

    def inside() -> None:
        turn = next(turns)
        followed.statistics()
        followed.sessions()
        if turn % 20 == 0:
            child = subprocess.Popen([launcher, "-i", "a.mov", "b.mp4"])
            os.kill(child.pid, signal.SIGTERM)
            child.wait()
            counts["cancelled"] += 1
        elif turn % 20 == 10:
            encode()

    before = open_descriptors()
    interrupted(encode, inside, followed.statistics, times=proving.scaled(200))
    assert followed.wait_until_idle(10)
    assert followed.sessions(running=True) == []
    assert dict(followed._book.outcomes()) == {
        ("decode", "ok"): counts["ok"],
        ("encode", "cancelled"): counts["cancelled"],
    }
    assert followed._book.frames() == {"decode": 5 * counts["ok"], "encode": 0}
    assert open_descriptors() == before
