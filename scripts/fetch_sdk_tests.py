"""Fetches the tests of the installed OpenTelemetry SDK, which its source distribution holds.

    python scripts/fetch_sdk_tests.py           fetch them unless they are there, print where
    python scripts/fetch_sdk_tests.py --path    print where they are; fail if they are not there

The result lies outside the tree, one folder for each version, in
${OTEL_STUDIO_PARTS:-${XDG_CACHE_HOME:-~/.cache}/otel-studio}. The hash is that of requirements/.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = "opentelemetry-sdk"


def folder() -> Path:
    """Return the folder that holds `tests/` of the installed version, or will hold it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-studio"
    parts = Path(os.environ.get("OTEL_STUDIO_PARTS") or cache)
    return parts / f"sdk-tests-{version(_PACKAGE)}"


def _pin() -> str:
    """Return the requirement of the installed version, with its hashes.

    Raises:
        SystemExit: if no file in requirements/ pins it.
    """
    pin = re.compile(
        rf"^{_PACKAGE}=={re.escape(version(_PACKAGE))} .*(?:\n +--hash=.*)+", re.MULTILINE
    )
    for file in sorted((_ROOT / "requirements").glob("*.txt")):
        found = pin.search(file.read_text())
        if found:
            return found[0] + "\n"
    raise SystemExit(f"no file in requirements/ pins {_PACKAGE} {version(_PACKAGE)}")


def fetch() -> Path:
    """Fetch the tests; return where they are.

    Raises:
        SystemExit: if the version is not pinned.
        subprocess.CalledProcessError: if the registry does not give it.
    """
    target = folder()
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        work = Path(name)
        (work / "pin.txt").write_text(_pin())
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        subprocess.run(
            [*pip, *options, "--dest", str(work), "--requirement", str(work / "pin.txt")],
            check=True,
            stdout=sys.stderr,
        )
        [archive] = work.glob("*.tar.gz")
        with tarfile.open(archive) as sources:
            sources.extractall(work / "sources", filter="data")
        [tests] = (work / "sources").glob("*/tests")
        (work / "made").mkdir()
        tests.rename(work / "made" / "tests")
        try:
            (work / "made").rename(target)
        except OSError:  # another process was first
            if not target.is_dir():
                raise
    return target


def main() -> None:
    """Do what the command line asks for."""
    if sys.argv[1:] == ["--path"]:
        if not folder().is_dir():
            raise SystemExit(f"not there: {folder()}; scripts/fetch_sdk_tests.py fetches them")
        print(folder())
    else:
        print(fetch())


if __name__ == "__main__":
    main()
