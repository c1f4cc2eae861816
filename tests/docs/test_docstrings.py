"""The examples in docstrings, which the reference shows, run and give what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_examples_in_docstrings_run():
    """In a process of its own: some of them configure the process they run in."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    options = ["-q", "--doctest-modules", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "otel_studio"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
