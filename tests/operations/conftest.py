"""Every test here runs on our TracerProvider and attached to a plain one of the SDK."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otel_studio.base import guard
from otel_studio.testing.isolation import Isolated

from both_providers import PROVIDERS, studio_on


@pytest.fixture(params=PROVIDERS)
def s(request: pytest.FixtureRequest) -> Iterator[Isolated]:
    """What the test recorded."""
    guard.forget_said()
    with studio_on(request.param) as studio:
        yield studio
    assert not guard.internal_errors


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What was logged, with nothing of it said before."""
    guard.forget_said()
    return caplog
