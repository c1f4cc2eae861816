"""Signal handlers and finalizers memoize functions while one is being watched."""

from __future__ import annotations

import functools

import pytest
from otel_studio_instrumentation_functools import FunctoolsInstrumentor

from otel_studio.base.clock import SystemClock
from otel_studio.base.guard import forget_said, internal_errors
from otel_studio.caches import CacheRegistry
from reentry import interrupted


@pytest.mark.prove
@pytest.mark.timeout(300)
def test_nothing_waits_for_what_it_has_interrupted() -> None:
    """Functions are memoized and called, inside of the same."""
    forget_said()
    caches = CacheRegistry(SystemClock())
    FunctoolsInstrumentor().instrument(caches=caches)

    def use() -> None:
        functools.lru_cache(maxsize=2)(lambda: 1)()

    try:
        interrupted(use, use)
        caches.get_cache_performance_metrics()
    finally:
        FunctoolsInstrumentor().uninstrument()
    assert not internal_errors
