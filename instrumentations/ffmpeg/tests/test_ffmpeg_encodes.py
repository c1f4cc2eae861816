"""Real encodes, and what ffmpeg itself reported of them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import otel_studio_instrumentation_ffmpeg as followed
import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otel_studio.gpu.encoders import sources_of
from otel_studio.operations import seat

from parts import need, wait_until

ENCODE = (("ffmpeg.operation", "encode"),)


def reported_frames(stderr: str) -> int | None:
    """Return the last frame count in ffmpeg's own statistics."""
    counts = re.findall(r"frame=\s*(\d+)", stderr)
    return int(counts[-1]) if counts else None


def stored_frames(path: Path) -> int:
    """Return how many frames ffprobe finds in a file."""
    command = "-v error -select_streams v -count_packets -show_entries stream=nb_read_packets"
    arguments = [str(need("ffprobe")), *command.split(), "-of", "json", str(path)]
    answer = subprocess.run(arguments, capture_output=True, check=True)
    return int(json.loads(answer.stdout)["streams"][0]["nb_read_packets"])


def test_ten_encodes_of_which_two_fail_equal_what_ffmpeg_reported(ffmpeg: Any) -> None:
    """Sessions, frames and failures are those of ffmpeg's own statistics and exit codes."""
    lengths = [25, 30, 40, 50, 60, 75, 90, 100]
    commands = [ffmpeg.encode(f"good-{frames}.mp4", frames=frames) for frames in lengths]
    missing = [ffmpeg.program, "-i", str(ffmpeg.folder / "none.mov"), "-c:v", "libx264", "o.mp4"]
    full_disk = [*ffmpeg.encode("x", frames=400)[:-1], "-g", "1", "-f", "matroska", "/dev/full"]
    commands[3:3] = [missing]
    commands[6:6] = [full_disk]

    answers = [
        subprocess.run(each, capture_output=True, text=True, check=False) for each in commands
    ]

    sessions = list(reversed(followed.sessions()))
    assert len(sessions) == 10
    assert [session.exit_code for session in sessions] == [each.returncode for each in answers]
    assert [session.frames for session in sessions] == [
        reported_frames(each.stderr) for each in answers
    ]
    assert [session.state for session in sessions].count("error") == 2
    assert sessions[3].state == sessions[6].state == "error"
    assert sessions[3].error is not None
    assert "No such file or directory" in sessions[3].error
    assert sessions[6].error is not None
    assert "No space left on device" in sessions[6].error
    good = [session for session in sessions if session.state == "ok"]
    assert [session.frames for session in good] == lengths
    assert [stored_frames(ffmpeg.folder / f"good-{frames}.mp4") for frames in lengths] == lengths
    assert {(each.codec, each.resolution, each.frame_rate) for each in good} == {
        ("libx264", "160x120", 25.0)
    }
    assert all(each.hardware_accelerated is False and each.progress == 1.0 for each in good)

    figures = followed.statistics()
    assert (figures.completed_encodes, figures.failed_encodes) == (8, 2)
    assert figures.encoded_frames == sum(each.frames or 0 for each in sessions)
    assert figures.encode_fps == 0.0
    assert figures.average_encode_time_ms is not None
    assert abs(figures.average_encode_time_ms - sum(s.duration_ms for s in good) / 8) < 1e-6

    spans = ffmpeg.spans()
    assert [span.name for span in spans] == ["encode"] * 10
    assert {span.instrumentation_scope.name for span in spans} == {"ffmpeg"}
    assert [span.attributes.get("ffmpeg.frames") for span in spans] == [s.frames for s in sessions]
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    assert [span.attributes["process.pid"] for span in failed] == [sessions[3].pid, sessions[6].pid]
    assert all(span.attributes["error.type"] == "exit_code_1" for span in failed)
    assert failed[1].status.description == sessions[6].error

    ended = ffmpeg.metric("otel_studio.ffmpeg.session.count")
    assert ended[*ENCODE, ("ffmpeg.outcome", "ok")] == 8
    assert ended[*ENCODE, ("ffmpeg.outcome", "error")] == 2
    spent = ffmpeg.metric("otel_studio.ffmpeg.session.duration")
    good_ones = *ENCODE, ("ffmpeg.outcome", "ok")
    average = spent[good_ones] / ended[good_ones] * 1_000
    assert average == pytest.approx(figures.average_encode_time_ms)
    assert ffmpeg.metric("otel_studio.ffmpeg.frames")[ENCODE] == figures.encoded_frames
    assert ffmpeg.metric("otel_studio.ffmpeg.session.active")[ENCODE] == 0


