"""The pytest plugin: the fixture `isolated_studio`, also by the name `otel_studio`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from otel_studio.testing import Isolated


@pytest.fixture
def isolated_studio() -> Iterator[Isolated]:
    """A Studio of the test's own, with a clock that only the test moves and ids 1, 2, 3, ..."""
    # Imported here: a plugin is loaded in every pytest run, also where it is not used.
    from otel_studio.testing import IncrementalIds, ManualClock, isolated

    with isolated(clock=ManualClock(), id_generator=IncrementalIds()) as studio:
        yield studio


@pytest.fixture
def otel_studio(isolated_studio: Isolated) -> Isolated:
    """The same as `isolated_studio`, where the package itself is not imported by its whole name."""
    return isolated_studio
