"""The package as a user installs it: what is in it, and how little importing it loads."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from parts import ROOT, unavailable

#: Packages that `import otel_studio` must not load, by what they are for.
HEAVY = {
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "opentelemetry.proto",
    "opentelemetry.instrumentation",
    "prometheus_client",
    "psutil",
    "pynvml",
    "grpc",
    "requests",
    "fastapi",
    "starlette",
    "uvicorn",
    "rich",
    "pytest",
    "sqlite3",
    "http.server",
}

LOADED = "import json, sys, otel_studio; print(json.dumps(sorted(sys.modules)))"


def run(*command: str | Path, cwd: Path) -> str:
    answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return answer.stdout


def heavy_ones(modules: list[str]) -> set[str]:
    return {
        heavy
        for heavy in HEAVY
        for module in modules
        if module == heavy or module.startswith(f"{heavy}.")
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree with the pinned build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    flags = ["--no-deps", "--no-build-isolation", "--wheel-dir"]
    run(*pip, "wheel", *flags, folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def fresh_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the package and what it depends on, no more."""
    folder = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python"]
    answer = subprocess.run(
        [*pip, python, "install", wheel], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        unavailable(f"pip could not install the wheel: {answer.stderr.strip()[-300:]}")
    return python


@pytest.mark.timeout(180)
def test_a_fresh_install_imports_light(fresh_python: Path, tmp_path: Path) -> None:
    """After `pip install .` into a fresh environment, the import loads nothing heavy."""
    modules = json.loads(run(fresh_python, "-c", LOADED, cwd=tmp_path))
    assert heavy_ones(modules) == set()


def test_nothing_heavy_is_loaded_where_everything_is_installed(tmp_path: Path) -> None:
    """An extra that happens to be installed is not imported until it is used."""
    modules = json.loads(run(sys.executable, "-c", LOADED, cwd=tmp_path))
    assert heavy_ones(modules) == set()


@pytest.mark.timeout(180)
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module and the typing marker are in; tests, examples and caches are not."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"otel_studio"}
    assert "otel_studio/py.typed" in names
    assert not [name for name in names if "__pycache__" in name]
    packed = {name for name in names if name.endswith(".py")}
    in_tree = {str(path.relative_to(ROOT)) for path in (ROOT / "otel_studio").rglob("*.py")}
    assert packed == in_tree
