"""When memory alerts are raised, and how their thresholds are set."""

from __future__ import annotations

from typing import Any

import pytest

from otel_studio.base.clock import ManualClock
from otel_studio.process.memory_alerts import MemoryAlerts, MemoryThresholds, memory_rules

QUIET = {
    "process_utilization": 0.1,
    "system_utilization": 0.2,
    "memory_mb": 50.0,
    "fragmentation": 0.1,
    "services": {"a": 10.0},
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def alerts(clock: ManualClock) -> MemoryAlerts:
    return MemoryAlerts(clock)


def raised(alerts: MemoryAlerts, **figures: Any) -> list[tuple[str, str, float]]:
    found = alerts.evaluate(memory_rules(alerts.thresholds, {**QUIET, **figures}))
    return [(alert.alert_type, alert.severity, alert.current_value) for alert in found]


def test_a_share_of_the_limit_raises_an_alert(alerts: MemoryAlerts) -> None:
    """Above the threshold it is a warning, above 95 % critical; at the threshold nothing."""
    assert raised(alerts) == []
    assert raised(alerts, process_utilization=0.85) == []
    assert raised(alerts, process_utilization=0.9) == [("high_process_memory", "warning", 0.9)]
    assert raised(alerts, process_utilization=0.96) == [("high_process_memory", "critical", 0.96)]
    assert raised(alerts, system_utilization=0.99) == [("high_system_memory", "critical", 0.99)]


def test_each_threshold_raises_its_own_alert(alerts: MemoryAlerts) -> None:
    """MB of the process, MB of a service and fragmentation are off until they are set."""
    assert raised(alerts, memory_mb=1e6, fragmentation=0.99, services={"a": 1e6}) == []
    alerts.set({"max_memory_mb": 100, "max_service_memory_mb": 20, "max_fragmentation": 0.5})
    assert raised(alerts, memory_mb=101, fragmentation=0.6, services={"a": 21.0, "b": 5.0}) == [
        ("high_memory", "warning", 101),
        ("high_fragmentation", "warning", 0.6),
        ("high_service_memory", "warning", 21.0),
    ]


def test_an_alert_names_its_service_in_a_field(alerts: MemoryAlerts) -> None:
    """Those of the process as a whole name none."""
    alerts.set({"max_memory_mb": 100, "max_service_memory_mb": 20})
    figures = {**QUIET, "memory_mb": 101, "services": {"a": 21.0, "b": 22.0}}
    found = alerts.evaluate(memory_rules(alerts.thresholds, figures))
    assert [one.service_name for one in found] == [None, "a", "b"]


def test_a_figure_without_a_source_raises_nothing(alerts: MemoryAlerts) -> None:
    """What is not known is not compared."""
    alerts.set({"max_service_memory_mb": 1})
    assert raised(alerts, process_utilization=None, services={"a": None}) == []


def test_an_alert_keeps_the_moment_it_began(alerts: MemoryAlerts, clock: ManualClock) -> None:
    """The time is that of the first finding in a stretch, and a new stretch begins anew."""

    def at(share: float) -> list[str | None]:
        rules = memory_rules(alerts.thresholds, {**QUIET, "process_utilization": share})
        return [alert.timestamp for alert in alerts.evaluate(rules)]

    first = at(0.9)
    clock.advance(60)
    assert at(0.93) == first
    assert at(0.5) == []
    assert at(0.9) != first


def test_thresholds_that_are_not_named_stay(alerts: MemoryAlerts) -> None:
    """None switches one alert off, and the others go on."""
    alerts.set({"max_process_utilization": None})
    assert alerts.thresholds == MemoryThresholds(max_process_utilization=None)
    assert raised(alerts, process_utilization=1.0, system_utilization=0.97) == [
        ("high_system_memory", "critical", 0.97)
    ]


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ({"max_rss": 1}, "use one of max_process_utilization"),
        ({"max_process_utilization": 85}, "above 0 and at most 1"),
        ({"max_fragmentation": 0}, "above 0 and at most 1"),
        ({"max_fragmentation": 1.03}, "above 0 and at most 1"),
        ({"max_memory_mb": -5}, "MB above 0"),
        ({"max_memory_mb": float("nan")}, "MB above 0"),
        ({"max_memory_mb": float("inf")}, "MB above 0"),
        ({"max_memory_mb": True}, "MB above 0"),
        ({"max_service_memory_mb": "much"}, "MB above 0"),
    ],
)
def test_wrong_thresholds_are_refused_and_change_nothing(
    alerts: MemoryAlerts, thresholds: dict[str, Any], words: str
) -> None:
    """One clear sentence, and none of the values is taken."""
    with pytest.raises(ValueError, match=words):
        alerts.set({"max_service_memory_mb": 7, **thresholds})
    assert alerts.thresholds == MemoryThresholds()


def test_thresholds_are_a_mapping(alerts: MemoryAlerts) -> None:
    """A bare number is refused with an example."""
    with pytest.raises(TypeError, match="max_memory_mb"):
        alerts.set(512)  # type: ignore[arg-type]


def test_names_of_services_are_shown_as_they_are(alerts: MemoryAlerts) -> None:
    """A service whose name looks like a placeholder is named all the same."""
    alerts.set({"max_service_memory_mb": 1})
    (alert,) = alerts.evaluate(
        memory_rules(alerts.thresholds, {**QUIET, "services": {"{value}": 2}})
    )
    assert alert.message == "the memory of service {value} is above its threshold"
