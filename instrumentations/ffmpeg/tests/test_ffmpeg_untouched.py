"""What the caller must not notice: streams, arguments, errors, descriptors, the child's life."""

from __future__ import annotations

import asyncio.subprocess
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import otel_studio_instrumentation_ffmpeg as followed
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from otel_studio_instrumentation_ffmpeg.progress import ProgressParser

from parts import need, wait_until


def stable(stderr: bytes) -> list[str]:
    """Return the lines of a log without addresses, speeds and intermediate statistics."""
    text = re.sub(r"0x[0-9a-f]+", "0x", stderr.decode().replace("\r", "\n"))
    text = re.sub(r"(fps|speed)= *\S+", "", text)
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line and "Lsize" not in line and "size=" not in line]


@pytest.mark.parametrize(
    "options",
    [(), ("-v", "error"), ("-v", "verbose"), ("-v", "debug"), ("-hide_banner", "-nostats")],
)
def test_stdout_and_stderr_are_those_of_a_plain_run(ffmpeg: Any, options: tuple[str, ...]) -> None:
    """The caller reads the same bytes from stdout and the same lines from stderr."""
    command = ffmpeg.encode("x", options=options, codec="mpeg4")[:-1]
    command += ["-bitexact", "-f", "nut", "pipe:1"]
    seen = subprocess.run(command, capture_output=True, check=True)
    with suppress_instrumentation():
        plain = subprocess.run(command, capture_output=True, check=True)
    assert len(followed.sessions()) == 1
    assert seen.stdout == plain.stdout
    assert stable(seen.stderr) == stable(plain.stderr)
    assert seen.args is command


def test_an_inherited_stderr_is_the_callers(ffmpeg: Any) -> None:
    """A child that writes to the caller's own stderr is neither asked for a log nor read."""
    script = f"""
        import subprocess, otel_studio_instrumentation_ffmpeg as followed
        followed.FFmpegInstrumentor().instrument()
        subprocess.run([{ffmpeg.program!r}, "-hide_banner", "-i", "none.mov", "out.mp4"])
        session, = followed.sessions()
        assert (session.state, session.error) == ("error", None), session
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=True, text=True
    )
    assert done.stderr == "none.mov: No such file or directory\n"


def test_the_callers_own_progress_and_report_stay(ffmpeg: Any) -> None:
    """An own `-progress` reaches the caller; what `communicate` returns of it is all we read."""
    command = ffmpeg.encode("a.mp4", options=("-v", "error", "-progress", "pipe:1"))
    report = ffmpeg.folder / "report.log"
    environment = {**os.environ, "FFREPORT": f"file={report}:level=32"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    assert b"progress=end" in done.stdout
    assert "Stream mapping" in report.read_text()
    (session,) = followed.sessions()
    assert (session.state, session.frames) == ("ok", 50)


def test_without_closing_descriptors_the_job_is_followed_by_its_end(ffmpeg: Any) -> None:
    """`close_fds=False` stays as it is: no descriptor is added, so nothing but the end is known."""
    subprocess.run(ffmpeg.encode("a.mp4"), close_fds=False, stderr=subprocess.DEVNULL, check=True)
    (session,) = followed.sessions()
    assert (session.state, session.exit_code, session.frames) == ("ok", 0, None)


def test_a_program_without_own_streams_is_followed_as_well(ffmpeg: Any) -> None:
    """Where 0, 1 and 2 are free, what is added takes none of them: they are the child's streams."""
    command = [*ffmpeg.encode("x", options=("-v", "error"), codec="mpeg4")[:-1], "-bitexact"]
    command += ["-f", "nut", "pipe:1"]
    with suppress_instrumentation():
        plain = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    output = ffmpeg.folder / "daemon.nut"
    script = f"""
        import os, subprocess, otel_studio_instrumentation_ffmpeg as followed
        followed.FFmpegInstrumentor().instrument()
        os.closerange(0, 3)
        with open({str(output)!r}, "wb", buffering=0) as file:
            os._exit(subprocess.run({command!r}, stdout=file).returncode
                     or followed.sessions()[0].frames != 50)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    assert output.read_bytes() == plain


def test_own_descriptors_are_passed_on(ffmpeg: Any) -> None:
    """`pass_fds` of the caller works beside the extra descriptor."""
    read, write = os.pipe()
    command = [*ffmpeg.encode("x", codec="mpeg4")[:-1], "-f", "nut", f"pipe:{write}"]
    with subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL) as child:
        os.close(write)
        with os.fdopen(read, "rb") as stream:
            assert stream.read(4) == b"nut/"
            stream.read()
        assert child.wait() == 0
    assert followed.sessions()[0].frames == 50


def test_programs_that_are_no_jobs_are_left_alone(ffmpeg: Any) -> None:
    """Other programs, shells and `ffmpeg -version` are not followed."""
    subprocess.run([ffmpeg.program, "-version"], stdout=subprocess.DEVNULL, check=True)
    subprocess.run([sys.executable, "-c", ""], check=True)
    subprocess.run("true ffmpeg -i a b", shell=True, check=True)
    with pytest.raises(TypeError):
        subprocess.run(12, check=True)  # type: ignore[call-overload]
    assert followed.sessions() == []


def test_a_start_that_fails_raises_the_same_and_counts(ffmpeg: Any) -> None:
    """A missing program raises as ever, and is a failed job."""
    with pytest.raises(FileNotFoundError) as raised:
        subprocess.run(["/nowhere/ffmpeg", "-i", "a.mov", "b.mp4"], check=True)
    assert raised.value.filename == "/nowhere/ffmpeg"
    (session,) = followed.sessions()
    assert (session.state, session.pid, session.exit_code) == ("error", None, None)
    assert ffmpeg.spans()[0].attributes["error.type"] == "FileNotFoundError"


def test_a_child_killed_from_outside_failed(ffmpeg: Any) -> None:
    """A signal that the caller did not send makes the job a failure of that signal's name."""
    command = ffmpeg.encode("a.mp4", frames=100_000, options=("-v", "error", "-re"))
    with subprocess.Popen(command) as child:
        wait_until(lambda: followed.sessions()[0].frames)
        subprocess.run(["kill", "-KILL", str(child.pid)], check=True)
        assert child.wait() == -signal.SIGKILL
    assert ffmpeg.spans()[0].attributes["error.type"] == "SIGKILL"
    assert followed.statistics().failed_encodes == 1


