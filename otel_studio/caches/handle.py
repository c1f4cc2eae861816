"""A cache by name, wherever its statistics are kept at the moment."""

from __future__ import annotations

from typing import Any, Final

from otel_studio.base.clock import SystemClock
from otel_studio.base.locks import new_lock
from otel_studio.caches.cache import Cache
from otel_studio.caches.registry import CacheRegistry
from otel_studio.operations import seat

_lock: Final = new_lock()


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
        seat.keep_bound(self)

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

    def __reduce__(self) -> tuple[Any, ...]:
        return cache, (self.name, self.service)

    def unbind(self) -> None:
        """Ask anew for the cache: another seat is taken."""
        self._cache = None

    def _bind(self) -> Cache:
        home = seat.current().caches or process_registry()
        found: Cache = home.cache(self.name, self.service)
        self._cache = found
        return found


def process_registry() -> CacheRegistry:
    """Return the registry of the process; what is recorded before `configure()` is in it, too."""
    own = seat.own()
    with _lock:
        if own.caches is None:
            own.caches = CacheRegistry(SystemClock())
        caches = own.caches
    assert isinstance(caches, CacheRegistry)
    return caches


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
