"""Each test begins with nothing said and nothing counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otel_studio.base import guard


@pytest.fixture(autouse=True)
def _fresh_guard() -> Iterator[None]:
    guard.forget_said()
    yield
    guard.forget_said()
