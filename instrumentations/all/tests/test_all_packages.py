"""The set is complete, and `opentelemetry-instrument` picks up what is installed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2]

#: Uses a memoized function, a cachetools cache and a disk cache, and tells what was recorded.
PROGRAM = """
import functools, json, sys, tempfile
import cachetools, diskcache
import otel_studio

@functools.lru_cache
def square(n):
    return n * n

users = cachetools.LRUCache(10)

square(1), square(1)
users.get("alice")
with diskcache.Cache(tempfile.mkdtemp(suffix="thumbnails")) as thumbnails:
    thumbnails.get("a.png")
print(json.dumps({
    record.cache[-10:]: [record.hits, record.misses]
    for record in otel_studio.api.get_cache_performance_metrics()
    if record.service_name in ("__main__", "diskcache")
}))
"""


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def packages() -> list[Path]:
    found = sorted(path.parent for path in FOLDER.glob("*/pyproject.toml"))
    return [path for path in found if path.name != "all"]


def test_set_names_every_package() -> None:
    """A package that is added here must be installed with the set, in versions that fit."""
    names = [f"{project(folder)['name']} >= 0.1, < 1" for folder in packages()]
    assert project(FOLDER / "all")["dependencies"] == names
    readme = (FOLDER / "all" / "README.md").read_text()
    for folder in packages():
        assert f"`{project(folder)['name']}`" in readme
        for entry in project(folder)["entry-points"]["opentelemetry_instrumentor"]:
            assert f"`{entry}`" in readme


@pytest.mark.parametrize("folder", packages(), ids=lambda folder: folder.name)
def test_package_is_whole(folder: Path) -> None:
    """Each has typed sources, a README, tests, an entry point and an extra `instruments`."""
    described = project(folder)
    assert described["name"] == f"otel-studio-instrumentation-{folder.name}"
    sources = folder / "src" / f"otel_studio_instrumentation_{folder.name}"
    for name in ("__init__.py", "package.py", "version.py", "py.typed"):
        assert (sources / name).exists(), name
    assert (folder / "README.md").stat().st_size > 500
    assert list((folder / "tests").glob("test_*.py"))
    assert "instruments" in described["optional-dependencies"]


def test_zero_code(tmp_path: Path) -> None:
    """A program without a word of instrumentation is followed by the agent's command alone."""
    installed = {
        entry.name for entry in importlib.metadata.entry_points(group="opentelemetry_instrumentor")
    }
    if not {"functools", "cachetools", "diskcache"} <= installed:
        pytest.skip("the packages are not installed: pip install -e each folder")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {
        **os.environ,
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PYTHON_DISTRO": "otel_studio",
        "OTEL_PYTHON_CONFIGURATOR": "otel_studio",
    }
    done = subprocess.run(
        [Path(sys.executable).parent / "opentelemetry-instrument", sys.executable, program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "square": [1, 1],
        "users": [0, 1],
        "thumbnails": [0, 1],
    }
