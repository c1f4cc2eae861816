"""Signal handlers and finalizers use followed caches inside of a use of one."""

from __future__ import annotations

import cachetools
import pytest
from otel_studio_instrumentation_cachetools import CachetoolsInstrumentor, name_cache

from otel_studio.base.clock import SystemClock
from otel_studio.base.guard import forget_said, internal_errors
from otel_studio.caches import CacheRegistry
from reentry import interrupted


@pytest.mark.prove
@pytest.mark.timeout(300)
def test_nothing_waits_for_what_it_has_interrupted() -> None:
    """Caches are made, named, read and asked for, all inside of the same."""
    forget_said()
    caches = CacheRegistry(SystemClock(), max_caches=10_000)
    CachetoolsInstrumentor().instrument(caches=caches)

    def use() -> None:
        cache = cachetools.LRUCache[str, int](4)
        cache["a"] = 1
        cache.get("b")
        name_cache(cache, "named")
        cache.get("a")

    try:
        interrupted(use, use)
        caches.get_cache_performance_metrics()
    finally:
        CachetoolsInstrumentor().uninstrument()
    assert not internal_errors
