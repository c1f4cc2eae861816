"""Takes the reading of a meter provider's instruments, through a metric reader of our own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Container, Iterator
from typing import Any, Final

from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData

from otel_studio.base import otel_sdk_private
from otel_studio.base.figures import one_collection
from otel_studio.base.guard import guarded, report_internal_error
from otel_studio.base.locks import new_lock
from otel_studio.base.reading import process_epoch
from otel_studio.metrics.histogram_parts import ExponentialPart, HistogramPart
from otel_studio.metrics.instrument_points import (
    AnyPoints,
    Count,
    ExponentialHistogram,
    Histogram,
    Last,
    Latest,
    Level,
    MachineCount,
)
from otel_studio.metrics.instruments_reading import (
    Attributes,
    Instrument,
    InstrumentsReading,
    Kind,
    PointKey,
)
from otel_studio.metrics.safe_points import with_safe_text

#: What begins so describes the machine, by OpenTelemetry's conventions, and not the process.
_OF_THE_MACHINE: Final = ("system.", "hw.")
_SCALARS: Final = (str, bool, int, float)


class CollectingReader(MetricReader):
    """Collects when it is asked, everything, counted from the beginning on."""

    def __init__(self) -> None:
        super().__init__()
        self._collected: MetricsData | None = None

    def _receive_metrics(self, metrics_data: MetricsData, *_args: Any, **_kwargs: Any) -> None:
        self._collected = metrics_data

    def collected(self) -> MetricsData | None:
        """Return what the instruments say now, `None` where none says anything."""
        self.collect()
        data, self._collected = self._collected, None
        return data

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Do nothing: there is nothing to send."""


class InstrumentsSource:
    """Takes readings of all instruments of one provider.

    The SDK has counters and histograms count for a reader from there on where it was added, so it
    is added at once. An up-down counter that somebody else's provider had before is left out: what
    it stood at is not known.

    Args:
        provider: ours or the SDK's own.
        time_ns: gives the wall-clock time.
        is_own: whether it is ours, and so measures anew in a forked child.
    """

    def __init__(self, provider: Any, time_ns: Callable[[], int], *, is_own: bool = False) -> None:
        self._provider = provider
        self._time_ns = time_ns
        self._is_own = is_own
        self._reader: CollectingReader | None = None
        #: The parent's, in a forked child: it has what the parent counted.
        self._inherited: CollectingReader | None = None
        #: Up-down counters of which the beginning is not known, by scope and name.
        self._unknown: frozenset[tuple[str, str]] = frozenset()
        self._is_detached = False
        #: One collection at a time; a fork waits for its end, whose locks are the SDK's.
        self._lock = new_lock(hold_for_fork=True)
        try:
            self._added()
        except Exception as error:
            report_internal_error("adding our reader to a meter provider", error)

    def reading(self) -> InstrumentsReading | None:
        """Return the points of all instruments now, `None` where they cannot be collected."""
        with self._lock, one_collection():
            if self._is_detached:
                return None
            try:
                data = self._data()
                safe = data and with_safe_text(data)
                return reading_of(safe, process_epoch(), self._time_ns())
            except Exception as error:
                report_internal_error("reading the program's instruments", error)
                return None

    def collected(self) -> MetricsData | None:
        """Return what all instruments say now, counted from the beginning on.

        Raises:
            Exception: whatever a callback or the SDK raises.
        """
        with self._lock:
            return None if self._is_detached else self._data()

    def _data(self) -> MetricsData | None:
        data = self._added().collected()
        if data is None or not self._unknown:
            return data
        return without_metrics(data, self._unknown)

    def _added(self) -> CollectingReader:
        inherited, self._inherited = self._inherited, None
        if inherited is not None:
            self._remove(inherited)
        if self._reader is None:
            reader = CollectingReader()
            if not self._is_own:
                self._unknown = otel_sdk_private.up_down_counters(self._provider)
            self._provider.add_metric_reader(reader)
            self._reader = reader
            _at_less_cost(self._provider, reader)
        return self._reader

    def detach(self) -> None:
        """Leave the provider as it was found; no reading is taken any more."""
        with self._lock:
            self._is_detached = True
            readers, self._reader, self._inherited = (self._reader, self._inherited), None, None
            for reader in readers:
                if reader is not None:
                    self._remove(reader)

    @guarded("taking our reader out of a meter provider", None)
    def _remove(self, reader: CollectingReader) -> None:
        self._provider.remove_metric_reader(reader)

    def after_fork_in_child(self) -> None:
        """Start from zero, from the fork on; a provider of ours does so by itself."""
        if self._reader is None or self._is_own:
            return
        self._unknown = otel_sdk_private.up_down_counters(self._provider)
        if not _begin_anew(self._provider, self._reader):
            # By a reader of the child's own, when one is needed: adding one takes the SDK's lock.
            self._inherited, self._reader = self._reader, None


@guarded("letting a forked child count from zero", default=False)
def _begin_anew(provider: Any, reader: CollectingReader) -> bool:
    from otel_studio.metrics import _otel_private

    _otel_private.count_anew(provider, reader)
    return True


