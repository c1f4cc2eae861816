"""The scripts that fetch and build parts say in one line each what they could not do, and why."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from parts import ROOT

TOOLS = ("bash", "cat", "cp", "cut", "chmod", "dirname", "env", "grep", "mkdir", "mktemp", "rm")
MORE_TOOLS = ("sed", "sha256sum", "sort", "tail", "tr")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the usual tools and nothing else, to be the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in (*TOOLS, *MORE_TOOLS):
        found = shutil.which(tool)
        if found is not None:
            (folder / tool).symlink_to(found)
    return folder


def fake(programs: Path, name: str, script: str) -> None:
    file = programs / name
    # Opening for "x" never follows one of the links above to the real program.
    with file.open("x") as new:
        new.write(f"#!/usr/bin/env bash\n{script}\n")
    file.chmod(0o755)


def run(
    programs: Path, script: str, *words: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / script, *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(programs), "HOME": str(programs.parent), **(variables or {})},
    )


def test_without_apt_each_missing_part_gets_a_line(programs: Path) -> None:
    """On another system nothing is tried; five of the parts are named, the sixth is there."""
    fake(programs, "ffmpeg", "exit 0")
    answer = run(programs, "install-parts.sh")
    assert answer.returncode == 0
    lines = answer.stdout.splitlines()
    assert len(lines) == 5
    assert "missing: chromium (no apt-get here; install it by your system's own means)" in lines
    assert not any("ffmpeg" in line for line in lines)


def test_a_user_without_rights_is_told_the_command(programs: Path) -> None:
    """Neither root nor sudo without a password: apt-get is not called."""
    fake(programs, "apt-get", "echo called >&2; exit 1")
    fake(programs, "id", "echo 1000")
    answer = run(programs, "install-parts.sh")
    assert answer.returncode == 0
    assert "called" not in answer.stderr
    assert (
        "missing: ffmpeg (not root and sudo wants a password; run: apt-get install chromium ffmpeg "
        "prometheus prometheus-alertmanager redis-server)"
    ) in answer.stdout


def test_a_failing_apt_gives_its_reason(programs: Path, tmp_path: Path) -> None:
    """What apt-get could not do is said in its words, after a second try with fresh lists."""
    log = tmp_path / "sudo.log"
    fake(programs, "id", "echo 1000")
    fake(programs, "apt-get", "exit 1")
    # It runs nothing: what would be done as root is only written down.
    fake(
        programs,
        "sudo",
        f"""printf '%s\\n' "$*" >>{log}
        case "$*" in *apt-get*) echo 'E: Unable to locate package chromium'; exit 100;; esac""",
    )
    answer = run(programs, "install-parts.sh")
    assert answer.returncode == 0
    reason = "apt-get could not install it: E: Unable to locate package chromium"
    assert f"missing: chromium ({reason})" in answer.stdout
    calls = [line for line in log.read_text().splitlines() if "apt-get" in line]
    assert len(calls) == 3
    assert "--no-install-recommends" in calls[0]
    assert "apt-get update" in calls[1]


def test_what_is_there_costs_nothing(programs: Path) -> None:
    """With every part on PATH the script is silent and calls nothing."""
    for name in ("prometheus", "promtool", "prometheus-alertmanager", "redis-server"):
        fake(programs, name, "exit 1")
    for name in ("ffmpeg", "chromium", "apt-get"):
        fake(programs, name, "exit 1")
    answer = run(programs, "install-parts.sh")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_the_collector_without_go(programs: Path, tmp_path: Path) -> None:
    """No Go: one line, a failing status, nothing left behind."""
    answer = run(programs, "build-collector.sh")
    assert answer.returncode == 1
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("cannot build the Collector: there is no 'go' on PATH")
    assert not (tmp_path / ".cache").exists()


def test_a_failed_build_shows_what_go_said_and_leaves_nothing(
    programs: Path, tmp_path: Path
) -> None:
    """The end of the log is shown, and the next try starts from nothing."""
    fake(programs, "go", "echo 'module not found'; exit 1")
    parts = tmp_path / "parts"
    answer = run(programs, "build-collector.sh", variables={"OTEL_STUDIO_PARTS": str(parts)})
    assert answer.returncode == 1
    assert "module not found" in answer.stderr
    assert not [path for path in parts.iterdir() if path.is_dir()]


def test_asking_for_the_path_builds_nothing(programs: Path, tmp_path: Path) -> None:
    """`--path` answers at once, whether or not there is Go."""
    fake(programs, "go", f"touch {tmp_path}/called; exit 1")
    variables = {"OTEL_STUDIO_PARTS": str(tmp_path / "parts")}
    answer = run(programs, "build-collector.sh", "--path", variables=variables)
    assert answer.returncode == 1
    assert not (tmp_path / "called").exists()


def test_an_old_python_is_refused(programs: Path, tmp_path: Path) -> None:
    """No Python of 3.11 or newer: one sentence that says what to do."""
    fake(programs, "python3", "exit 1")
    answer = run(programs, "make-venv.sh", str(tmp_path / "venv"))
    assert answer.returncode == 1
    assert "no Python 3.11 or newer found" in answer.stderr
    assert not os.path.lexists(tmp_path / "venv")
