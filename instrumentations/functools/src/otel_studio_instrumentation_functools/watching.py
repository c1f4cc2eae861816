"""The functions memoized by `functools.lru_cache`, asked for their own counts."""

from __future__ import annotations

import functools
import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

from otel_studio.instrumentation import CacheReading, new_lock, report_internal_error, warn_once

#: Memoized functions of one name that are asked; a function made anew in every call has many.
_MAX_OF_ONE_NAME = 256

Memoized: TypeAlias = "functools._lru_cache_wrapper[Any]"


class Caches(Protocol):
    """What recorders come from: `otel_studio` itself, or a `CacheRegistry`."""

    def cache(self, name: str, service: str = ...) -> Any:
        """Return the cache of a name."""


class Watch:
    """Has each memoized function's `cache_info()` read when someone asks, and never in a call.

    Args:
        caches: where they are reported.
    """

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self._lock = new_lock()
        self._watched: dict[tuple[str, str], weakref.WeakSet[Memoized]] = {}
        self._on = True

    def stop(self) -> None:
        """Report no more; the next question to each function finds it gone."""
        self._on = False

    def add(self, function: Memoized, *, from_now: bool = False) -> None:
        """Report a function, unless it belongs to Python itself.

        Args:
            function: what `lru_cache` returned.
            from_now: whether its calls so far are left out.
        """
        try:
            service = getattr(function, "__module__", None) or "functools"
            name = getattr(function, "__qualname__", None) or type(function).__name__
            if service.partition(".")[0] in sys.stdlib_module_names and service != "__main__":
                return
            if self._on and self._has_room(function, service, name):
                cache = self._caches.cache(name, service=service)
                cache.attach(self._reader(weakref.ref(function)), from_now=from_now)
        except Exception as error:
            report_internal_error("watching a memoized function", error)

    def _has_room(self, function: Memoized, service: str, name: str) -> bool:
        with self._lock:
            same_name = self._watched.setdefault((service, name), weakref.WeakSet())
            if function in same_name:
                return False
            if len(same_name) < _MAX_OF_ONE_NAME:
                same_name.add(function)
                return True
        warn_once(
            "memoized functions",
            f"{service} {name}",
            "There are %d memoized functions called %s in %s: more are not counted. One that is "
            "made anew in every call remembers nothing from call to call.",
            _MAX_OF_ONE_NAME,
            name,
            service,
        )
        return False

    def _reader(self, reference: weakref.ref[Memoized]) -> Callable[[], CacheReading | None]:
        def read() -> CacheReading | None:
            function = reference()
            if function is None or not self._on:
                return None
            info = function.cache_info()
            return CacheReading(
                hits=info.hits,
                misses=info.misses,
                entries=info.currsize,
                max_entries=info.maxsize,
            )

        return read


def memoized_functions() -> Iterator[Memoized]:
    """Yield the memoized functions that there are by now."""
    kind = functools._lru_cache_wrapper
    for value in gc.get_objects():
        if type(value) is kind:
            yield value
