"""What the cache tests share: a registry on a clock that stands still."""

from __future__ import annotations

import pytest

from otel_studio.base.clock import ManualClock
from otel_studio.base.guard import forget_said
from otel_studio.caches import Cache, CachePerformance, CacheRegistry


@pytest.fixture(autouse=True)
def fresh_warnings() -> None:
    forget_said()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def caches(clock: ManualClock) -> CacheRegistry:
    return CacheRegistry(clock)


@pytest.fixture
def previews(caches: CacheRegistry) -> Cache:
    return caches.cache("previews", service="preview-service")


@pytest.fixture
def report(caches: CacheRegistry):
    """Return the record of the cache `previews`, as a query gives it."""

    def read() -> CachePerformance:
        (record,) = caches.get_cache_performance_metrics("previews")
        return record

    return read
