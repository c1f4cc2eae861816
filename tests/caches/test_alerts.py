"""Thresholds of caches and their alerts."""

from __future__ import annotations

import math

import pytest

from otel_studio.base.clock import ManualClock
from otel_studio.caches import Cache, CacheNotFound, CacheReading, CacheRegistry


def test_each_threshold_has_its_alert(previews: Cache, caches: CacheRegistry) -> None:
    """A cache past all four thresholds has four alerts that say value and limit."""
    previews.attach(lambda: CacheReading(memory_bytes=300 * 1_000_000, fragmentation=0.4))
    for _ in range(3):
        previews.hit("a", duration=0.03)
    previews.miss("b", duration=0.03)
    caches.set_cache_alert_thresholds(
        {
            "min_hit_rate": 0.8,
            "max_memory_usage_mb": 100,
            "max_response_time_ms": 20,
            "max_fragmentation": 0.3,
        }
    )
    alerts = {alert.alert_type: alert for alert in caches.get_cache_alerts()}
    assert {
        name: (a.current_value, a.threshold_value, a.severity) for name, a in alerts.items()
    } == {
        "low_hit_rate": (0.75, 0.8, "warning"),
        "high_memory_usage": (300.0, 100, "critical"),
        "slow_response": (30.0, 20, "warning"),
        "high_fragmentation": (0.4, 0.3, "warning"),
    }
    assert alerts["low_hit_rate"].message == (
        "Cache previews: the hit rate of the last hour is 75.0%, below 80.0%"
    )
    assert alerts["low_hit_rate"].service_name == "preview-service"


def test_alert_ends_with_its_cause(
    previews: Cache, caches: CacheRegistry, clock: ManualClock
) -> None:
    """The time is that of the first sight; once the value is back, there is no alert."""
    caches.set_cache_alert_thresholds({"min_hit_rate": 0.5})
    previews.miss("a")
    (first,) = caches.get_cache_alerts()
    clock.advance(60)
    previews.hit("a")
    previews.miss("b")
    (second,) = caches.get_cache_alerts()
    assert first.timestamp == second.timestamp
    assert (first.severity, second.severity) == ("critical", "warning")
    clock.advance(60)
    previews.hit("a")
    previews.hit("a")
    assert caches.get_cache_alerts() == []
    for _ in range(9):
        previews.miss("a")
    (again,) = caches.get_cache_alerts()
    assert again.timestamp > first.timestamp


def test_value_without_a_source_raises_no_alert(previews: Cache, caches: CacheRegistry) -> None:
    """An unused cache is neither slow nor low."""
    caches.set_cache_alert_thresholds(
        {"min_hit_rate": 0.9, "max_memory_usage_mb": 1, "max_fragmentation": 1}
    )
    assert caches.get_cache_alerts() == []


def test_own_threshold_goes_before_the_common_one(previews: Cache, caches: CacheRegistry) -> None:
    """One cache may be allowed more than the rest, or nothing be asked of it."""
    other = caches.cache("other")
    for cache in (previews, other):
        cache.hit("a")
        cache.miss("a")
    caches.set_cache_alert_thresholds({"min_hit_rate": 0.9})
    caches.set_cache_alert_thresholds({"min_hit_rate": 0.4}, cache="previews")
    assert [alert.cache for alert in caches.get_cache_alerts()] == ["other"]
    caches.set_cache_alert_thresholds({"min_hit_rate": None})
    assert caches.get_cache_alerts() == []


def test_polling_finds_an_alert_before_anyone_asks(
    previews: Cache, caches: CacheRegistry, clock: ManualClock
) -> None:
    """An alert's time is when a poll first saw it, not when someone first looked."""
    caches.set_cache_alert_thresholds({"min_hit_rate": 0.9})
    previews.miss("a")
    caches.poll()
    clock.advance(600)
    (alert,) = caches.get_cache_alerts()
    assert alert.timestamp == "2023-11-14T22:13:20.000000Z"


@pytest.mark.parametrize(
    ("thresholds", "sentence"),
    [
        ({"min_hitrate": 0.5}, "'min_hitrate' is no cache threshold.*min_hit_rate"),
        ({"min_hit_rate": 80}, "min_hit_rate=80 cannot be used.*0.8 for 80%"),
        ({"min_hit_rate": 0}, "min_hit_rate=0 cannot be used"),
        ({"max_memory_usage_mb": "100"}, "'100' cannot be used: give a number above 0"),
        ({"max_response_time_ms": -1}, "-1 cannot be used"),
        ({"max_fragmentation": math.nan}, "nan cannot be used"),
        ({"max_fragmentation": math.inf}, "inf cannot be used"),
        ({"max_fragmentation": True}, "True cannot be used"),
        ({"max_fragmentation": 1.5}, "give a share above 0 and up to 1"),
    ],
)
def test_unusable_thresholds_are_refused(
    caches: CacheRegistry, thresholds: dict[str, float], sentence: str
) -> None:
    """One clear sentence says what was wrong, and nothing of the dict is taken."""
    with pytest.raises(ValueError, match=sentence):
        caches.set_cache_alert_thresholds({"max_memory_usage_mb": 5, **thresholds})
    cache = caches.cache("any")
    cache.attach(lambda: CacheReading(memory_bytes=100 * 1_000_000))
    assert caches.get_cache_alerts() == []


def test_thresholds_are_a_mapping(caches: CacheRegistry) -> None:
    """A bare number is refused with an example."""
    with pytest.raises(TypeError, match="min_hit_rate"):
        caches.set_cache_alert_thresholds(0.8)  # type: ignore[arg-type]


def test_unknown_cache_is_refused(previews: Cache, caches: CacheRegistry) -> None:
    """A name with a slip says which caches there are."""
    with pytest.raises(CacheNotFound, match=r"'preview'.*the caches are previews"):
        caches.set_cache_alert_thresholds({"min_hit_rate": 0.8}, cache="preview")
