"""What the package offers is met at its faces, and what others keep to themselves in one place."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts import ROOT

#: The modules that pages, examples and packages import from; all others may move.
FACES = {
    "otel_studio",
    "otel_studio.api",
    "otel_studio.instrumentation",
    "otel_studio.logs",
    "otel_studio.queries",
    "otel_studio.testing",
}
LIGHT = ["otel_studio.instrumentation", "otel_studio.logs", "otel_studio.testing"]
#: These are public in OpenTelemetry, though unlike the rest of its API not yet called stable.
NOT_PRIVATE = {"_logs", "_events"}


def imports_in(source: str) -> Iterator[tuple[str, str]]:
    """Yield each module that is imported from, and the name that is imported."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.module or "", alias.name) for alias in node.names)


def pages_and_programs() -> Iterator[tuple[Path, str]]:
    """Yield what users read, and what is installed beside the package."""
    for page in (
        ROOT / "README.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("instrumentations/*/*.md"),
    ):
        for block in re.findall(
            r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            yield page, block
    for file in (*ROOT.glob("examples/**/*.py"), *ROOT.glob("instrumentations/*/src/**/*.py")):
        yield file, file.read_text()


def test_pages_examples_and_packages_import_from_faces_alone() -> None:
    """Who copies from them holds on to no module that may move."""
    found = [
        f"{where.relative_to(ROOT)}: {module}"
        for where, source in pages_and_programs()
        for module, name in imports_in(source)
        if module.partition(".")[0] == "otel_studio" and module not in FACES
    ]
    assert not found


@pytest.mark.parametrize("face", sorted(FACES - {"otel_studio.queries"}))
def test_what_a_face_offers_is_there(face: str) -> None:
    """Each name of `__all__` comes, `dir` shows it, and any other is refused as Python does."""
    module = importlib.import_module(face)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match=f"module '{face}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


@pytest.mark.parametrize("face", LIGHT)
def test_a_face_loads_nothing_by_itself(face: str) -> None:
    """A pytest plugin or a package that imports it pays for no SDK."""
    program = (
        f"import sys, {face}\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_slip_in_a_variable_keeps_no_face_from_loading() -> None:
    """The SDK would raise for it where it is imported; whichever face comes first says so."""
    done = subprocess.run(
        [sys.executable, "-c", "from otel_studio.testing import isolated"],
        cwd=ROOT,
        env={**os.environ, "OTEL_SPAN_EVENT_COUNT_LIMIT": "many"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "OTEL_SPAN_EVENT_COUNT_LIMIT='many' cannot be used" in done.stderr


def test_private_names_of_opentelemetry_are_imported_in_one_place_each() -> None:
    """A new release can break only modules that say in their name what they hold."""
    found = [
        f"{file.relative_to(ROOT)}: {module} {name}"
        for file in ROOT.glob("otel_studio/**/*.py")
        if not re.search(r"otel\w*_private\.py$", file.name)
        for module, name in imports_in(file.read_text())
        if module.startswith("opentelemetry")
        and any(
            part.startswith("_") and part not in NOT_PRIVATE for part in [*module.split("."), name]
        )
    ]
    assert not found
