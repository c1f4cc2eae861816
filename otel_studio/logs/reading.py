"""One reading of the logs: records by service, operation and level, which add and subtract."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Final

from otel_studio.base.codec import readable
from otel_studio.base.figures import Attributes, Figure, Point
from otel_studio.base.reading import add_counts, add_parts, subtract_counts, subtract_parts

#: Service, operation and level; no service and no operation outside of any.
Key = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class LogsPart:
    """The records that were counted since one beginning, by service, operation and level."""

    counts: Mapping[Key, int] = dataclasses.field(default_factory=dict)

    def __add__(self, other: LogsPart) -> LogsPart:
        """Return the sums."""
        return LogsPart(add_counts(self.counts, other.counts))

    def __sub__(self, earlier: LogsPart) -> LogsPart:
        """Return the differences."""
        return LogsPart(subtract_counts(self.counts, earlier.counts))


@readable("logs")
@dataclasses.dataclass(frozen=True, slots=True)
class LogsReading:
    """The log records of one process, of several, or of a window of time.

    Attributes:
        parts: by the epoch that they were counted in; none is empty.
    """

    parts: Mapping[str, LogsPart] = dataclasses.field(default_factory=dict)

    def __add__(self, other: LogsReading) -> LogsReading:
        """Return both together."""
        return LogsReading(_filled(add_parts(self.parts, other.parts)))

    def __sub__(self, earlier: LogsReading) -> LogsReading:
        """Return what was counted since an earlier reading."""
        return LogsReading(_filled(subtract_parts(self.parts, earlier.parts)))

    @property
    def counts(self) -> dict[Key, int]:
        """The records of all parts together, by service, operation and level."""
        found: dict[Key, int] = {}
        for part in self.parts.values():
            for key, count in part.counts.items():
                found[key] = found.get(key, 0) + count
        return found


def _filled(parts: Mapping[str, LogsPart]) -> dict[str, LogsPart]:
    return {epoch: part for epoch, part in parts.items() if part.counts}


def _records(reading: LogsReading) -> Iterator[Point]:
    for (service, operation, level), count in reading.counts.items():
        attributes: Attributes = {"studio.log.level": level.lower()}
        if service:
            attributes["studio.service"] = service
            attributes["studio.operation"] = operation
        yield count, attributes


FIGURES: Final[tuple[Figure[LogsReading], ...]] = (
    Figure(
        "otel_studio.log.records",
        "counter",
        "{record}",
        "Log records by the operation they were made in and by level.",
        _records,
    ),
)