async def test_encodes_started_by_asyncio_are_followed(ffmpeg: Any) -> None:
    """`create_subprocess_exec` gives the same figures, with `communicate` and with `wait`."""
    good = await asyncio.create_subprocess_exec(
        *ffmpeg.encode("a.mp4", frames=30), stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await good.communicate()
    bad = await asyncio.create_subprocess_exec(
        ffmpeg.program, "-i", "none.mov", "out.mp4", stderr=asyncio.subprocess.DEVNULL
    )
    assert await bad.wait() == 1

    failed, done = followed.sessions()
    assert done.frames == reported_frames(stderr.decode()) == 30
    assert (done.state, done.exit_code, done.codec) == ("ok", 0, "libx264")
    assert (failed.state, failed.exit_code) == ("error", 1)
    assert failed.error is not None
    assert "No such file" in failed.error


def test_a_running_session_tells_its_speed_and_progress(ffmpeg: Any) -> None:
    """While an encode runs, its frames, speed and part done are there, and then it is stopped."""
    source = "testsrc=size=160x120:rate=25"
    arguments = f"-v error -y -re -f lavfi -i {source} -t 60 -c:v mpeg4 -s 80x60".split()
    with subprocess.Popen([ffmpeg.program, *arguments, str(ffmpeg.folder / "o.avi")]) as child:
        session = wait_until(
            lambda: next((s for s in followed.sessions(running=True) if s.fps is not None), None)
        )
        assert (session.pid, session.codec, session.resolution) == (child.pid, "mpeg4", "80x60")
        assert session.progress is not None
        assert 0 < session.progress < 1
        assert 10 < session.fps < 60
        figures = followed.statistics()
        assert figures.active_encodes == 1
        assert figures.encode_fps == followed.sessions(running=True)[0].fps
        assert figures.hardware_acceleration_active is False
        assert ffmpeg.metric("otel_studio.ffmpeg.session.active")[ENCODE] == 1
        assert ffmpeg.metric("otel_studio.ffmpeg.frame_rate")[ENCODE] > 0
        child.terminate()

    (session,) = followed.sessions()
    assert (session.state, session.fps, session.error) == ("cancelled", None, None)
    (span,) = ffmpeg.spans()
    assert span.attributes["studio.outcome"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET


def test_a_job_is_a_child_of_the_operation_that_started_it(ffmpeg: Any) -> None:
    """The span has the caller's span as parent, and does not stay current."""
    tracer = ffmpeg.tracer_provider.get_tracer("caller")
    with tracer.start_as_current_span("convert") as parent:
        subprocess.run(ffmpeg.encode("a.mp4"), stderr=subprocess.DEVNULL, check=True)
        assert trace.get_current_span() is parent
    encode, convert = ffmpeg.spans()
    assert encode.parent.span_id == convert.context.span_id
    assert convert.start_time <= encode.start_time <= encode.end_time <= convert.end_time


def test_decodes_and_remuxes_are_told_apart(ffmpeg: Any) -> None:
    """A job that only decodes, or only copies, is no encode."""
    subprocess.run(ffmpeg.encode("a.mp4"), stderr=subprocess.DEVNULL, check=True)
    clip = str(ffmpeg.folder / "a.mp4")
    copy = [ffmpeg.program, "-v", "error", "-i", clip, "-c", "copy", clip + ".mkv"]
    decode = [ffmpeg.program, "-v", "error", "-i", clip, "-f", "null", "-"]
    subprocess.run(copy, check=True)
    subprocess.run(decode, check=True)
    decoded, copied, encoded = followed.sessions()
    assert [s.operation for s in (encoded, copied, decoded)] == ["encode", "remux", "decode"]
    assert (decoded.codec, decoded.frames) == ("h264", 50)
    assert copied.codec == "copy" or copied.codec is None
    assert followed.statistics().completed_encodes == 1


def test_waiting_jobs_are_those_of_the_queues_given(ffmpeg: Any) -> None:
    """Queue length is the sum over the given sources, and unknown without any."""
    assert followed.statistics().queue_length is None
    followed.track_queue("previews", [1, 2, 3].__len__)
    followed.track_queue("clips", lambda: 2)
    try:
        assert followed.statistics().queue_length == 5
        lengths = ffmpeg.metric("otel_studio.ffmpeg.queue.length")
        assert lengths == {(("ffmpeg.queue", "previews"),): 3, (("ffmpeg.queue", "clips"),): 2}
    finally:
        followed.untrack_queue("previews")
        followed.untrack_queue("clips")


def test_the_figures_reach_otel_studio(ffmpeg: Any) -> None:
    """Where OTel Studio is installed, its encode statistics are these."""
    from otel_studio.gpu.encoders import sources_of
    from otel_studio.operations import seat

    subprocess.run(ffmpeg.encode("a.mp4"), stderr=subprocess.DEVNULL, check=True)
    subprocess.run([ffmpeg.program, "-v", "quiet", "-i", "none", "o.mp4"], check=False)
    figures = sources_of(seat.current()).statistics()
    assert (figures.completed_encodes, figures.failed_encodes) == (1, 1)
    followed.FFmpegInstrumentor().uninstrument()
    assert sources_of(seat.current()).statistics().completed_encodes is None
    ffmpeg.instrument()


def test_jobs_are_operations_of_otel_studio(ffmpeg: Any) -> None:
    """In its registry the service is `ffmpeg`, with ok, failed and cancelled encodes apart."""
    studio = pytest.importorskip("otel_studio", reason="OTel Studio is not installed")

    followed.FFmpegInstrumentor().uninstrument()
    with studio.isolated() as isolated:
        followed.FFmpegInstrumentor().instrument(
            tracer_provider=isolated.tracer_provider, meter_provider=isolated.meter_provider
        )
        subprocess.run(ffmpeg.encode("a.mp4"), stderr=subprocess.DEVNULL, check=True)
        subprocess.run([ffmpeg.program, "-v", "error", "-i", "none", "o.mp4"], check=False)
        slow = ffmpeg.encode("b.mp4", frames=100_000, options=("-v", "error", "-re"))
        with subprocess.Popen(slow) as child:
            assert studio.api.get_active_operations_count().by_service == {"ffmpeg": 1}
            child.terminate()
        encodes = studio.api.get_service_metrics("ffmpeg").operation_metrics["encode"]
    assert (encodes.count, encodes.errors, encodes.cancelled, encodes.active) == (3, 1, 1, 0)
    assert "none: No such file or directory" in (encodes.last_error or "")


def test_an_encode_that_runs_is_told_of_to_otel_studio(ffmpeg: Any) -> None:
    """Its process, and bitrate and length of its output so far, by what ffmpeg reports."""
    source = ["-re", "-f", "lavfi", "-i", "testsrc=duration=60:size=320x240:rate=25"]
    command = [ffmpeg.program, "-v", "error", *source, "-c:v", "mpeg4", "-f", "mpegts"]
    with subprocess.Popen([*command, "-y", str(ffmpeg.folder / "slow.ts")]) as child:

        def told() -> Any:
            running = sources_of(seat.current()).statistics().running
            return [each for each in running if (each.duration_seconds or 0) > 0.3]

        wait_until(told, 20, "a report")
        [encode] = told()
        child.terminate()
    assert encode.pid == child.pid
    assert 0 < encode.duration_seconds < 60
    assert 0 < encode.bitrate_mbps < 50
    assert sources_of(seat.current()).statistics().running == ()


def test_of_several_outputs_no_figure_is_told_of_one(ffmpeg: Any) -> None:
    """Ffmpeg reports the bitrate of its first output: that of a session of the GPU is not known."""
    source = ["-re", "-f", "lavfi", "-i", "testsrc=duration=60:size=160x120:rate=25"]
    output = ["-c:v", "mpeg4", "-f", "mpegts", "/dev/null"]
    command = [ffmpeg.program, "-v", "error", "-y", *source, *output, *output]
    with subprocess.Popen(command) as child:
        wait_until(lambda: followed.sessions()[0].output_seconds)
        [encode] = sources_of(seat.current()).statistics().running
        child.terminate()
    assert (encode.pid, encode.bitrate_mbps, encode.duration_seconds) == (child.pid, None, None)
