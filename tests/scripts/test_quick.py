"""`make quick` takes every room by its name, and says which there are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from parts import ROOT

ROOMS = sorted(folder.parent.name for folder in (ROOT / "otel_studio").glob("*/__init__.py"))


def quick(room: str, bin_folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with tools that only say what they were told."""
    for tool in ("ruff", "python"):
        file = bin_folder / "bin" / tool
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'#!/bin/sh\necho {tool} "$@"\n')
        file.chmod(0o755)
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / "quick.sh"), room],
        env={"PATH": "/usr/bin:/bin", "VENV": str(bin_folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("room", [*ROOMS, "redis"])
def test_a_room_is_linted_and_tested(room: str, tmp_path: Path) -> None:
    """Whatever folder the package has is a room that can be asked for."""
    done = quick(room, tmp_path)
    assert done.returncode == 0, done.stderr
    lint, layout, tests = done.stdout.splitlines()
    home = "instrumentations" if room == "redis" else "otel_studio"
    assert f" {home}/{room}" in lint
    assert f" {home}/{room}" in layout
    named = [word for word in tests.split() if word.startswith(("tests/", "instrumentations/"))]
    assert named
    assert all((ROOT / folder).is_dir() for folder in named)


def test_without_a_room_it_takes_those_that_start_nothing(tmp_path: Path) -> None:
    """Every room is in the fast pass, save what builds and starts whole programs."""
    done = quick("", tmp_path)
    tests = done.stdout.splitlines()[-1]
    assert "not patient" in tests
    assert {room for room in ROOMS if f"tests/{room} " not in tests} == {"assembly"}


@pytest.mark.parametrize("room", ["regsitry", "support", "../otel_studio"])
def test_an_unknown_room(room: str, tmp_path: Path) -> None:
    """The sentence names all that there are."""
    done = quick(room, tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"there are no tests of '{room}'" in done.stderr
    assert " registry " in done.stderr
    assert " redis" in done.stderr
