"""Cache statistics: hit rates, response times, sizes, hot keys, and the right size."""

from __future__ import annotations

from otel_studio.caches.cache import Cache
from otel_studio.caches.mapping import RecordingMapping
from otel_studio.caches.records import (
    CacheAlert,
    CachePerformance,
    CacheReading,
    KeyAccesses,
    SizePrediction,
    SlowAccess,
)
from otel_studio.caches.registry import CacheNotFound, CacheRegistry
from otel_studio.caches.statistics import UNKNOWN_KEY

__all__ = [
    "UNKNOWN_KEY",
    "Cache",
    "CacheAlert",
    "CacheNotFound",
    "CachePerformance",
    "CacheReading",
    "CacheRegistry",
    "KeyAccesses",
    "RecordingMapping",
    "SizePrediction",
    "SlowAccess",
]
