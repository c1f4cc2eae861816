"""The few fixed rules that say when memory is too high."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from otel_studio.clock import Clock
from otel_studio.record import Record, iso_time
from otel_studio.resources.memory_records import MemoryAlert

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


_RATIOS = ("max_process_utilization", "max_system_utilization", "max_fragmentation")


def checked_thresholds(thresholds: Mapping[str, Any], before: MemoryThresholds) -> MemoryThresholds:
    """Return thresholds with some of them changed.

    Args:
        thresholds: new values by name; the others stay as they were.
        before: the thresholds so far.

    Raises:
        ValueError: for an unknown name or a value out of range; nothing is changed then.
    """
    names = [field.name for field in dataclasses.fields(MemoryThresholds)]
    for name, value in thresholds.items():
        if name not in names:
            raise ValueError(
                f"there is no memory threshold {name!r}: use one of {', '.join(names)}"
            )
        if value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        most = 1.0 if name in _RATIOS else math.inf
        if not is_number or not 0 < value <= most or math.isinf(value):
            wanted = "above 0 and at most 1" if name in _RATIOS else "of MB above 0"
            raise ValueError(f"{name} cannot be {value!r}: give a number {wanted}, or None")
    return dataclasses.replace(before, **thresholds)


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What one rule compares: a value, its threshold and the words for both."""

    alert_type: str
    value: float | None
    threshold: float | None
    message: str
    is_share: bool = False


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
            if one.value is None or one.threshold is None or one.value <= one.threshold:
                continue
            key = (one.alert_type, one.message)
            since[key] = self._since_ns.get(key, self._clock.time_ns())
            critical = one.is_share and one.value > max(_CRITICAL_SHARE, one.threshold)
            found.append(
                MemoryAlert(
                    alert_type=one.alert_type,
                    message=one.message,
                    severity="critical" if critical else "warning",
                    timestamp=iso_time(since[key]),
                    current_value=one.value,
                    threshold_value=one.threshold,
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
    rules = [
        Measured(
            "high_process_memory",
            figures["process_utilization"],
            thresholds.max_process_utilization,
            "this process uses more of the memory limit than its threshold",
            is_share=True,
        ),
        Measured(
            "high_system_memory",
            figures["system_utilization"],
            thresholds.max_system_utilization,
            "all processes together use more of the memory limit than the threshold",
            is_share=True,
        ),
        Measured(
            "high_memory",
            figures["memory_mb"],
            thresholds.max_memory_mb,
            "the resident memory of this process is above its threshold",
        ),
        Measured(
            "high_fragmentation",
            figures["fragmentation"],
            thresholds.max_fragmentation,
            "the allocators hold more unused memory than the threshold",
        ),
    ]
    rules += [
        Measured(
            "high_service_memory",
            megabytes,
            thresholds.max_service_memory_mb,
            f"the memory of service {service} is above its threshold",
        )
        for service, megabytes in figures["services"].items()
    ]
    return rules
