"""Environments of the peers, one folder each outside the tree, made when first needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_PEERS = Path(__file__).parent / "peers"


class Unavailable(Exception):
    """A subject that cannot be measured here, and why."""


def python_for(peer: str | None, *, make: bool) -> Path:
    """Return the interpreter that a subject runs in.

    Args:
        peer: the name of a file in `bench/peers`; `None` for this environment.
        make: whether to make the environment where there is none yet, which takes the network.

    Raises:
        Unavailable: if there is none and none could be made.
    """
    if peer is None:
        return Path(sys.executable)
    requirements = _PEERS / f"{peer}.txt"
    version = ".".join(map(str, sys.version_info[:3]))
    key = hashlib.sha256(f"{version}\n{requirements.read_text()}".encode()).hexdigest()[:12]
    folder = _cache() / f"{peer}-{key}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    if not make:
        raise Unavailable(f"{peer} has no environment yet: run `python -m bench` once")
    print(f"making an environment for {peer}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)], peer)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]
    _run([str(python), *install, str(requirements)], peer)
    (folder / "complete").touch()
    return python


def _cache() -> Path:
    parts = os.environ.get("OTEL_STUDIO_PARTS")
    if parts:
        return Path(parts) / "bench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-studio/bench"


def _run(command: list[str], peer: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"no environment for {peer}: {said[-1] if said else command}")
