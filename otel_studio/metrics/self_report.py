"""What OTel Studio reports on itself: what it dropped or overflowed, and the time it took."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from opentelemetry.metrics import Meter

from otel_studio import guard
from otel_studio.base import figures
from otel_studio.base.figures import Figure, Point, one
from otel_studio.registry.reading import RegistryReading, ServicePart

Dropped = Callable[[], Mapping[str, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class SelfReading:
    """What was dropped, overflowed or failed, and the time that folding took.

    Attributes:
        folded: ended spans that were folded into the registry.
        fold_ns: the time that this took.
        ignored: of these, the spans that `ignored_operations` leaves out.
        dropped: sampled spans that were not exported, by reason.
        overflowed: runs that were counted under `__other__`, by service.
        labels_overflowed: runs whose label values were counted as `__other__`, by service.
        errors: internal failures, by place.
    """

    folded: int
    fold_ns: int
    ignored: int
    dropped: Mapping[str, int]
    overflowed: Mapping[str, int]
    labels_overflowed: Mapping[str, int]
    errors: Mapping[str, int]


def read(registry: RegistryReading, dropped: Dropped) -> SelfReading:
    """Return what a reading of the registry, and what else is counted, tell of ourselves.

    Args:
        registry: its reading.
        dropped: returns sampled spans that were not exported, by reason.
    """
    moments = registry.processes.values()
    return SelfReading(
        sum(moment.folded for moment in moments),
        sum(moment.fold_ns for moment in moments),
        sum(moment.ignored for moment in moments),
        dict(dropped()),
        {name: part.overflowed for name, part in registry.wholes()},
        {name: _labels_overflowed(part) for name, part in registry.wholes()},
        dict(guard.internal_errors),
    )


def _labels_overflowed(part: ServicePart) -> int:
    return sum(operation.label_overflow for operation in part.operations.values())


def _by(
    attribute: str, counts: Callable[[SelfReading], Mapping[str, int]]
) -> Callable[[SelfReading], Iterable[Point]]:
    """Return what makes one point of each count; one that is zero leaves none."""
    return lambda reading: [
        (count, {attribute: key}) for key, count in counts(reading).items() if count
    ]


FIGURES: Final[tuple[Figure[SelfReading], ...]] = (
    Figure(
        "otel_studio.self.spans.folded",
        "counter",
        "{span}",
        "Ended spans that were folded into the registry.",
        one(lambda reading: reading.folded),
    ),
    Figure(
        "otel_studio.self.fold.time",
        "counter",
        "s",
        "Time spent folding ended spans into the registry.",
        one(lambda reading: reading.fold_ns / 1e9),
    ),
    Figure(
        "otel_studio.self.spans.dropped",
        "counter",
        "{span}",
        "Sampled spans that were not exported.",
        _by("reason", lambda reading: reading.dropped),
    ),
    Figure(
        "otel_studio.self.operations.overflowed",
        "counter",
        "{operation}",
        "Runs that were counted under __other__ for want of room.",
        _by("studio.service", lambda reading: reading.overflowed),
    ),
    Figure(
        "otel_studio.self.spans.ignored",
        "counter",
        "{span}",
        "Ended spans of operations that the setting ignored_operations leaves out.",
        one(lambda reading: reading.ignored or None),
    ),
    Figure(
        "otel_studio.self.labels.overflowed",
        "counter",
        "{operation}",
        "Runs whose label values were counted as __other__ for want of room.",
        _by("studio.service", lambda reading: reading.labels_overflowed),
    ),
    Figure(
        "otel_studio.self.errors",
        "counter",
        "{error}",
        "Internal failures that were kept from the program.",
        _by("place", lambda reading: reading.errors),
    ),
)


def register(meter: Meter, registry: Callable[[], RegistryReading], dropped: Dropped) -> None:
    """Create the `otel_studio.self.*` instruments.

    Args:
        meter: makes them.
        registry: takes a reading of it.
        dropped: returns sampled spans that were not exported, by reason.
    """
    figures.register(meter, FIGURES, lambda: read(registry(), dropped))


def total(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of counts by reason."""
    summed: Counter[str] = Counter()
    for counter in counters:
        summed.update(counter)
    return dict(summed)
