"""The pytest plugin: the fixture `otel_studio`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from otel_studio.testing.isolation import Isolated


@pytest.fixture
def otel_studio() -> Iterator[Isolated]:
    """A Studio of the test's own, with a clock that only the test moves and ids 1, 2, 3, ..."""
    # Imported here: a plugin is loaded in every pytest run, also where it is not used.
    from otel_studio.base.clock import ManualClock
    from otel_studio.testing.isolation import IncrementalIds, isolated

    with isolated(clock=ManualClock(), id_generator=IncrementalIds()) as studio:
        yield studio
