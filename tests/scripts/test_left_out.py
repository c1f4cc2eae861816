"""What can mean nothing on a machine is left out of a run, and named in one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parts import ROOT

TESTS = """
import pytest

@pytest.mark.only_where(False, "a card")
def test_on_a_card():
    raise AssertionError

@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.only_where(False, "a card"))])
def test_partly(n):
    assert n == 1
    print("\\ud800")

@pytest.mark.only_where(True, "Python")
def test_here():
    pass
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "shared"])
def test_only_where(tmp_path: Path, workers: list[str]) -> None:
    """Tests whose condition does not hold are deselected, not skipped, and said, and each once."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = only_where(holds, what): ...\n")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:otel_studio", *workers]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out: 2 that need a card" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1].startswith(
        "2 passed in" if workers else "2 passed, 2 deselected"
    )
