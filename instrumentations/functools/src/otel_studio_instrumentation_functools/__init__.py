"""Reports the functions that `functools.lru_cache` memoizes, from their own counts.

A call of such a function costs what it cost before: nothing of it is replaced. Its
`cache_info()` is read before every query and at intervals.

Example:
    >>> import functools
    >>> import otel_studio
    >>> from otel_studio_instrumentation_functools import FunctoolsInstrumentor
    >>> FunctoolsInstrumentor().instrument()
    >>> @functools.lru_cache(maxsize=100)
    ... def square(n):
    ...     return n * n
    >>> otel_studio.api.get_cache_performance_metrics("square")[0].max_entries  # doctest: +SKIP
    100
    >>> FunctoolsInstrumentor().uninstrument()
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

import otel_studio
from otel_studio.instrumentation import Function, Patches

from .package import _instruments
from .version import __version__
from .watching import Watch, memoized_functions

__all__ = ["FunctoolsInstrumentor", "__version__"]


class FunctoolsInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module is untyped
    """Reports memoized functions, those that exist and those that are yet to be made."""

    _patches: Patches | None = None
    _watch: Watch | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what must be installed: nothing."""
        return _instruments

    def _instrument(self, **kwargs: Any) -> None:
        """Begin.

        Args:
            kwargs: `caches`, a `CacheRegistry` to report to; `otel_studio.cache` without.
        """
        watch = self._watch = Watch(kwargs.get("caches") or otel_studio)
        for function in list(memoized_functions()):
            watch.add(function, from_now=True)
        self._patches = Patches()
        # `functools.cache` finds it by this name too.
        self._patches.replace(functools, "lru_cache", lambda original: _watching(original, watch))

    def _uninstrument(self, **kwargs: Any) -> None:
        """Put `lru_cache` back; functions memoized meanwhile are what they would have been."""
        if self._patches is not None and self._watch is not None:
            self._patches.restore()
            self._watch.stop()
            self._patches = self._watch = None


def _watching(original: Function, watch: Watch) -> Function:
    def lru_cache(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        if isinstance(made, functools._lru_cache_wrapper):  # `@lru_cache` without parentheses
            watch.add(made)
            return made

        @functools.wraps(made)
        def decorate(function: Any) -> Any:
            memoized = made(function)
            watch.add(memoized)
            return memoized

        return decorate

    return lru_cache
