"""What is ffmpeg itself and what only starts it: to a launcher nothing is added."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import otel_studio_instrumentation_ffmpeg as followed
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.instrumentation.utils import suppress_instrumentation
from otel_studio_instrumentation_ffmpeg.program import (
    executed_file,
    is_ffmpeg_itself,
    is_named_ffmpeg,
    may_be_ffmpeg,
)

from parts import need

#: Starts the real one without the descriptors that it was given, as docker and snap do.
PYTHON_LAUNCHER = (
    "#!{python}\nimport subprocess, sys\nsys.exit(subprocess.call([{real!r}, *sys.argv[1:]]))\n"
)
#: Closes all above 9 and starts the real one in its own place.
SHELL_LAUNCHER = '#!/bin/sh\nexec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-\nexec {real} "$@"\n'


def launcher(path: Path, text: str) -> Path:
    """Write a script that starts ffmpeg."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.format(python=sys.executable, real=str(need("ffmpeg"))))
    path.chmod(0o755)
    return path


def encode(program: Any, output: Path, **options: Any) -> tuple[int, bytes, bytes, bytes]:
    """Run an encode that gives the same bytes each time; return all that its caller gets of it."""
    source = "testsrc=size=160x120:rate=25:duration=2"
    command = [program, "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "mpeg2video"]
    command += ["-bitexact", "-y", str(output)]
    done = subprocess.run(command, capture_output=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr, output.read_bytes()


def is_untouched(folder: Path, program: Any, **options: Any) -> bool:
    """Return whether a followed encode equals a plain one."""
    with suppress_instrumentation():
        plain = encode(program, folder / "plain.mp4", **options)
    return encode(program, folder / "followed.mp4", **options) == plain


@pytest.mark.parametrize("text", [PYTHON_LAUNCHER, SHELL_LAUNCHER], ids=["python", "shell"])
def test_a_launcher_gets_the_arguments_as_they_are(ffmpeg: Any, text: str) -> None:
    """Its output, streams and exit code are those of a plain run; the job's end is known."""
    program = launcher(ffmpeg.folder / "bin" / "ffmpeg", text)
    assert is_untouched(ffmpeg.folder, str(program))
    (session,) = followed.sessions()
    assert (session.state, session.exit_code, session.codec) == ("ok", 0, "mpeg2video")
    assert (session.frames, session.bitrate_kbps, session.progress) == (None, None, 1.0)
    assert session.duration_ms > 0


def test_a_launcher_that_fails_keeps_its_exit_code(ffmpeg: Any) -> None:
    """A failure behind a launcher is one, with the reason where the caller reads stderr."""
    program = launcher(ffmpeg.folder / "bin" / "ffmpeg", PYTHON_LAUNCHER)
    subprocess.run([program, "-i", "none.mov", "o.mp4"], capture_output=True, check=False)
    (session,) = followed.sessions()
    assert (session.state, session.exit_code) == ("error", 1)
    assert "No such file" in (session.error or "")


def test_a_launchers_figures_are_those_that_the_caller_reads(ffmpeg: Any) -> None:
    """Ffmpeg's statistics on a captured stderr tell frames and speed, its size only in KiB."""
    program = launcher(ffmpeg.folder / "bin" / "ffmpeg", PYTHON_LAUNCHER)
    command = [str(program), *ffmpeg.encode("a.mp4")[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (session,) = followed.sessions()
    assert (session.frames, session.dropped_frames, session.output_bytes) == (50, None, None)
    assert session.codec == "libx264"
    assert f"bitrate={session.bitrate_kbps:6.1f}kbits/s" in done.stderr


def test_the_callers_own_progress_is_read_where_the_caller_reads_it(ffmpeg: Any) -> None:
    """What `communicate` brings of `-progress pipe:1` is searched, behind a launcher too."""
    program = launcher(ffmpeg.folder / "bin" / "ffmpeg", PYTHON_LAUNCHER)
    options = ("-v", "error", "-progress", "pipe:1")
    command = [str(program), *ffmpeg.encode("a.mp4", options=options)[1:]]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    (session,) = followed.sessions()
    assert session.frames == 50
    assert f"total_size={session.output_bytes}\n" in done.stdout


def in_path(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The child's own `PATH` finds a launcher, ours would find ffmpeg."""
    program = launcher(folder / "bin" / "ffmpeg", PYTHON_LAUNCHER)
    return "ffmpeg", {"env": {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}}


def beside_cwd(folder: Path) -> tuple[Any, dict[str, Any]]:
    """A relative name begins in the child's folder."""
    program = launcher(folder / "bin" / "ffmpeg", PYTHON_LAUNCHER)
    return "./ffmpeg", {"cwd": program.parent}


def in_relative_path(folder: Path) -> tuple[Any, dict[str, Any]]:
    """So does a relative folder of `PATH`, and an empty one."""
    program = launcher(folder / "bin" / "ffmpeg", PYTHON_LAUNCHER)
    return "ffmpeg", {
        "env": {**os.environ, "PATH": ":/usr/bin"},
        "cwd": os.fsencode(program.parent),
    }


def by_link(folder: Path) -> tuple[Any, dict[str, Any]]:
    """A link named as ffmpeg leads to a launcher of many names, as snap's and busybox's do."""
    link = folder / "ffmpeg"
    link.symlink_to(launcher(folder / "bin" / "snap", PYTHON_LAUNCHER))
    return link, {}


def by_executable(folder: Path) -> tuple[Any, dict[str, Any]]:
    """`executable=` is what runs, whatever the first argument says."""
    program = launcher(folder / "bin" / "ffmpeg", PYTHON_LAUNCHER)
    return str(need("ffmpeg")), {"executable": str(program)}


@pytest.mark.parametrize("way", [in_path, beside_cwd, in_relative_path, by_link, by_executable])
def test_a_launcher_is_found_however_it_is_named(
    ffmpeg: Any, way: Callable[[Path], tuple[Any, dict[str, Any]]]
) -> None:
    """The file that the child executes counts, not the one that a name finds here."""
    program, options = way(ffmpeg.folder)
    assert is_untouched(ffmpeg.folder, program, **options)
    assert followed.sessions()[0].frames is None


def closing_all() -> None:
    """Close what a child was given, as code does that makes daemons."""
    os.closerange(3, 256)


def test_what_runs_in_the_child_first_may_close_descriptors(ffmpeg: Any) -> None:
    """With a `preexec_fn` of the caller's nothing is added, but for those known to be harmless."""
    assert is_untouched(ffmpeg.folder, ffmpeg.program, preexec_fn=closing_all)
    assert followed.sessions()[0].frames is None
    assert is_untouched(ffmpeg.folder, ffmpeg.program, preexec_fn=os.setsid)
    assert followed.sessions()[0].frames == 50


@pytest.mark.parametrize("name", ["ffmpeg", "ffmpeg-7.1", "ffmpeg-linux64-v7.0.2"])
def test_ffmpeg_itself_is_followed_under_any_of_its_names(ffmpeg: Any, name: str) -> None:
    """Links, as Debian's alternatives, and builds with a platform in their name tell all."""
    (ffmpeg.folder / "alternative").symlink_to(ffmpeg.program)
    link = ffmpeg.folder / name
    link.symlink_to(ffmpeg.folder / "alternative")
    assert is_untouched(ffmpeg.folder, link)
    (session,) = followed.sessions()
    assert (session.state, session.frames) == ("ok", 50)


@pytest.mark.parametrize("name", ["ffmpeg-normalize", "ffmpeg-bar", "ffmpeg2theora", "ffmpegfs"])
def test_programs_with_longer_names_are_no_jobs_of_ours(ffmpeg: Any, name: str) -> None:
    """They have options of their own: they get theirs alone, and are not followed."""
    program = ffmpeg.folder / name
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    done = subprocess.run([program, "-i", "a.mov", "b.mp4"], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"-i a.mov b.mp4\n"
    assert followed.sessions() == []


def test_the_callers_report_shows_the_callers_command(ffmpeg: Any) -> None:
    """A report begins with the command line, so nothing is added to one that is reported."""
    report = ffmpeg.folder / "report.log"
    environment = {**os.environ, "FFREPORT": f"file={report}:level=32"}
    command = ffmpeg.encode("a.mp4", options=("-v", "error"))
    subprocess.run(command, env=environment, check=True)
    assert "-progress" not in report.read_text()
    assert followed.sessions()[0].state == "ok"


def test_a_name_alone_proves_nothing(tmp_path: Path) -> None:
    """Other compiled programs, scripts, folders, pipes and what is not there are not ffmpeg."""
    shutil.copy(shutil.which("sh") or "", tmp_path / "ffmpeg")
    (tmp_path / "ffmpeg-7").write_bytes(b"#!/bin/sh\n" + Path(need("ffmpeg")).read_bytes())
    (tmp_path / "ffmpeg-7").chmod(0o755)
    (tmp_path / "ffmpeg-6").mkdir()
    os.mkfifo(tmp_path / "ffmpeg-5", 0o755)
    shutil.copy(need("ffmpeg"), tmp_path / "ffmpeg-4")
    (tmp_path / "ffmpeg-4").chmod(0o644)
    for name in ("ffmpeg", "ffmpeg-7", "ffmpeg-6", "ffmpeg-5", "ffmpeg-4", "ffmpeg-3"):
        assert is_named_ffmpeg(name)
        assert not is_ffmpeg_itself(tmp_path / name, {}), name
    assert is_ffmpeg_itself(need("ffmpeg"), {})


def test_a_replaced_file_is_looked_at_anew(tmp_path: Path) -> None:
    """An update that puts a launcher in ffmpeg's place is noticed, and the other way round."""
    program = tmp_path / "ffmpeg"
    for is_itself in (True, False, True):
        program.unlink(missing_ok=True)
        if is_itself:
            shutil.copy(need("ffmpeg"), program)
        else:
            launcher(program, SHELL_LAUNCHER)
        assert is_ffmpeg_itself(program, {}) is is_itself


def test_names_that_ffmpeg_may_have() -> None:
    """A version makes no other program, a word does; all else is told apart by its beginning."""
    for name in ("ffmpeg", "/usr/bin/ffmpeg", "ffmpeg.exe", "ffmpeg7", "ffmpeg-n7.1", b"ffmpeg"):
        assert is_named_ffmpeg(name), name
    for other in ("ffmpeg-normalize", "ffmpeg2theora", "ffmpegthumbnailer", "ffprobe", None, 3):
        assert not is_named_ffmpeg(other), other
    for other in ("ffprobe", "ffplay", "python", "", None, 3):
        assert not may_be_ffmpeg(other), other


KINDS = st.sampled_from(["nothing", "folder", "unexecutable", "dangling", "program"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(KINDS, st.booleans()), max_size=4), st.booleans())
def test_the_file_that_is_found_is_the_one_that_runs(
    folders: list[tuple[str, bool]], has_cwd: bool
) -> None:
    """Whatever `PATH` and folder: where a file is said to run, the system runs that one."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name).resolve()
        path = []
        for number, (kind, is_relative) in enumerate(folders):
            folder = top / str(number)
            folder.mkdir()
            file = folder / "ffmpeg"
            if kind == "folder":
                file.mkdir()
            elif kind == "dangling":
                file.symlink_to(top / "none")
            elif kind != "nothing":
                file.write_text(f"#!/bin/sh\necho {number}\n")
                file.chmod(0o755 if kind == "program" else 0o644)
            path.append(str(number) if is_relative and has_cwd else str(folder))
        options: dict[str, Any] = {"env": {"PATH": ":".join(path)} if path else {"PATH": str(top)}}
        if has_cwd:
            options["cwd"] = str(top)
        found = executed_file("ffmpeg", options)
        try:
            ran = subprocess.run(["ffmpeg"], stdout=subprocess.PIPE, check=True, **options).stdout
        except OSError:
            ran = b""
        assert found is None or (
            found.is_dir() or found.read_text().split()[-1:] == [ran.decode().strip()]
        )
