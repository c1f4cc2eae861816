"""Fixtures of the tests of logs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from joined_logs import Joined, joined_logs


@pytest.fixture
def joined() -> Iterator[Joined]:
    with joined_logs() as made:
        yield made
