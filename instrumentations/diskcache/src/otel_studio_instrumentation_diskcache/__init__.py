"""Records what happens to the caches of diskcache, by name, in OTel Studio.

Example:
    >>> import tempfile
    >>> import diskcache
    >>> import otel_studio
    >>> from otel_studio_instrumentation_diskcache import DiskcacheInstrumentor, name_cache
    >>> DiskcacheInstrumentor().instrument()
    >>> with tempfile.TemporaryDirectory() as folder, diskcache.Cache(folder) as thumbnails:
    ...     name_cache(thumbnails, "thumbnails")
    ...     thumbnails.get("a.png")
    >>> otel_studio.api.get_cache_performance_metrics("thumbnails")[0].misses  # doctest: +SKIP
    1
    >>> DiskcacheInstrumentor().uninstrument()
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import diskcache  # type: ignore[import-untyped]
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

import otel_studio
from otel_studio.instrumentation import Patches

from .book import SERVICE, Book
from .package import _instruments
from .recording import patch
from .version import __version__

__all__ = ["DiskcacheInstrumentor", "__version__", "name_cache"]

_book = Book()


class DiskcacheInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module is untyped
    """Follows every `diskcache.Cache`, and all that is built on it."""

    _patches: Patches | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions of diskcache that can be followed."""
        return _instruments

    def _instrument(self, **kwargs: Any) -> None:
        """Begin.

        Args:
            kwargs: `caches`, a `CacheRegistry` to record into; `otel_studio.cache` without.
        """
        _book.start(kwargs.get("caches") or otel_studio)
        self._patches = Patches()
        patch(self._patches, _book)

    def _uninstrument(self, **kwargs: Any) -> None:
        """Put diskcache back as it was."""
        if self._patches is not None:
            self._patches.restore()
            self._patches = None
        _book.stop()


def name_cache(cache: Any, name: str, service: str = SERVICE) -> None:
    """Say what a cache is called, where the name of its folder will not do.

    Args:
        cache: a `diskcache.Cache` or `FanoutCache`.
        name: what it holds, such as `thumbnails`.
        service: the component it belongs to.

    Raises:
        TypeError: if it is neither.
    """
    if not isinstance(cache, diskcache.Cache | diskcache.FanoutCache):
        raise TypeError(
            f"a {type(cache).__name__} cannot be named: give a diskcache.Cache or "
            "diskcache.FanoutCache, such as the `cache` of an Index"
        )
    _book.name(cache, name, service)
