"""Makes OpenTelemetry metric points out of readings of the registry."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_studio.base.sketch import Sketch
from otel_studio.metrics.durations import Durations, data_of
from otel_studio.metrics.streams import (
    ABANDONED,
    ACTIVE,
    CANCELLED,
    DURATION,
    OPERATIONS,
    SCOPE_NAME,
    Streams,
)
from otel_studio.registry.operation import Operation
from otel_studio.registry.reading import RegistryReading, ServicePart, ServiceReading
from otel_studio.registry.series import SeriesKey, without_runs

Attributes = dict[str, str]
_NOTHING = ServiceReading({})
_NO_DURATIONS = Sketch()


def label_attributes(
    service: str,
    operation: str,
    key: SeriesKey = (None, ()),
    label_names: tuple[str, ...] = (),
) -> dict[str, str]:
    """Return a point's attributes by their names on the wire.

    Args:
        service: the operation's.
        operation: its name.
        key: error type, and the values of the declared labels.
        label_names: of these.
    """
    attributes = {"studio.service": service, "studio.operation": operation}
    error_type, values = key
    if error_type is not None:
        attributes["error.type"] = error_type
    attributes.update(zip(label_names, values, strict=False))
    return attributes


class PointMaker:
    """Makes the points of one reader: of a reading, less the one before it for deltas.

    Args:
        bounds: histogram bounds in seconds.
        histogram_temporality: what the reader wants for histograms.
        counter_temporality: what the reader wants for counters.
        scope_version: version in the instrumentation scope.
        streams: what the reader gets of each metric.
    """

    def __init__(
        self,
        bounds: tuple[float, ...],
        histogram_temporality: AggregationTemporality,
        counter_temporality: AggregationTemporality,
        scope_version: str,
        streams: Streams,
    ) -> None:
        self._bounds = bounds
        self._histogram_temporality = histogram_temporality
        self._counter_temporality = counter_temporality
        self._scope = InstrumentationScope(SCOPE_NAME, scope_version)
        self._streams = streams
        self._before: RegistryReading | None = None

    def scope_metrics(self, reading: RegistryReading) -> ScopeMetrics | None:
        """Return every metric of a reading, or `None` before the first operation.

        Args:
            reading: the next one of the registry; for deltas it is compared with the last.
        """
        before = self._before
        if AggregationTemporality.DELTA in (self._histogram_temporality, self._counter_temporality):
            self._before = _counts_of(reading)
        metrics = metrics_of(
            reading,
            before,
            self._bounds,
            self._histogram_temporality,
            self._counter_temporality,
            self._streams,
        )
        return ScopeMetrics(self._scope, metrics, "") if metrics else None


def _counts_of(reading: RegistryReading) -> RegistryReading:
    """Return what the next deltas need of a reading: no run, which a reset is to let go of."""
    return RegistryReading(
        {
            name: ServiceReading({epoch: _counts_in(part) for epoch, part in one.parts.items()})
            for name, one in reading.services.items()
        },
        reading.processes,
    )


def _counts_in(part: ServicePart) -> ServicePart:
    return ServicePart(
        part.began_ns,
        part.since_ns,
        {
            name: Operation(
                one.bounds,
                _NO_DURATIONS,
                abandoned=one.abandoned,
                cancelled=one.cancelled,
                series={key: without_runs(series) for key, series in one.series.items()},
                label_names=one.label_names,
            )
            for name, one in part.operations.items()
        },
    )


def metrics_of(
    reading: RegistryReading,
    before: RegistryReading | None,
    bounds: tuple[float, ...],
    histogram_temporality: AggregationTemporality,
    counter_temporality: AggregationTemporality,
    streams: Streams,
) -> list[Metric]:
    """Return the metrics of a reading of the registry.

    Args:
        reading: now.
        before: the reading that was exported before; `None` for the first.
        bounds: histogram bounds in seconds.
        histogram_temporality: cumulative, or what came since `before`.
        counter_temporality: likewise for counters.
        streams: what the reader gets of each metric.
    """
    durations: list[tuple[Attributes, Durations]] = []
    counts: dict[str, list[tuple[Attributes, _Count]]] = {ABANDONED: [], CANCELLED: []}
    active = reading.active()
    now = reading.unix_ns
    known: dict[tuple[str, str], int] = {}
    for service, parts in reading.services.items():
        past = {} if before is None else before.services.get(service, _NOTHING).parts
        part = parts.whole()
        # What is no longer in the reading does not count; what has begun since counts whole.
        kept = [past[epoch] for epoch in parts.parts if epoch in past]
        earlier = reduce(add, kept) if kept else None
        window = _Window(part, earlier, before, now)
        for operation, one in part.operations.items():
            known[service, operation] = part.since_ns
            was = None if earlier is None else earlier.operations.get(operation)
            durations += _durations(service, operation, one, was, window, histogram_temporality)
            for name in (ABANDONED, CANCELLED):
                count = _count(name, one, was, window, counter_temporality)
                if count is not None:
                    counts[name].append((label_attributes(service, operation), count))
    # An operation that has run before and does not run now is 0, not absent.
    running = [
        (label_attributes(*key), _Count(active.get(key, 0), known.get(key, now)))
        for key in sorted(known.keys() | active.keys())
    ]
    metrics = []
    for stream in streams[DURATION] if durations else ():
        grouped = stream.grouped(durations, Durations.__add__)
        data = data_of(stream, list(grouped), bounds, now, histogram_temporality)
        metrics.append(Metric(stream.name, stream.description, "s", data))
    cumulative = AggregationTemporality.CUMULATIVE
    for name, found, temporality, is_monotonic in (
        (ACTIVE, running, cumulative, False),
        (ABANDONED, counts[ABANDONED], counter_temporality, True),
        (CANCELLED, counts[CANCELLED], counter_temporality, True),
    ):
        for stream in streams[name] if found else ():
            points = [
                NumberDataPoint(attributes, count.start, now, count.value)
                for attributes, count in stream.grouped(found, _Count.__add__)
            ]
            sums = Sum(points, temporality, is_monotonic)
            metrics.append(Metric(stream.name, stream.description, OPERATIONS, sums))
    return metrics


class _Count(NamedTuple):
    """A number of runs, and since when they count, in nanoseconds since 1970."""

    value: int
    start: int

    def __add__(self, other: _Count) -> _Count:  # type: ignore[override]
        return _Count(self.value + other.value, min(self.start, other.start))


class _Window:
    """The span of time that the points of one part cover."""

    __slots__ = ("_since_before", "now", "since")

    def __init__(
        self,
        part: ServicePart,
        earlier: ServicePart | None,
        before: RegistryReading | None,
        now: int,
    ) -> None:
        self.now = now
        self.since = part.since_ns
        # A part that was not there before has begun since.
        known = before is not None and (earlier is not None or part.since_ns < before.unix_ns)
        self._since_before = before.unix_ns if known and before is not None else part.since_ns

    def start(self, temporality: AggregationTemporality) -> int:
        """Return since when a point counts, in nanoseconds since the Unix epoch."""
        return self._since_before if temporality is AggregationTemporality.DELTA else self.since


def _durations(
    service: str,
    operation: str,
    now: Operation,
    before: Operation | None,
    window: _Window,
    temporality: AggregationTemporality,
) -> Iterator[tuple[Attributes, Durations]]:
    start = window.start(temporality)
    for key, one in now.series.items():
        series = one
        if temporality is AggregationTemporality.DELTA:
            was = None if before is None else before.series.get(key)
            if was is not None:
                if was.count == one.count:
                    continue
                series = one - was
        yield (
            label_attributes(service, operation, key, now.label_names),
            Durations(series, start),
        )


def _count(
    name: str,
    now: Operation,
    before: Operation | None,
    window: _Window,
    temporality: AggregationTemporality,
) -> _Count | None:
    field = "abandoned" if name == ABANDONED else "cancelled"
    count: int = getattr(now, field)
    if not count:
        return None
    if temporality is AggregationTemporality.DELTA and before is not None:
        count -= getattr(before, field)
    return _Count(count, window.start(temporality))
