"""What is read of the machine, or of the control group that stands for it: never added up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from otel_studio.process.system import SystemReading

N = TypeVar("N", int, float)


@dataclasses.dataclass(frozen=True, slots=True)
class MachineReading:
    """The machine at one moment, or over a window.

    Attributes:
        unix_ns: when it was read.
        epoch: of the process that read it; of two readings of one time, it decides.
        boot: which boot of which machine it is, `None` where nothing tells.
        system: the figures.
        cpu: fractions of all processors by mode, over the last window.
    """

    unix_ns: int = 0
    epoch: str = ""
    boot: str | None = None
    system: SystemReading = dataclasses.field(default_factory=SystemReading)
    cpu: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def or_later(self, other: MachineReading) -> MachineReading:
        """Return the later of two."""
        later = (other.unix_ns, other.epoch) >= (self.unix_ns, self.epoch)
        return other if later else self

    def __sub__(self, earlier: MachineReading) -> MachineReading:
        """Return what was counted since an earlier reading; after a reboot, all that was."""
        if self.boot != earlier.boot:
            return self
        now, then = self.system, earlier.system
        system = dataclasses.replace(now, swapping=_since(now.swapping, then.swapping))
        if now.memory_source == then.memory_source:
            system = dataclasses.replace(
                system,
                faults=_since(now.faults, then.faults),
                oom_kills=_grown(now.oom_kills, then.oom_kills),
            )
        if now.cpu_source == then.cpu_source:
            system = dataclasses.replace(
                system,
                cpu=_since(now.cpu, then.cpu),
                throttled_seconds=_grown(now.throttled_seconds, then.throttled_seconds),
                throttled_periods=_grown(now.throttled_periods, then.throttled_periods),
            )
        return dataclasses.replace(self, system=system)


def _since(now: Mapping[str, N], then: Mapping[str, N]) -> dict[str, N]:
    zero = dict.fromkeys(now, 0) | dict(then)
    # What went back belongs to another group, or began anew: all of it came since.
    return {key: value - zero[key] if value >= zero[key] else value for key, value in now.items()}


def _grown(now: N | None, then: N | None) -> N | None:
    if now is None or then is None or now < then:
        return now
    return now - then
