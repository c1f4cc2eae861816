"""The book of jobs by itself, on a clock that tests move."""

from __future__ import annotations

import threading

import pytest
from otel_studio_instrumentation_ffmpeg import track_queue
from otel_studio_instrumentation_ffmpeg.jobs import CANCELLED, ERROR, OK, Ending, JobBook
from otel_studio_instrumentation_ffmpeg.progress import Progress


class HandClock:
    """A monotonic clock in nanoseconds, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def clock() -> HandClock:
    """A clock at zero."""
    return HandClock()


@pytest.fixture
def book(clock: HandClock) -> JobBook:
    """An empty book on that clock."""
    return JobBook(monotonic_ns=clock, time_ns=lambda: 1_700_000_000_000_000_000)


def test_speed_is_measured_between_reports(book: JobBook, clock: HandClock) -> None:
    """Frames per second of now come from the last two reports, those of all encodes add up."""
    first, second = book.start("process", "encode"), book.start("process", "encode")
    assert book.statistics().encode_fps is None
    for step in range(1, 4):
        clock.advance(0.5)
        first.report(Progress(frames=20 * step), clock())
        second.report(Progress(frames=5 * step), clock())
    assert (first.fps, second.fps) == (40.0, 10.0)
    assert book.statistics().encode_fps == 50.0
    book.end(second, Ending(OK))
    assert book.statistics().encode_fps == 40.0


def test_the_average_is_of_encodes_that_ended_well(book: JobBook, clock: HandClock) -> None:
    """Failed and cancelled encodes, and decodes, add nothing to the average encode time."""
    for seconds, operation, state in [
        (2.0, "encode", OK),
        (4.0, "encode", OK),
        (0.1, "encode", ERROR),
        (9.0, "encode", CANCELLED),
        (1.0, "decode", OK),
        (1.0, "decode", ERROR),
    ]:
        job = book.start("process", operation)
        clock.advance(seconds)
        book.end(job, Ending(state))
    figures = book.statistics()
    assert figures.average_encode_time_ms == 3000.0
    assert (figures.completed_encodes, figures.failed_encodes) == (2, 1)
    assert figures.cancelled_encodes == 1


@pytest.mark.parametrize(
    ("codecs", "answer"),
    [
        ([], False),
        (["libx264"], False),
        (["libx264", "h264_nvenc"], True),
        (["libx264", None], None),
        (["hevc"], None),
    ],
)
def test_hardware_is_active_unknown_or_not(
    book: JobBook, codecs: list[str | None], answer: bool | None
) -> None:
    """One hardware encode is enough for yes; a codec that cannot be told makes no a guess."""
    for codec in codecs:
        book.start("process", "encode").codec = codec
    assert book.statistics().hardware_acceleration_active is answer


def test_progress_is_the_part_of_what_is_expected(book: JobBook, clock: HandClock) -> None:
    """Frames against expected frames, else seconds against expected seconds, else unknown."""
    job = book.start("process", "encode")
    clock.advance(1)
    job.report(Progress(frames=30, output_seconds=1.0), clock())
    assert book.sessions()[0].progress is None
    job.expected_seconds = 4.0
    assert book.sessions()[0].progress == 0.25
    job.expected_frames = 60
    assert book.sessions()[0].progress == 0.5
    book.end(job, Ending(ERROR))
    assert book.sessions()[0].progress == 0.5


def test_the_book_is_bounded(book: JobBook) -> None:
    """The last hundred ended jobs are kept; the totals go on."""
    for _ in range(250):
        book.end(book.start("process", "encode"), Ending(OK))
    kept = book.sessions(running=False)
    assert [session.session_id for session in kept] == list(range(250, 150, -1))
    assert book.statistics().completed_encodes == 250


def test_a_job_ends_once_whoever_ends_it(book: JobBook) -> None:
    """Threads that all see the end of the same jobs count each once."""
    jobs = [book.start("process", "encode") for _ in range(200)]
    barrier = threading.Barrier(4)

    def end_all() -> None:
        barrier.wait()
        for job in jobs:
            book.end(job, Ending(OK))

    threads = [threading.Thread(target=end_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert book.statistics().completed_encodes == 200


def test_a_queue_that_fails_is_left_out(book: JobBook) -> None:
    """A source that raises has no length, and harms no other."""

    def broken() -> int:
        raise RuntimeError("closed")

    book.track_queue("a", broken)
    book.track_queue("b", lambda: 3)
    assert book.queue_lengths() == {"b": 3}


def test_a_queue_needs_a_function() -> None:
    """A wrong argument is said in one sentence."""
    with pytest.raises(TypeError, match="give a function that returns the number of waiting jobs"):
        track_queue("a", 3)  # type: ignore[arg-type]
