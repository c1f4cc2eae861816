"""What an instrument recorded with one set of attributes, by its kind: it adds and subtracts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, Self

from otel_studio.base.codec import readable
from otel_studio.base.reading import add_counts, add_parts, subtract_parts
from otel_studio.metrics.histogram_parts import ExponentialPart, HistogramPart


@dataclasses.dataclass(frozen=True, slots=True)
class Latest:
    """A value at a moment.

    Attributes:
        time: in nanoseconds since 1970.
        value: what it was.
    """

    time: int
    value: int | float

    def later(self, other: Latest) -> Latest:
        """Return the later of two; of one moment always the same one of them."""
        return max(self, other, key=lambda one: (one.time, repr(one.value)))


class Points(Protocol):
    """The values of one instrument with one set of attributes."""

    def __add__(self, other: Self, /) -> Self: ...

    def __sub__(self, earlier: Self, /) -> Self: ...

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing: the difference of a counter that stood still."""
        ...


@readable("instruments.count")
@dataclasses.dataclass(frozen=True, slots=True)
class Count:
    """A counter.

    Attributes:
        parts: what was counted, by epoch.
    """

    parts: Mapping[str, int | float]

    def __add__(self, other: Count) -> Count:
        return Count(add_counts(dict(self.parts), dict(other.parts)))

    def __sub__(self, earlier: Count) -> Count:
        parts = {}
        for epoch, value in self.parts.items():
            before = earlier.parts.get(epoch, 0)
            # A callback may report a counter that fell: it began anew, unsaid.
            grown = value - before if value >= before else value
            if grown:
                parts[epoch] = grown
        return Count(parts)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.parts

    @property
    def value(self) -> int | float:
        """The count of all epochs together."""
        return sum(self.parts.values())


@readable("instruments.machine-count")
@dataclasses.dataclass(frozen=True, slots=True)
class MachineCount:
    """A counter of the machine: each of its processes sees the same one.

    Attributes:
        latest: the last value.
    """

    latest: Latest

    def __add__(self, other: MachineCount) -> MachineCount:
        return MachineCount(self.latest.later(other.latest))

    def __sub__(self, earlier: MachineCount) -> MachineCount:
        now, before = self.latest, earlier.latest
        if now.value < before.value:  # the machine began anew
            return self
        return MachineCount(dataclasses.replace(now, value=now.value - before.value))

    @property
    def is_empty(self) -> bool:
        """Never: it has a value."""
        return False

    @property
    def value(self) -> int | float:
        """The last value."""
        return self.latest.value


@readable("instruments.level")
@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """An up-down counter.

    Attributes:
        parts: the last value of each process, by its epoch.
    """

    parts: Mapping[str, Latest]

    def __add__(self, other: Level) -> Level:
        parts = dict(self.parts)
        for epoch, latest in other.parts.items():
            parts[epoch] = latest.later(parts[epoch]) if epoch in parts else latest
        return Level(parts)

    def __sub__(self, earlier: Level) -> Level:
        return self

    @property
    def is_empty(self) -> bool:
        """Whether no process has it."""
        return not self.parts

    @property
    def value(self) -> int | float:
        """The sum over the processes."""
        return sum(latest.value for latest in self.parts.values())


@readable("instruments.last")
@dataclasses.dataclass(frozen=True, slots=True)
class Last:
    """A gauge, or an up-down counter of the machine.

    Attributes:
        latest: the last value.
    """

    latest: Latest

    def __add__(self, other: Last) -> Last:
        return Last(self.latest.later(other.latest))

    def __sub__(self, earlier: Last) -> Last:
        return self

    @property
    def is_empty(self) -> bool:
        """Never: it has a value."""
        return False

    @property
    def value(self) -> int | float:
        """The last value."""
        return self.latest.value


@readable("instruments.histogram")
@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram with bounds that were chosen.

    Attributes:
        parts: by epoch and bounds, for what has other bounds cannot be added.
    """

    parts: Mapping[str, HistogramPart]

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(add_parts(self.parts, other.parts))

    def __sub__(self, earlier: Histogram) -> Histogram:
        return Histogram(_counted(subtract_parts(self.parts, earlier.parts)))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was recorded."""
        return not self.parts

    def by_bounds(self) -> dict[tuple[float, ...], HistogramPart]:
        """Return the histogram of all epochs, one for each set of bounds."""
        totals: dict[tuple[float, ...], HistogramPart] = {}
        for part in self.parts.values():
            totals[part.bounds] = totals[part.bounds] + part if part.bounds in totals else part
        return totals

    @property
    def latest(self) -> HistogramPart | None:
        """The histogram with the bounds that came last, where they changed."""
        if not self.parts:
            return None
        last = max(self.parts.values(), key=lambda part: (part.start, part.bounds))
        return self.by_bounds()[last.bounds]


@readable("instruments.exponential-histogram")
@dataclasses.dataclass(frozen=True, slots=True)
class ExponentialHistogram:
    """A histogram whose bounds are powers, at the coarsest scale of what was added.

    Attributes:
        parts: by epoch.
    """

    parts: Mapping[str, ExponentialPart]

    def __add__(self, other: ExponentialHistogram) -> ExponentialHistogram:
        return ExponentialHistogram(add_parts(self.parts, other.parts))

    def __sub__(self, earlier: ExponentialHistogram) -> ExponentialHistogram:
        return ExponentialHistogram(_counted(subtract_parts(self.parts, earlier.parts)))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was recorded."""
        return not self.parts

    @property
    def total(self) -> ExponentialPart | None:
        """The histogram of all epochs together."""
        parts = list(self.parts.values())
        return sum(parts[1:], parts[0]) if parts else None


AnyPoints = Count | MachineCount | Level | Last | Histogram | ExponentialHistogram


def _counted(parts: dict[str, Any]) -> dict[str, Any]:
    return {epoch: part for epoch, part in parts.items() if part.count}