async def test_an_asyncio_child_that_the_caller_kills_is_cancelled(ffmpeg: Any) -> None:
    """`kill` on asyncio's process stops the job rather than failing it."""
    command = ffmpeg.encode("a.mp4", frames=100_000, options=("-v", "error", "-re"))
    child = await asyncio.create_subprocess_exec(*command)
    child.kill()
    await child.wait()
    assert followed.sessions()[0].state == "cancelled"


def test_a_timeout_is_the_callers_choice(ffmpeg: Any) -> None:
    """`run(timeout=)` raises `TimeoutExpired` as ever, and the job counts as cancelled."""
    command = ffmpeg.encode("a.mp4", frames=100_000, options=("-v", "error", "-re"))
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, timeout=0.3, capture_output=True, check=True)
    assert followed.sessions()[0].state == "cancelled"


def test_an_end_nobody_waits_for_is_seen(ffmpeg: Any) -> None:
    """A child that its starter does not wait for ends its job all the same, and stays waitable."""
    child = subprocess.Popen(ffmpeg.encode("a.mp4"), stderr=subprocess.DEVNULL)
    wait_until(ffmpeg.spans)
    assert child.returncode is None
    assert followed.sessions()[0].state == "ok"
    assert child.wait() == 0
    assert len(ffmpeg.spans()) == 1


