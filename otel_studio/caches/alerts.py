"""Thresholds of caches, and the alerts while one is past them."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterable, Mapping

from otel_studio.caches.records import CacheAlert, CachePerformance
from otel_studio.clock import Clock
from otel_studio.record import iso_time

#: How often past its threshold a value must be to be critical.
_CRITICAL_FACTOR = 2.0


@dataclasses.dataclass(frozen=True)
class _Check:
    """What one threshold compares: a field of `CachePerformance`, and how to say it."""

    alert_type: str
    field: str
    is_minimum: bool
    #: Takes `value` and `limit`.
    says: str
    highest: float = math.inf
    expected: str = "a number above 0"


_CHECKS = {
    "min_hit_rate": _Check(
        "low_hit_rate",
        "hit_rate_last_hour",
        True,
        "the hit rate of the last hour is {value:.1%}, below {limit:.1%}",
        highest=1.0,
        expected="a share above 0 and up to 1, such as 0.8 for 80%",
    ),
    "max_memory_usage_mb": _Check(
        "high_memory_usage",
        "current_memory_usage_mb",
        False,
        "it holds {value:.1f} MB, more than {limit:.1f} MB",
    ),
    "max_response_time_ms": _Check(
        "slow_response",
        "average_response_time_ms",
        False,
        "an access took {value:.3g} ms on average in the last hour, longer than {limit:.3g} ms",
    ),
    "max_fragmentation": _Check(
        "high_fragmentation",
        "fragmentation_ratio",
        False,
        "its memory is fragmented by {value:.2f}, more than {limit:.2f}",
    ),
}


class CacheThresholds:
    """The thresholds for all caches and for single ones, and which are crossed.

    Args:
        clock: where an alert's time comes from.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: By cache name; `None` is every cache. A cache's own threshold goes before.
        self._thresholds: dict[str | None, dict[str, float | None]] = {}
        #: Service, cache and alert type of each active alert: when it was first seen.
        self._since: dict[tuple[str, str, str], int] = {}

    def set(self, thresholds: Mapping[str, float | None], cache: str | None = None) -> None:
        """Set some thresholds; others stay as they are, `None` takes one away.

        Args:
            thresholds: by name: `min_hit_rate` (0 to 1), `max_memory_usage_mb`,
                `max_response_time_ms`, `max_fragmentation`.
            cache: the cache they are for; every cache when not given.

        Raises:
            TypeError: if the thresholds are no mapping.
            ValueError: for a name that is no threshold, or a value that cannot be one.
        """
        if not isinstance(thresholds, Mapping):
            raise TypeError(
                f"cache thresholds are given as a dict such as {{'min_hit_rate': 0.8}}, "
                f"not as {type(thresholds).__name__}"
            )
        for name, limit in thresholds.items():
            _validate(name, limit)
        with self._lock:
            self._thresholds.setdefault(cache, {}).update(thresholds)

    def __bool__(self) -> bool:
        """Whether any threshold is set."""
        return bool(self._thresholds)

    def alerts(self, performances: Iterable[CachePerformance]) -> list[CacheAlert]:
        """Return an alert for each threshold that a cache is past.

        Args:
            performances: what is known of every cache now.
        """
        now = self._clock.time_ns()
        with self._lock:
            found = [
                (performance, _CHECKS[name], limit)
                for performance in performances
                for name, limit in self._limits_of(performance.cache).items()
                if limit is not None and _is_past(_CHECKS[name], performance, limit)
            ]
            since = {
                (performance.service_name, performance.cache, check.alert_type): now
                for performance, check, _ in found
            }
            self._since = {key: self._since.get(key, now) for key in since}
            return [self._alert(*row) for row in found]

    def restart_after_fork(self) -> None:
        """Make a lock that no thread of the parent holds, and forget the parent's alerts."""
        self._lock = threading.Lock()
        self._since = {}

    def _limits_of(self, cache: str) -> dict[str, float | None]:
        return {**self._thresholds.get(None, {}), **self._thresholds.get(cache, {})}

    def _alert(self, performance: CachePerformance, check: _Check, limit: float) -> CacheAlert:
        value = getattr(performance, check.field)
        if check.is_minimum:
            critical = value * _CRITICAL_FACTOR <= limit
        else:
            critical = value >= limit * _CRITICAL_FACTOR
        since = self._since[performance.service_name, performance.cache, check.alert_type]
        return CacheAlert(
            alert_type=check.alert_type,
            cache=performance.cache,
            service_name=performance.service_name,
            message=f"Cache {performance.cache}: {check.says.format(value=value, limit=limit)}",
            severity="critical" if critical else "warning",
            timestamp=iso_time(since) or "",
            current_value=value,
            threshold_value=limit,
        )


def _is_past(check: _Check, performance: CachePerformance, limit: float) -> bool:
    value = getattr(performance, check.field)
    if value is None:
        return False
    return bool(value < limit if check.is_minimum else value > limit)


def _validate(name: object, limit: object) -> None:
    if name not in _CHECKS:
        raise ValueError(f"{name!r} is no cache threshold: the thresholds are {', '.join(_CHECKS)}")
    if limit is None:
        return
    check = _CHECKS[str(name)]
    if (
        isinstance(limit, bool)
        or not isinstance(limit, int | float)
        or not 0 < limit <= check.highest
        or math.isinf(limit)
    ):
        raise ValueError(f"{name}={limit!r} cannot be used: give {check.expected}")
