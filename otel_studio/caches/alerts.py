"""Thresholds of caches, and the alerts while one is past them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from otel_studio.base.clock import Clock
from otel_studio.base.locks import new_lock
from otel_studio.base.record import iso_time, megabytes
from otel_studio.base.thresholds import Threshold, check_limits
from otel_studio.caches.cache_records import CacheAlert
from otel_studio.caches.reading import CachesReading, OneCacheReading
from otel_studio.caches.report import response_time_ms, sizes_of, tally_of
from otel_studio.caches.windows import hit_rate

#: How often past its threshold a value must be to be critical.
_CRITICAL_FACTOR = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Check:
    """What one threshold compares: a figure of a cache at a time."""

    threshold: Threshold
    figure: Callable[[OneCacheReading, int], float | None]


_CHECKS = (
    _Check(
        Threshold(
            "min_hit_rate",
            "low_hit_rate",
            "the hit rate of the last hour is {value:.1%}, below {limit:.1%}",
            is_minimum=True,
            highest=1.0,
            expected="a share above 0 and up to 1, such as 0.8 for 80%",
            critical_factor=_CRITICAL_FACTOR,
        ),
        lambda one, now_ns: hit_rate(tally_of(one, "hour", now_ns)),
    ),
    _Check(
        Threshold(
            "max_memory_usage_mb",
            "high_memory_usage",
            "it holds {value:.1f} MB, more than {limit:.1f} MB",
            critical_factor=_CRITICAL_FACTOR,
        ),
        lambda one, _now_ns: megabytes(sizes_of(one).memory_bytes),
    ),
    _Check(
        Threshold(
            "max_response_time_ms",
            "slow_response",
            "an access took {value:.3g} ms on average in the last hour, longer than {limit:.3g} ms",
            critical_factor=_CRITICAL_FACTOR,
        ),
        response_time_ms,
    ),
    _Check(
        Threshold(
            "max_fragmentation",
            "high_fragmentation",
            "{value:.1%} of the memory that it holds is not used, more than {limit:.1%}",
            highest=1.0,
            expected="a share above 0 and up to 1, such as 0.3 for 30%",
            critical_factor=_CRITICAL_FACTOR,
        ),
        lambda one, _now_ns: sizes_of(one).fragmentation,
    ),
)


class CacheThresholds:
    """The thresholds for all caches and for single ones, and since when each is crossed.

    Args:
        clock: where an alert's time comes from.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = new_lock()
        #: By cache name; `None` is every cache. A cache's own threshold goes before.
        self._limits: dict[str | None, dict[str, float | None]] = {}
        #: Service, cache and alert type of each active alert: when it was first seen.
        self._since: dict[tuple[str, str, str], int] = {}

    def set(self, thresholds: Mapping[str, float | None], cache: str | None = None) -> None:
        """Set some thresholds; others stay as they are, `None` takes one away.

        Args:
            thresholds: by name: `min_hit_rate` (0 to 1), `max_memory_usage_mb`,
                `max_response_time_ms`, `max_fragmentation` (0 to 1).
            cache: the cache they are for; every cache when not given.

        Raises:
            TypeError: if the thresholds are no mapping.
            ValueError: for a name that is no threshold, or a value that cannot be one.
        """
        check_limits(
            "cache", (check.threshold for check in _CHECKS), thresholds, "{'min_hit_rate': 0.8}"
        )
        given = dict(thresholds)
        with self._lock:
            self._limits = {**self._limits, cache: {**self._limits.get(cache, {}), **given}}

    def __bool__(self) -> bool:
        """Whether any threshold is set."""
        return bool(self._limits)

    def alerts(self, reading: CachesReading) -> list[CacheAlert]:
        """Return an alert for each threshold that a cache is past.

        Args:
            reading: of every cache, now.
        """
        found = list(self._past(reading))
        now = self._clock.time_ns()
        with self._lock:
            known = self._since
            since = self._since = {
                key: known.get(key, now)
                for key in ((a.service_name, a.cache, a.alert_type) for a in found)
            }
        return [
            dataclasses.replace(
                alert,
                timestamp=iso_time(since[alert.service_name, alert.cache, alert.alert_type]) or "",
            )
            for alert in found
        ]

    def after_fork_in_child(self) -> None:
        """Forget the parent's alerts."""
        self._since = {}

    def _past(self, reading: CachesReading) -> Iterator[CacheAlert]:
        limits = self._limits
        for one in reading.caches.values():
            own = {**limits.get(None, {}), **limits.get(one.cache, {})}
            for check in _CHECKS:
                limit = own.get(check.threshold.name)
                if limit is None:
                    continue
                value = check.figure(one, reading.at_ns)
                severity = check.threshold.severity(value, limit)
                if value is None or severity is None:
                    continue
                yield CacheAlert(
                    alert_type=check.threshold.alert_type,
                    cache=one.cache,
                    service_name=one.service,
                    message=f"Cache {one.cache}: {check.threshold.message(value, limit)}",
                    severity=severity,
                    timestamp="",
                    current_value=value,
                    threshold_value=limit,
                )
