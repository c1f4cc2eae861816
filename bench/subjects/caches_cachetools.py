"""A read from a cachetools cache, alone and followed: what a recorded hit stands next to."""

from __future__ import annotations

import itertools

import cachetools
from otel_studio_instrumentation_cachetools import CachetoolsInstrumentor, name_cache

from bench.subject import Subject
from bench.subjects.caches_studio import skewed_keys
from otel_studio.base.clock import SystemClock
from otel_studio.caches import CacheRegistry


def make() -> Subject:
    """Return reads that all hit; the class of the cache that is alone is never followed."""
    keys = skewed_keys(1_000)
    next_key = itertools.cycle(keys).__next__
    alone = cachetools.LRUCache(1_000)
    read_alone = cachetools.LRUCache.__getitem__
    registry = CacheRegistry(SystemClock())
    CachetoolsInstrumentor().instrument(caches=registry)
    followed = cachetools.LRUCache(1_000)
    name_cache(followed, "followed")
    for key in keys:
        followed[key] = key
        alone[key] = key
    return Subject(
        calls={
            "key": next_key,
            "alone": lambda: read_alone(alone, next_key()),
            "followed": lambda: followed[next_key()],
        },
        settle=lambda: [cache.fold() for cache in registry.caches()],
    )
