"""Cache statistics: hit rates, response times, sizes, hot keys, and the right size."""

from __future__ import annotations

from otel_studio.caches.cache import Cache
from otel_studio.caches.cache_records import (
    CacheAlert,
    CachePerformance,
    CacheReading,
    KeyAccesses,
    SizePrediction,
    SlowAccess,
)
from otel_studio.caches.events import UNKNOWN_KEY
from otel_studio.caches.mapping import RecordingMapping
from otel_studio.caches.reading import CachesReading, OneCacheReading
from otel_studio.caches.registry import CacheNotFound, CacheRegistry

__all__ = [
    "UNKNOWN_KEY",
    "Cache",
    "CacheAlert",
    "CacheNotFound",
    "CachePerformance",
    "CacheReading",
    "CacheRegistry",
    "CachesReading",
    "KeyAccesses",
    "OneCacheReading",
    "RecordingMapping",
    "SizePrediction",
    "SlowAccess",
]
