"""Records the hits and misses of a program's Redis reads in OTel Studio.

Example:
    >>> import otel_studio
    >>> import redis
    >>> from otel_studio_instrumentation_redis import RedisCacheInstrumentor
    >>> RedisCacheInstrumentor().instrument()
    >>> redis.Redis().get("alice")  # doctest: +SKIP
    >>> otel_studio.api.get_cache_performance_metrics("localhost:6379")[0].misses  # doctest: +SKIP
    1
    >>> RedisCacheInstrumentor().uninstrument()
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

import otel_studio
from otel_studio.instrumentation import Patches

from .package import _instruments
from .recording import patch
from .servers import Servers
from .version import __version__

__all__ = ["RedisCacheInstrumentor", "__version__"]


class RedisCacheInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module is untyped
    """Follows every client of redis-py, beside OpenTelemetry's own instrumentation of it."""

    _patches: Patches | None = None
    _servers: Servers | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions of redis-py that can be followed."""
        return _instruments

    def _instrument(self, **kwargs: Any) -> None:
        """Begin.

        Args:
            kwargs: `caches`, a `CacheRegistry` to record into; `otel_studio.cache` without.
        """
        self._servers = Servers(kwargs.get("caches") or otel_studio)
        self._patches = Patches()
        patch(self._patches, self._servers)

    def _uninstrument(self, **kwargs: Any) -> None:
        """Put redis-py back as it was; its servers are asked no more."""
        if self._patches is not None and self._servers is not None:
            self._patches.restore()
            self._servers.stop()
            self._patches = self._servers = None
