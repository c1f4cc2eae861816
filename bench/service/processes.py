"""The processes of the measurement: services, each under its subject, and what stands around."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).parents[2]
#: What the shell says about telemetry is no part of the measurement.
_FOREIGN = ("OTEL_", "DD_", "PYTHON")


class Helper:
    """A server beside the services that prints its port when it serves; a context manager.

    Args:
        module: what `python -m` starts.
        python: the interpreter.
    """

    def __init__(self, module: str, python: Path) -> None:
        self._command = [str(python), "-m", module]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("", timeout=10)

    def counts(self) -> dict[str, int]:
        """Return what the sink has counted so far."""
        with urllib.request.urlopen(f"{self.url}/counts", timeout=30) as response:
            counts: dict[str, int] = json.load(response)
        return counts


class Service:
    """The service in a process tree of its own; a context manager.

    Args:
        python: the interpreter of its environment.
        launcher: what stands before `python`, such as `ddtrace-run`.
        environment: variables beside those of the shell.
    """

    def __init__(
        self, python: Path, launcher: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.port = _free_port()
        serve = ["-m", "uvicorn", "bench.service.app:app", "--no-access-log"]
        bind = ["--log-level", "warning", "--port", str(self.port)]
        before = [str(python.parent / each) for each in launcher]
        self._command = [*before, str(python), *serve, *bind]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        self._environment = {**kept, **environment}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdout=sys.stderr
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5):
                    return self
            except (urllib.error.URLError, OSError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise RuntimeError(f"did not start: {' '.join(self._command)}") from None
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cpu_seconds(self) -> float:
        """Return what the process and its children have used so far, user and system."""
        parent = psutil.Process(self._process.pid)
        tree = [parent, *parent.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in tree)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
