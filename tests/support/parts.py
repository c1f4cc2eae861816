"""Finds the real programs that tests run against, and waits without sleeping blindly."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[2]

T = TypeVar("T")

_BY_INSTALL_SCRIPT = "scripts/install-parts.sh installs it"

#: How to come by a part that is no Python package, for the reason given when it is missing.
_REMEDIES = {
    "prometheus": _BY_INSTALL_SCRIPT,
    "promtool": _BY_INSTALL_SCRIPT,
    "prometheus-alertmanager": _BY_INSTALL_SCRIPT,
    "redis-server": _BY_INSTALL_SCRIPT,
    "ffmpeg": _BY_INSTALL_SCRIPT,
    "chromium": _BY_INSTALL_SCRIPT,
    "collector": "scripts/build-collector.sh builds it where there is Go",
}

_given_ports: set[int] = set()


def need(part: str) -> Path:
    """Return where a program is, or end the test: skipped on a laptop, failed where CI is "true".

    Args:
        part: "collector", or the name of a command ("prometheus", "promtool", "redis-server",
            "ffmpeg", "chromium", "gunicorn", ...), looked for beside this Python, then on PATH.

    Returns:
        The program's path.

    Example:
        >>> promtool = need("promtool")  # doctest: +SKIP
    """
    found = _find_collector() if part == "collector" else _find_command(part)
    if found is None:
        unavailable(f"{part} is missing: {_REMEDIES.get(part, f'install {part}')}")
    return found


def unavailable(reason: str) -> NoReturn:
    """End the test because something it needs is not to be had.

    Args:
        reason: what is missing and how to come by it.

    Raises:
        Exception: pytest's skip on a laptop, pytest's failure where CI is "true".
    """
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: nothing is skipped)", pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on, never the same one twice."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def wait_until(condition: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
    """Ask again and again until the answer is truthy, and return it.

    For what another process does in its own time; where a test owns the clock, move that instead.

    Args:
        condition: asked about fifty times a second; what it raises is passed on.
        timeout: seconds to wait at most.
        what: what is waited for, in words, for the failure message.

    Raises:
        AssertionError: if the time is up; it shows the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            label = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"waited {timeout} s for {label}; the last answer was {answer!r}")
        time.sleep(0.02)


def _find_command(name: str) -> Path | None:
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return beside
    found = shutil.which(name)
    return Path(found) if found else None


def _find_collector() -> Path | None:
    script = ROOT / "scripts" / "build-collector.sh"
    answer = subprocess.run([script, "--path"], capture_output=True, text=True, check=False)
    return Path(answer.stdout.strip()) if answer.returncode == 0 else None
