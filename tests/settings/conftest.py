"""What the tests of the settings share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otel_studio.base import guard
from otel_studio.settings.loading import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def nothing_said_yet() -> Iterator[None]:
    """A sentence is said once in the life of the process; each test hears it anew."""
    guard.forget_said()
    yield
    guard.forget_said()


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Settings]:
    """Load the settings away from this machine's own environment and files."""

    def load_here(environ: dict[str, str] | None = None, **keywords: Any) -> Settings:
        return load_settings(environ or {}, tmp_path, **keywords)

    return load_here


@pytest.fixture
def pyproject(tmp_path: Path) -> Callable[[str], Path]:
    """Write `[tool.otel_studio]` with these lines into the directory that `load` looks in."""

    def write(lines: str) -> Path:
        path = tmp_path / "pyproject.toml"
        path.write_text(f"[tool.otel_studio]\n{lines}\n")
        return path

    return write