@guarded("collecting instruments at less cost", None)
def _at_less_cost(provider: Any, reader: CollectingReader) -> None:
    # Here, for it cannot be imported where a release of the SDK's has moved what it rests on.
    from otel_studio.metrics import _otel_private

    _otel_private.remember_ways(provider, reader)


def without_metrics(data: MetricsData, left_out: Container[tuple[str, str]]) -> MetricsData:
    """Return metrics data without some metrics.

    Args:
        data: of one collection.
        left_out: their scopes and names.
    """
    return MetricsData(
        [
            dataclasses.replace(
                resource,
                scope_metrics=[
                    dataclasses.replace(
                        group,
                        metrics=[
                            metric
                            for metric in group.metrics
                            if (group.scope.name, metric.name) not in left_out
                        ],
                    )
                    for group in resource.scope_metrics
                ],
            )
            for resource in data.resource_metrics
        ]
    )


def reading_of(data: MetricsData | None, process: str, time: int) -> InstrumentsReading:
    """Return the reading that metrics data amounts to.

    Args:
        data: cumulative, of one collection; `None` for no points.
        process: the epoch of the process that collected it.
        time: of the collection, in nanoseconds since 1970.
    """
    instruments: dict[tuple[str, str], Instrument] = {}
    points: dict[PointKey, Any] = {}
    for resource in () if data is None else data.resource_metrics:
        for group in resource.scope_metrics:
            scope = group.scope
            for metric in group.metrics:
                instruments[scope.name, metric.name] = Instrument(
                    scope.version or "", metric.unit or "", metric.description or ""
                )
                for kind, attributes, values in _points(metric, process):
                    key = PointKey(scope.name, metric.name, kind, attributes)
                    # Two versions of one scope, or two schemas of it, have the same name.
                    points[key] = points[key] + values if key in points else values
    return InstrumentsReading(time, instruments, points)


def _points(metric: export.Metric, process: str) -> Iterator[tuple[Kind, Attributes, AnyPoints]]:
    kind, make = _maker(metric, process)
    for point in metric.data.data_points:
        yield kind, _attributes(point.attributes), make(point)


def _maker(metric: export.Metric, process: str) -> tuple[Kind, Callable[[Any], AnyPoints]]:
    """Return the kind of a metric, and what makes its points."""
    data, of_machine = metric.data, metric.name.startswith(_OF_THE_MACHINE)
    spelled: dict[tuple[float, ...], str] = {}

    def epoch(point: Any) -> str:
        return f"{process}-{point.start_time_unix_nano or 0}"

    def latest(point: Any) -> Latest:
        return Latest(point.time_unix_nano, point.value)

    def histogram(point: Any) -> Histogram:
        bounds = tuple(map(float, point.explicit_bounds))
        if bounds not in spelled:
            spelled[bounds] = ",".join(map(repr, bounds))
        # What has other bounds is a part of its own.
        name = f"{epoch(point)}-{spelled[bounds]}"
        return Histogram({name: _histogram_part(point, bounds)})

    if isinstance(data, export.Sum) and data.is_monotonic:
        if of_machine:
            return "counter", lambda point: MachineCount(latest(point))
        return "counter", lambda point: Count({epoch(point): point.value})
    if isinstance(data, export.Sum):
        if of_machine:
            return "up_down_counter", lambda point: Last(latest(point))
        return "up_down_counter", lambda point: Level({process: latest(point)})
    if isinstance(data, export.Gauge):
        return "gauge", lambda point: Last(latest(point))
    if isinstance(data, export.Histogram):
        return "histogram", histogram
    return (
        "exponential_histogram",
        lambda point: ExponentialHistogram({epoch(point): _exponential_part(point)}),
    )


def _histogram_part(point: Any, bounds: tuple[float, ...]) -> HistogramPart:
    return HistogramPart(
        point.start_time_unix_nano or 0,
        point.count,
        point.sum,
        bounds,
        tuple(point.bucket_counts),
        _known(point.min),
        _known(point.max),
    )


def _exponential_part(point: Any) -> ExponentialPart:
    return ExponentialPart(
        point.start_time_unix_nano or 0,
        point.count,
        point.sum,
        point.scale,
        point.zero_count,
        _filled(point.positive),
        _filled(point.negative),
        _known(point.min),
        _known(point.max),
    )


def _filled(buckets: Any) -> dict[int, int]:
    return {
        buckets.offset + index: count for index, count in enumerate(buckets.bucket_counts) if count
    }


def _known(extreme: Any) -> Any:
    """Return an extreme; of no values, or where a view leaves it out, the SDK gives an infinity."""
    return None if extreme is None or math.isinf(extreme) else extreme


def _attributes(attributes: Any) -> Attributes:
    return tuple((key, _plain(attributes[key])) for key in sorted(attributes or ()))


def _plain(value: Any) -> Any:
    """Return an attribute's value; what is neither scalar nor a list of them becomes text."""
    if isinstance(value, list | tuple):
        return tuple(one if isinstance(one, _SCALARS) else str(one) for one in value)
    return value if isinstance(value, _SCALARS) else str(value)
