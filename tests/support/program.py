"""Runs a Python program of a test's own in a process of its own."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        printed: its standard output.
        logged: its standard error.
        code: its exit status.
        seconds: how long it took in all.
    """

    printed: str
    logged: str
    code: int
    seconds: float


def run_program(
    folder: Path,
    source: str,
    *,
    before: Sequence[str | Path] = (),
    timeout: float = 50.0,
    **variables: str,
) -> Ended:
    """Run Python source from a file in a folder.

    Args:
        folder: where the file is put, and the working directory.
        source: the program; its common indentation is taken off.
        before: what stands before the interpreter on the command line.
        timeout: seconds after which it is killed and the test fails.
        **variables: environment variables to set; those of OpenTelemetry are cleared first.
    """
    path = folder / "program.py"
    path.write_text(textwrap.dedent(source))
    environ = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    began = time.monotonic()
    done = subprocess.run(
        [*before, sys.executable, "-W", "ignore::DeprecationWarning", path],
        cwd=folder,
        env={**environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    return Ended(done.stdout, done.stderr, done.returncode, time.monotonic() - began)
