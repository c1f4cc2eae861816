"""The few fixed rules that say when memory is too high."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from otel_studio.base.clock import Clock
from otel_studio.base.record import Record, iso_time
from otel_studio.base.thresholds import Threshold, check_limits
from otel_studio.process.memory_records import MemoryAlert

#: Above this share of a limit an alert is critical.
_CRITICAL_SHARE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryThresholds(Record):
    """When an alert is raised; `None` never raises it."""

    #: Of the limit, by this process alone, 0 to 1.
    max_process_utilization: float | None = 0.85
    #: Of the limit, by everything under the same limit, 0 to 1.
    max_system_utilization: float | None = 0.95
    max_memory_mb: float | None = None
    #: For each service alone.
    max_service_memory_mb: float | None = None
    #: Of what the allocators hold, the part that is not in use, 0 to 1.
    max_fragmentation: float | None = None


_SHARE = "a number above 0 and at most 1"
_MEGABYTES = "a number of MB above 0"

_PROCESS = Threshold(
    "max_process_utilization",
    "high_process_memory",
    "this process uses more of the memory limit than its threshold",
    highest=1.0,
    expected=_SHARE,
    critical_above=_CRITICAL_SHARE,
)
_SYSTEM = Threshold(
    "max_system_utilization",
    "high_system_memory",
    "all processes together use more of the memory limit than the threshold",
    highest=1.0,
    expected=_SHARE,
    critical_above=_CRITICAL_SHARE,
)
_MEMORY = Threshold(
    "max_memory_mb",
    "high_memory",
    "the resident memory of this process is above its threshold",
    expected=_MEGABYTES,
)
_SERVICE = Threshold(
    "max_service_memory_mb",
    "high_service_memory",
    "the memory of service {service} is above its threshold",
    expected=_MEGABYTES,
)
_FRAGMENTATION = Threshold(
    "max_fragmentation",
    "high_fragmentation",
    "the allocators hold more unused memory than the threshold",
    highest=1.0,
    expected=_SHARE,
)
_ALL = (_PROCESS, _SYSTEM, _MEMORY, _SERVICE, _FRAGMENTATION)


def checked_thresholds(thresholds: Mapping[str, Any], before: MemoryThresholds) -> MemoryThresholds:
    """Return thresholds with some of them changed.

    Args:
        thresholds: new values by name; the others stay as they were.
        before: the thresholds so far.

    Raises:
        TypeError: if the thresholds are no mapping.
        ValueError: for an unknown name or a value out of range; nothing is changed then.
    """
    check_limits("memory", _ALL, thresholds, "{'max_memory_mb': 512}")
    return dataclasses.replace(before, **thresholds)


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """A figure, and the threshold that it is compared with; the service it is of, if one."""

    threshold: Threshold
    value: float | None
    limit: float | None
    service: str = ""


class MemoryAlerts:
    """Holds the thresholds, and since when each is exceeded.

    Args:
        clock: stamps the moment an alert begins.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_ns: dict[tuple[str, str], int] = {}
        self.thresholds = MemoryThresholds()

    def set(self, thresholds: Mapping[str, Any]) -> MemoryThresholds:
        """Change some thresholds; see `checked_thresholds`."""
        self.thresholds = checked_thresholds(thresholds, self.thresholds)
        return self.thresholds

    def evaluate(self, measured: Iterable[Measured]) -> list[MemoryAlert]:
        """Return the alerts that hold for these values; a value that is not known raises none."""
        found: list[MemoryAlert] = []
        since: dict[tuple[str, str], int] = {}
        for one in measured:
            severity = one.threshold.severity(one.value, one.limit)
            if one.value is None or one.limit is None or severity is None:
                continue
            key = (one.threshold.alert_type, one.service)
            since[key] = self._since_ns.get(key, self._clock.time_ns())
            found.append(
                MemoryAlert(
                    alert_type=one.threshold.alert_type,
                    message=one.threshold.message(one.value, one.limit, service=one.service),
                    severity=severity,
                    timestamp=iso_time(since[key]),
                    current_value=one.value,
                    threshold_value=one.limit,
                    service_name=one.service or None,
                )
            )
        self._since_ns = since
        return found


def memory_rules(thresholds: MemoryThresholds, figures: Mapping[str, Any]) -> list[Measured]:
    """Return what each rule compares.

    Args:
        thresholds: the thresholds.
        figures: `process_utilization`, `system_utilization`, `memory_mb`, `fragmentation`, and
            `services`, a mapping of name to MB.
    """
    return [
        Measured(_PROCESS, figures["process_utilization"], thresholds.max_process_utilization),
        Measured(_SYSTEM, figures["system_utilization"], thresholds.max_system_utilization),
        Measured(_MEMORY, figures["memory_mb"], thresholds.max_memory_mb),
        Measured(_FRAGMENTATION, figures["fragmentation"], thresholds.max_fragmentation),
        *(
            Measured(_SERVICE, megabytes, thresholds.max_service_memory_mb, service)
            for service, megabytes in figures["services"].items()
        ),
    ]