def test_the_end_is_seen_without_exit_descriptors(
    ffmpeg: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no `pidfd`, the end is found by looking."""
    monkeypatch.delattr(os, "pidfd_open")
    child = subprocess.Popen(ffmpeg.encode("a.mp4"), stderr=subprocess.DEVNULL)
    wait_until(ffmpeg.spans)
    assert followed.sessions()[0].frames == 50
    assert child.wait() == 0


def test_a_status_that_nobody_gets_is_unknown(ffmpeg: Any) -> None:
    """Where the system throws exit statuses away, a job ended neither well nor badly."""
    script = f"""
        import signal, subprocess, time, otel_studio_instrumentation_ffmpeg as followed
        followed.FFmpegInstrumentor().instrument()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        child = subprocess.Popen({ffmpeg.encode("a.mp4")!r}, stderr=subprocess.DEVNULL)
        while followed.sessions()[0].state == "running":
            time.sleep(0.05)
        (session,) = followed.sessions()
        assert (session.state, session.exit_code, session.frames) == ("unknown", None, 50), session
        assert followed.statistics().failed_encodes == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_a_failure_of_ours_does_not_stop_the_child(
    ffmpeg: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If reading the progress breaks, the encode goes on to its end, which is still seen."""

    def broken(*_: Any) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(ProgressParser, "feed", broken)
    child = subprocess.Popen(ffmpeg.encode("a.mp4", frames=500), stderr=subprocess.DEVNULL)
    wait_until(ffmpeg.spans)
    assert child.wait() == 0
    assert followed.sessions()[0].state == "ok"


def test_without_a_thread_the_caller_notices_nothing(
    ffmpeg: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, the caller's own wait still ends the job."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        subprocess.run(ffmpeg.encode("a.mp4"), stderr=subprocess.DEVNULL, check=True)
        (session,) = followed.sessions()
        assert (session.state, session.frames) == ("ok", 50)
    subprocess.run(ffmpeg.encode("b.mp4"), stderr=subprocess.DEVNULL, check=True)
    assert [each.frames for each in followed.sessions()] == [50, 50]


def test_an_encode_outlives_the_program_that_started_it(ffmpeg: Any) -> None:
    """A crash of the starting program leaves the encode running to its end."""
    output = ffmpeg.folder / "a.mkv"
    command = [*ffmpeg.encode("a.mkv", frames=40, options=("-v", "error", "-re"))]
    script = f"""
        import os, subprocess, time, otel_studio_instrumentation_ffmpeg as followed
        followed.FFmpegInstrumentor().instrument()
        child = subprocess.Popen({command!r})
        while not followed.sessions()[0].frames:
            time.sleep(0.01)
        print(child.pid, flush=True)
        os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, check=True
    )
    child = int(done.stdout)
    wait_until(lambda: not Path(f"/proc/{child}").exists() or _is_zombie(child), timeout=20)
    probe = [str(need("ffprobe")), "-v", "error", "-count_packets", "-show_entries"]
    probe += ["stream=nb_read_packets", "-of", "csv=p=0", str(output)]
    assert subprocess.run(probe, capture_output=True, check=True).stdout.strip() == b"40"


def _is_zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_a_forked_child_starts_from_nothing(ffmpeg: Any) -> None:
    """After a fork the child knows no job of its parent, and follows its own."""
    running = ffmpeg.encode("a.mp4", frames=100_000, options=("-v", "error", "-re"))
    script = f"""
        import os, subprocess, otel_studio_instrumentation_ffmpeg as followed
        followed.FFmpegInstrumentor().instrument()
        child = subprocess.Popen({running!r})
        import warnings; warnings.simplefilter("ignore")
        pid = os.fork()
        if pid == 0:
            try:
                assert followed.sessions() == []
                subprocess.run({ffmpeg.encode("b.mp4")!r}, stderr=subprocess.DEVNULL, check=True)
                assert [s.frames for s in followed.sessions()] == [50]
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert [s.state for s in followed.sessions()] == ["running"]
        child.terminate()
        child.wait()
        assert [s.state for s in followed.sessions()] == ["cancelled"]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_nothing_is_left_open(ffmpeg: Any) -> None:
    """After twenty jobs at a time there are no more descriptors and no thread of ours."""
    subprocess.run(ffmpeg.encode("warm.mp4"), stderr=subprocess.DEVNULL, check=True)
    assert followed.wait_until_idle()
    before = set(Path("/proc/self/fd").iterdir())
    children = [
        subprocess.Popen(ffmpeg.encode(f"{n}.mp4", frames=5), stderr=subprocess.DEVNULL)
        for n in range(20)
    ]
    assert {child.wait() for child in children} == {0}
    assert followed.wait_until_idle()
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert not [t for t in threading.enumerate() if t.name == "otel-studio-ffmpeg"]
    assert followed.statistics().encoded_frames == 50 + 20 * 5


def test_uninstrument_restores_and_follows_to_the_end(ffmpeg: Any) -> None:
    """The patched functions are the originals again; a running job still ends as it should."""
    command = ffmpeg.encode("a.mp4", frames=25, options=("-v", "error", "-re"))
    child = subprocess.Popen(command)
    followed.FFmpegInstrumentor().uninstrument()
    for owner in (subprocess.Popen, asyncio.subprocess.Process):
        for name in ("__init__", "wait", "communicate", "send_signal", "kill", "terminate"):
            assert not hasattr(getattr(owner, name), "__wrapped__"), (owner, name)
    assert {type(each) for each in (os.kill, os.killpg)} == {type(len)}
    subprocess.run(ffmpeg.encode("b.mp4"), stderr=subprocess.DEVNULL, check=True)
    assert child.wait() == 0
    assert followed.wait_until_idle()
    ffmpeg.instrument()
    (session,) = followed.sessions()
    assert (session.state, session.frames) == ("ok", 25)


def test_metrics_come_again_after_instrumenting_again(ffmpeg: Any) -> None:
    """The same meter provider keeps reporting after `uninstrument` and `instrument`."""
    followed.FFmpegInstrumentor().uninstrument()
    assert ffmpeg.metric("otel_studio.ffmpeg.session.count") == {}
    ffmpeg.instrument()
    subprocess.run(ffmpeg.encode("a.mp4"), stderr=subprocess.DEVNULL, check=True)
    assert list(ffmpeg.metric("otel_studio.ffmpeg.session.count").values()) == [1]


def test_opentelemetry_instrument_picks_it_up(ffmpeg: Any) -> None:
    """The entry point is there, and zero-code instrumentation turns it on."""
    (entry,) = entry_points(group="opentelemetry_instrumentor", name="ffmpeg")
    assert entry.load() is followed.FFmpegInstrumentor
    script = f"""
        import subprocess, otel_studio_instrumentation_ffmpeg as followed
        subprocess.run({ffmpeg.encode("a.mp4")!r}, stderr=subprocess.DEVNULL, check=True)
        print([s.frames for s in followed.sessions()])
    """
    command = [str(need("opentelemetry-instrument")), sys.executable, "-c", textwrap.dedent(script)]
    exporters = {f"OTEL_{kind}_EXPORTER": "none" for kind in ("TRACES", "METRICS", "LOGS")}
    done = subprocess.run(command, env={**os.environ, **exporters}, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[50]", done.stderr
