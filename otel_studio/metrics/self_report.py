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
from otel_studio.registry.registry import Registry

Dropped = Callable[[], Mapping[str, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class SelfReading:
    """What was dropped, overflowed or failed, and the time that folding took.

    Attributes:
        folded: ended spans that were folded into the registry.
        fold_ns: the time that this took.
        dropped: sampled spans that were not exported, by reason.
        overflowed: runs that were counted under `__other__`, by service.
        errors: internal failures, by place.
    """

    folded: int
    fold_ns: int
    dropped: Mapping[str, int]
    overflowed: Mapping[str, int]
    errors: Mapping[str, int]


def read(registry: Registry, dropped: Dropped) -> SelfReading:
    """Take a reading.

    Args:
        registry: folds and overflows.
        dropped: returns sampled spans that were not exported, by reason.
    """
    overflowed = _overflowed(registry)  # it folds, and so comes before what counts the folding
    return SelfReading(
        registry.folded,
        registry.fold_ns,
        dict(dropped()),
        overflowed,
        dict(guard.internal_errors),
    )


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
        "otel_studio.self.errors",
        "counter",
        "{error}",
        "Internal failures that were kept from the program.",
        _by("place", lambda reading: reading.errors),
    ),
)


def register(meter: Meter, registry: Registry, dropped: Dropped) -> None:
    """Create the `otel_studio.self.*` instruments.

    Args:
        meter: makes them.
        registry: folds and overflows.
        dropped: returns sampled spans that were not exported, by reason.
    """
    figures.register(meter, FIGURES, lambda: read(registry, dropped))


def _overflowed(registry: Registry) -> dict[str, int]:
    with registry.reading() as services:
        return {service.name: service.overflowed for service in services.values()}


def total(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of counts by reason."""
    summed: Counter[str] = Counter()
    for counter in counters:
        summed.update(counter)
    return dict(summed)
