"""All caches of a program: made by name, asked at intervals, queried together."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from opentelemetry.metrics import Meter

from otel_studio.base import figures
from otel_studio.base.clock import Clock
from otel_studio.base.guard import warn_once
from otel_studio.base.locks import new_lock
from otel_studio.base.overflow import OTHER
from otel_studio.base.worker import Worker
from otel_studio.caches.alerts import CacheThresholds
from otel_studio.caches.cache import Cache
from otel_studio.caches.cache_records import CacheAlert, CachePerformance
from otel_studio.caches.instruments import FIGURES
from otel_studio.caches.keys import KeyLabels
from otel_studio.caches.reading import CachesReading
from otel_studio.caches.report import performance_of


class CacheNotFound(LookupError):
    """No cache has this name."""


class CacheRegistry:
    """Every cache by service and name, with the queries over all of them.

    Args:
        clock: where times come from.
        cache_keys: what is kept of keys: `plain` text, a keyed `hash`, or nothing (`drop`).
        max_caches: caches with statistics of their own; what comes later is recorded
            together as `__other__`.
        cache_poll_interval: seconds between two times that backends which take I/O (a
            server's memory, a disk cache's size) are asked, on a thread of their own.

    Example:
        >>> from otel_studio.base.clock import SystemClock
        >>> caches = CacheRegistry(SystemClock())
        >>> previews = caches.cache("previews", service="preview-service")
        >>> previews.hit("a.png")
        >>> caches.get_cache_performance_metrics("previews")[0].hit_rate
        1.0
    """

    def __init__(
        self,
        clock: Clock,
        *,
        cache_keys: str = "plain",
        max_caches: int = 1_000,
        cache_poll_interval: float = 10.0,
    ) -> None:
        self._clock = clock
        self._labels = KeyLabels(cache_keys)
        self._salt = secrets.randbits(62)
        self._max_caches = max_caches
        self._caches: dict[tuple[str, str], Cache] = {}
        self._thresholds = CacheThresholds(clock)
        self._lock = new_lock()
        self._worker = Worker("otel-studio-caches", self.poll, interval=cache_poll_interval)
        self._started = False
        #: Names that were given the shared cache instead of one of their own.
        self.overflowed = 0

    def __repr__(self) -> str:
        return f"<CacheRegistry of {len(self._caches)} caches>"

    def adopt(self, *, cache_keys: str, max_caches: int, cache_poll_interval: float) -> None:
        """Take other limits than those it was made with; what was recorded stays.

        Text that was kept of keys under another rule is dropped.

        Args:
            cache_keys: as above.
            max_caches: as above.
            cache_poll_interval: seconds, as above.
        """
        self._max_caches = max_caches
        self._worker.interval = cache_poll_interval
        if self._labels.use(cache_keys):
            for cache in self.caches():
                cache.forget_keys()
        self._poll_soon()

    def cache(self, name: str, service: str = "cache") -> Cache:
        """Return the cache of this name, the same object every time.

        Args:
            name: what the cache holds, such as `previews`.
            service: the component it belongs to, such as `preview-service`.

        Raises:
            ValueError: if a name is no text, or empty.
        """
        found = self._caches.get((service, name))
        if found is not None:
            return found
        _require_name("cache", name)
        _require_name("service", service)
        with self._lock:
            is_one_too_many = len(self._caches) >= self._max_caches
            key = (OTHER, OTHER) if is_one_too_many else (service, name)
            # In one step: a finalizer that runs while a cache is made may ask for the same one.
            found = self._caches.setdefault(key, self._new(*key))
            self.overflowed += is_one_too_many
        if is_one_too_many:
            warn_once(
                "caches",
                "limit",
                "There are %d caches already: cache %s of service %s and later ones are "
                "recorded together as %s. Give fewer names, or raise max_caches.",
                self._max_caches,
                name,
                service,
                OTHER,
            )
        return found

    def _new(self, service: str, name: str) -> Cache:
        return Cache(name, service, self._clock, self._labels, self._salt, self._poll_soon)

    def redact_keys(self, redact: Callable[[str], str] | None) -> None:
        """Take secrets out of what is shown of keys from now on.

        Args:
            redact: returns a text without its secrets; `None` shows keys as they are.
        """
        self._labels.redact = redact

    def caches(self, name: str | None = None) -> list[Cache]:
        """Return the caches, by service and name.

        Args:
            name: only those of this name.
        """
        rows = sorted(self._caches.items())
        return [cache for _, cache in rows if name is None or cache.name == name]

    def reading(self, cache: str | None = None) -> CachesReading:
        """Return what is known of every cache now; each is folded and asked once.

        Args:
            cache: only those of this name; an unknown name gives an empty reading.
        """
        self._go_on()
        caches = {(one.service, one.name): one.reading() for one in self.caches(cache)}
        return CachesReading(self._clock.monotonic_ns(), caches)

    def get_cache_performance_metrics(self, cache: str | None = None) -> list[CachePerformance]:
        """Return what is known of each cache now.

        Args:
            cache: only those of this name; an unknown name gives an empty list.
        """
        reading = self.reading(cache)
        return [performance_of(one, reading.at_ns) for one in reading.caches.values()]

    def set_cache_alert_thresholds(
        self, thresholds: Mapping[str, float | None], cache: str | None = None
    ) -> None:
        """Set thresholds for one cache or for all; those not named stay as they are.

        Args:
            thresholds: by name: `min_hit_rate` (0 to 1, of the last hour),
                `max_memory_usage_mb`, `max_response_time_ms` (average of the last hour),
                `max_fragmentation` (0 to 1). `None` takes one away.
            cache: the cache they are for; every cache when not given.

        Raises:
            TypeError: if the thresholds are no mapping.
            ValueError: for a name that is no threshold, or a value that cannot be one.
            CacheNotFound: if there is no such cache.

        Example:
            >>> caches.set_cache_alert_thresholds({"min_hit_rate": 0.8})  # doctest: +SKIP
        """
        if cache is not None and not self.caches(cache):
            names = ", ".join(sorted({known.name for known in self.caches()})) or "none yet"
            raise CacheNotFound(
                f"there is no cache {cache!r}: the caches are {names}; create it with "
                f"otel_studio.cache({cache!r}) first"
            )
        self._thresholds.set(thresholds, cache)

    def get_cache_alerts(self) -> list[CacheAlert]:
        """Return an alert for each threshold that a cache is past now."""
        return self._thresholds.alerts(self.reading())

    def register_instruments(self, meter: Meter) -> None:
        """Create the observable instruments `otel_studio.cache.*`.

        Args:
            meter: creates them.
        """
        figures.register(meter, FIGURES, self.reading)

    def poll(self) -> None:
        """Fold what waits in every cache, and ask all backends, also those that take I/O."""
        for cache in self.caches():
            cache.poll(remote=True)
        if self._thresholds:
            self.get_cache_alerts()  # so that an alert's time is not when someone first asked

    def start(self) -> None:
        """Start the thread that polls; does nothing while it runs."""
        self._started = True
        self._worker.allow()
        self._worker.start()
        self._worker.wake()

    def stop(self, timeout: float = 1.0) -> None:
        """Stop the thread.

        Args:
            timeout: seconds to wait at most for a backend that is slow to answer.
        """
        self._started = False
        self._worker.stop(timeout)

    def before_fork(self) -> None:
        """Nothing has to end first: no step here leaves anything half done."""

    def after_fork_in_parent(self) -> None:
        """Nothing was held."""

    def after_fork_in_child(self) -> None:
        """Begin at zero; a thread that polled is started by the first query or new backend."""
        self._worker.after_fork_in_child()
        self._thresholds.after_fork_in_child()
        for cache in self.caches():
            cache.after_fork_in_child()

    def _poll_soon(self) -> None:
        if self._started:
            self._worker.wake()

    def _go_on(self) -> None:
        """Have the thread started anew that a fork, or whatever else, took away."""
        if self._started and not self._worker.is_running:
            self._worker.wake()


def _require_name(what: str, given: object) -> None:
    if not isinstance(given, str) or not given:
        raise ValueError(f"a {what} needs a name: give text such as 'previews', not {given!r}")
