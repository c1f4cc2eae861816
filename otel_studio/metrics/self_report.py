"""What OTel Studio reports on itself: what it dropped or overflowed, and the time it took."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import add
from typing import Final

from opentelemetry.metrics import Meter

from otel_studio.base import figures, guard
from otel_studio.base.codec import readable
from otel_studio.base.figures import Figure, Point, one
from otel_studio.base.limited import limited
from otel_studio.base.reading import (
    add_counts,
    add_parts,
    process_epoch,
    subtract_counts,
    subtract_parts,
)
from otel_studio.registry.reading import RegistryReading, ServicePart

Dropped = Callable[[], Mapping[str, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class SelfPart:
    """What was counted since one beginning: a registry's, a service's there, or the process's.

    Attributes:
        folded: ended spans that were folded into the registry.
        fold_ns: the time that this took.
        ignored: of these, the spans that `ignored_operations` leaves out.
        dropped: sampled spans that were not exported, by reason.
        overflowed: runs that were counted under `__other__`, by service.
        labels_overflowed: runs whose label values were counted as `__other__`, by service.
        errors: internal failures, by place.
        limited: what bounds on the size of our own stores have cost, by store.
        records_dropped: log records that did not arrive, by reason.
        points_dropped: data points of metrics that did not arrive, by reason.
    """

    folded: int = 0
    fold_ns: int = 0
    ignored: int = 0
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    overflowed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    labels_overflowed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    errors: Mapping[str, int] = dataclasses.field(default_factory=dict)
    limited: Mapping[str, int] = dataclasses.field(default_factory=dict)
    records_dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    points_dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __add__(self, other: SelfPart) -> SelfPart:
        """Return the sums."""
        return SelfPart(
            self.folded + other.folded,
            self.fold_ns + other.fold_ns,
            self.ignored + other.ignored,
            add_counts(self.dropped, other.dropped),
            add_counts(self.overflowed, other.overflowed),
            add_counts(self.labels_overflowed, other.labels_overflowed),
            add_counts(self.errors, other.errors),
            add_counts(self.limited, other.limited),
            add_counts(self.records_dropped, other.records_dropped),
            add_counts(self.points_dropped, other.points_dropped),
        )

    def __sub__(self, earlier: SelfPart) -> SelfPart:
        """Return the differences."""
        return SelfPart(
            self.folded - earlier.folded,
            self.fold_ns - earlier.fold_ns,
            self.ignored - earlier.ignored,
            subtract_counts(self.dropped, earlier.dropped),
            subtract_counts(self.overflowed, earlier.overflowed),
            subtract_counts(self.labels_overflowed, earlier.labels_overflowed),
            subtract_counts(self.errors, earlier.errors),
            subtract_counts(self.limited, earlier.limited),
            subtract_counts(self.records_dropped, earlier.records_dropped),
            subtract_counts(self.points_dropped, earlier.points_dropped),
        )


@readable("self")
@dataclasses.dataclass(frozen=True, slots=True)
class SelfReading:
    """What was dropped, overflowed or failed, and the time that folding took.

    Attributes:
        parts: by the epoch that they were counted in; none is empty.
    """

    parts: Mapping[str, SelfPart] = dataclasses.field(default_factory=dict)

    def __add__(self, other: SelfReading) -> SelfReading:
        """Return both together: of two processes, or of two windows."""
        return SelfReading(_filled(add_parts(self.parts, other.parts)))

    def __sub__(self, earlier: SelfReading) -> SelfReading:
        """Return what was counted since an earlier reading."""
        return SelfReading(_filled(subtract_parts(self.parts, earlier.parts)))

    def whole(self) -> SelfPart:
        """Return all parts together."""
        return reduce(add, self.parts.values(), SelfPart())


def _filled(parts: Mapping[str, SelfPart]) -> dict[str, SelfPart]:
    return {epoch: part for epoch, part in parts.items() if part != SelfPart()}


def read(
    registry: RegistryReading,
    dropped: Dropped,
    records_dropped: Dropped = dict,
    points_dropped: Dropped = dict,
) -> SelfReading:
    """Return what a reading of the registry, and what else is counted, tell of ourselves.

    Args:
        registry: its reading, of this process.
        dropped: returns sampled spans that were not exported, by reason; counted as long as the
            registry.
        records_dropped: likewise log records.
        points_dropped: likewise data points of metrics.
    """
    parts = {
        epoch: SelfPart(
            moment.folded, moment.fold_ns, moment.ignored, limited=_counted(moment.limited)
        )
        for epoch, moment in registry.processes.items()
    }
    lost = _counted(dropped())
    queues = SelfPart(
        dropped=lost,
        limited=_counted({"export_queue": lost.get("queue_bytes", 0)}),
        records_dropped=_counted(records_dropped()),
        points_dropped=_counted(points_dropped()),
    )
    parts = add_parts(parts, dict.fromkeys(list(parts)[:1], queues))
    for name, service in registry.services.items():
        for epoch, part in service.parts.items():
            overflowed = SelfPart(
                overflowed=_counted({name: part.overflowed}),
                labels_overflowed=_counted({name: _labels_overflowed(part)}),
            )
            parts = add_parts(parts, {epoch: overflowed}) if overflowed != SelfPart() else parts
    own = SelfPart(errors=_counted(guard.internal_errors.copy()), limited=_counted(limited.copy()))
    return SelfReading(_filled(add_parts(parts, {process_epoch(): own})))


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    return {key: count for key, count in counts.items() if count}


def _labels_overflowed(part: ServicePart) -> int:
    return sum(operation.label_overflow for operation in part.operations.values())


def _by(
    attribute: str, counts: Callable[[SelfPart], Mapping[str, int]]
) -> Callable[[SelfPart], Iterable[Point]]:
    """Return what makes one point of each count; one that is zero leaves none."""
    return lambda whole: [(count, {attribute: key}) for key, count in counts(whole).items()]


FIGURES: Final[tuple[Figure[SelfPart], ...]] = (
    Figure(
        "otel_studio.self.spans.folded",
        "counter",
        "{span}",
        "Ended spans that were folded into the registry.",
        one(lambda whole: whole.folded),
    ),
    Figure(
        "otel_studio.self.fold.time",
        "counter",
        "s",
        "Time spent folding ended spans into the registry.",
        one(lambda whole: whole.fold_ns / 1e9),
    ),
    Figure(
        "otel_studio.self.spans.dropped",
        "counter",
        "{span}",
        "Sampled spans that were not exported.",
        _by("reason", lambda whole: whole.dropped),
    ),
    Figure(
        "otel_studio.self.log_records.dropped",
        "counter",
        "{record}",
        "Log records that were handed to an exporter and did not arrive.",
        _by("reason", lambda whole: whole.records_dropped),
    ),
    Figure(
        "otel_studio.self.data_points.dropped",
        "counter",
        "{data_point}",
        "Data points of metrics that were handed to an exporter and did not arrive.",
        _by("reason", lambda whole: whole.points_dropped),
    ),
    Figure(
        "otel_studio.self.operations.overflowed",
        "counter",
        "{operation}",
        "Runs that were counted under __other__ for want of room.",
        _by("studio.service", lambda whole: whole.overflowed),
    ),
    Figure(
        "otel_studio.self.spans.ignored",
        "counter",
        "{span}",
        "Ended spans of operations that the setting ignored_operations leaves out.",
        one(lambda whole: whole.ignored or None),
    ),
    Figure(
        "otel_studio.self.labels.overflowed",
        "counter",
        "{operation}",
        "Runs whose label values were counted as __other__ for want of room.",
        _by("studio.service", lambda whole: whole.labels_overflowed),
    ),
    Figure(
        "otel_studio.self.errors",
        "counter",
        "{error}",
        "Internal failures that were kept from the program.",
        _by("place", lambda whole: whole.errors),
    ),
    Figure(
        "otel_studio.self.size.limited",
        "counter",
        "{item}",
        "What was cut, dropped or left out of a store of ours that was full.",
        _by("store", lambda whole: whole.limited),
    ),
)


def register(
    meter: Meter,
    registry: Callable[[], RegistryReading],
    dropped: Dropped,
    records_dropped: Dropped = dict,
    points_dropped: Dropped = dict,
) -> None:
    """Create the `otel_studio.self.*` instruments.

    Args:
        meter: makes them.
        registry: takes a reading of it.
        dropped: returns sampled spans that were not exported, by reason.
        records_dropped: likewise log records.
        points_dropped: likewise data points of metrics.
    """

    def whole() -> SelfPart:
        return read(registry(), dropped, records_dropped, points_dropped).whole()

    figures.register(meter, FIGURES, whole)


def total(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of counts by reason."""
    summed: Counter[str] = Counter()
    for counter in counters:
        summed.update(counter)
    return dict(summed)
