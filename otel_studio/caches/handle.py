"""A cache by name, wherever its statistics are kept at the moment."""

from __future__ import annotations

import weakref
from typing import Any

from otel_studio.base.locks import new_lock
from otel_studio.caches.cache import Cache
from otel_studio.caches.registry import CacheRegistry
from otel_studio.clock import SystemClock


class CacheHandle:
    """What `otel_studio.cache` returns: records into the registry in use.

    It can be made before `configure()`, and goes on working in isolated tests and after a
    shutdown. Everything that `Cache` offers is here too.

    Args:
        name: what the cache holds.
        service: the component it belongs to.
    """

    __slots__ = ("__weakref__", "_cache", "name", "service")

    def __init__(self, name: str, service: str) -> None:
        self.name = name
        self.service = service
        self._cache: Cache | None = None
        self._bind()  # says at once when a name is no text
        with _lock:
            _handles.add(self)

    def hit(self, key: Any, duration: float | None = None) -> None:
        """Count a read that found its value; see `Cache.hit`."""
        (self._cache or self._bind()).hit(key, duration)

    def miss(self, key: Any, duration: float | None = None) -> None:
        """Count a read that found nothing; see `Cache.miss`."""
        (self._cache or self._bind()).miss(key, duration)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache or self._bind(), name)

    def __repr__(self) -> str:
        return f"CacheHandle({self.name!r}, service={self.service!r})"

    def _bind(self) -> Cache:
        found = self._cache = _registry().cache(self.name, self.service)
        return found


_lock = new_lock()
_handles: weakref.WeakSet[CacheHandle] = weakref.WeakSet()
_process_registry: CacheRegistry | None = None
_registry_in_use: CacheRegistry | None = None


def process_registry() -> CacheRegistry:
    """Return the registry of the process; what is recorded before `configure()` is in it, too."""
    global _process_registry
    with _lock:
        if _process_registry is None:
            _process_registry = CacheRegistry(SystemClock())
        return _process_registry


def use_registry(registry: CacheRegistry | None) -> CacheRegistry | None:
    """Send every handle to a registry; returns the one in use before.

    Args:
        registry: `None` for the process's own.
    """
    global _registry_in_use
    with _lock:
        before, _registry_in_use = _registry_in_use, registry
        handles = list(_handles)
    for handle in handles:
        handle._cache = None
    return before


def _registry() -> CacheRegistry:
    return _registry_in_use or process_registry()


def cache(name: str, service: str = "cache") -> CacheHandle:
    """Return the cache of a name, whose hits, misses and sizes are counted.

    Args:
        name: what it holds, such as `previews`.
        service: the component it belongs to.

    Raises:
        ValueError: if a name is no text, or empty.

    Example:
        >>> previews = cache("previews", service="preview-service")
        >>> previews.hit("a.png", duration=0.001)
    """
    return CacheHandle(name, service)
