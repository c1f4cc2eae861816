"""No tracked file names a package registry's host or a path of the machine it was written on."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from parts import ROOT

# Written in pieces, so that this file passes its own test.
REGISTRY_HOSTS = [
    "pypi" + r"\.(org|python\.org)",
    "files\\.python" + "hosted",
    "registry\\.npm" + "js",
    "proxy\\.go" + "lang",
    "sum\\.go" + "lang",
    "deb\\." + "debian",
    "--(extra-)?index" + "-url",
]
MACHINE_PATHS = [
    rf"(?<![\w.$}}*/-])/({folder})/" for folder in ("root", "work", "Users/[a-z]+", "home/[a-z]+")
]


def tracked_files() -> list[str]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    answer = subprocess.run(
        [git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in answer.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("pattern", [*REGISTRY_HOSTS, *MACHINE_PATHS])
def test_no_tracked_file_mentions(pattern: str) -> None:
    """What only holds on one machine or behind one mirror stays out of the repository."""
    wrong = []
    for name in tracked_files():
        data = (ROOT / name).read_bytes()
        if b"\0" in data[:8000]:
            continue
        for number, line in enumerate(data.decode(errors="replace").splitlines(), start=1):
            if re.search(pattern, line):
                wrong.append(f"{name}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)
