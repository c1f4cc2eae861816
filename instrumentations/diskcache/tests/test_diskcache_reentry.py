"""Signal handlers and finalizers use a followed disk cache inside of a use of it."""

from __future__ import annotations

from pathlib import Path

import diskcache
import pytest
from otel_studio_instrumentation_diskcache import DiskcacheInstrumentor, name_cache

from otel_studio.base.clock import SystemClock
from otel_studio.base.guard import forget_said, internal_errors
from otel_studio.caches import CacheRegistry
from reentry import interrupted


@pytest.mark.prove
@pytest.mark.timeout(300)
def test_nothing_waits_for_what_it_has_interrupted(tmp_path: Path) -> None:
    """It is named anew and read, inside of the same."""
    forget_said()
    caches = CacheRegistry(SystemClock())
    DiskcacheInstrumentor().instrument(caches=caches)
    with diskcache.Cache(str(tmp_path)) as cache:
        cache.set("a", 1)

        def use() -> None:
            name_cache(cache, "pages")
            cache.get("a")

        try:
            interrupted(use, use)
        finally:
            DiskcacheInstrumentor().uninstrument()
    assert not internal_errors
