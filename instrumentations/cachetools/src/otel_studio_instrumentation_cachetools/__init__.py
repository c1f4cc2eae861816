"""Records what happens to the caches of cachetools, by name, in OTel Studio.

Example:
    >>> import cachetools
    >>> import otel_studio
    >>> from otel_studio_instrumentation_cachetools import CachetoolsInstrumentor
    >>> CachetoolsInstrumentor().instrument()
    >>> users = cachetools.LRUCache(maxsize=1000)
    >>> users.get("alice")
    >>> otel_studio.api.get_cache_performance_metrics("users")[0].misses  # doctest: +SKIP
    1
    >>> CachetoolsInstrumentor().uninstrument()
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import cachetools
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

import otel_studio
from otel_studio.instrumentation import Patches

from .book import Book
from .naming import caches_of_modules
from .package import _instruments
from .recording import patch
from .version import __version__

__all__ = ["CachetoolsInstrumentor", "__version__", "name_cache"]

_book = Book()


class CachetoolsInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module is untyped
    """Follows every cache of cachetools' classes and their subclasses."""

    _patches: Patches | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions of cachetools that can be followed."""
        return _instruments

    def _instrument(self, **kwargs: Any) -> None:
        """Begin.

        Args:
            kwargs: `caches`, a `CacheRegistry` to record into; `otel_studio.cache` without.
        """
        _book.start(kwargs.get("caches") or otel_studio)
        for cache, service, name in caches_of_modules():
            _book.name(cache, name, service, only_if_new=True)
        self._patches = Patches()
        patch(self._patches, _book)

    def _uninstrument(self, **kwargs: Any) -> None:
        """Put cachetools back as it was."""
        if self._patches is not None:
            self._patches.restore()
            self._patches = None
        _book.stop()


def name_cache(
    cache: cachetools.Cache[Any, Any],
    name: str,
    service: str = "cachetools",
    sizer: Callable[[Any], int] | None = None,
) -> None:
    """Say what a cache is called, where the name that is found by itself will not do.

    Args:
        cache: a cache of one of cachetools' classes.
        name: what it holds, such as `users`.
        service: the component it belongs to.
        sizer: returns the bytes of a value, for the memory of the cache.

    Raises:
        TypeError: if it is no cache of cachetools.

    Example:
        >>> sessions = cachetools.TTLCache(maxsize=100, ttl=60)
        >>> name_cache(sessions, "sessions", service="login", sizer=len)
    """
    if not isinstance(cache, cachetools.Cache):
        raise TypeError(
            f"a {type(cache).__name__} is no cache of cachetools: give one, or record another "
            "mapping with otel_studio.cache(name).wrap(mapping)"
        )
    _book.name(cache, name, service, sizer)
