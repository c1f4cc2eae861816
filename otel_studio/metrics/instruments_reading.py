"""The reading of the program's own OpenTelemetry instruments: their points, which add and subtract.

Counters and histograms form a group: what was counted since one beginning (a process, and the
start of the point in it) is a part of its own, so that a counter that began anew counts from zero.
Up-down counters add over processes, and of one process the later value stands; of a gauge the
later one. What describes the machine (`system.*`, `hw.*`) is the same in each of its processes and
is never added: the later one stands. A difference of levels and gauges is the later reading's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from otel_studio.base.codec import readable
from otel_studio.metrics.instrument_points import AnyPoints, Points

Value = str | bool | int | float
Kind = Literal["counter", "up_down_counter", "gauge", "histogram", "exponential_histogram"]
Attributes = tuple[tuple[str, Value | Sequence[Value]], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class PointKey:
    """What tells a point from all others.

    Attributes:
        scope: the instrumentation scope's name.
        name: the instrument's.
        kind: the instrument's: two processes may differ in it.
        attributes: sorted by name.
    """

    scope: str
    name: str
    kind: Kind
    attributes: Attributes


@dataclasses.dataclass(frozen=True, slots=True)
class Instrument:
    """What describes an instrument.

    Attributes:
        version: of its scope.
        unit: as it was given.
        description: as it was given.
    """

    version: str
    unit: str
    description: str


@readable("instruments")
@dataclasses.dataclass(frozen=True, slots=True)
class InstrumentsReading:
    """The points of every instrument at one moment, or over a window.

    Attributes:
        time: when it was taken, in nanoseconds since 1970; of a window its end.
        instruments: by scope and name.
        points: by what tells them apart; what stood still has none in a window.
    """

    time: int = 0
    instruments: Mapping[tuple[str, str], Instrument] = dataclasses.field(default_factory=dict)
    points: Mapping[PointKey, AnyPoints] = dataclasses.field(default_factory=dict)

    def __add__(self, other: InstrumentsReading) -> InstrumentsReading:
        instruments = dict(self.instruments)
        for key, instrument in other.instruments.items():
            # Where two processes differ, the order of their readings decides nothing.
            known = instruments.get(key, instrument)
            instruments[key] = max(known, instrument, key=dataclasses.astuple)
        points: dict[PointKey, Any] = dict(self.points)
        for point, values in other.points.items():
            points[point] = points[point] + values if point in points else values
        return InstrumentsReading(max(self.time, other.time), instruments, points)

    def __sub__(self, earlier: InstrumentsReading) -> InstrumentsReading:
        points: dict[PointKey, Any] = {}
        for key, now in self.points.items():
            before: Any = earlier.points.get(key)
            values: Points = now if before is None else now - before
            if not values.is_empty:
                points[key] = values
        return InstrumentsReading(self.time, self.instruments, points)
