"""Gives instruments names that are theirs alone in both of Prometheus' formats, and stay so.

A name takes those of its samples with it: a histogram `jobs` those of `jobs_count`, a counter that
of `jobs_total`. What comes later with one of them gets `_other` behind its own, and keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    Histogram,
    Metric,
    Sum,
)

from otel_studio.base.guard import warn_once
from otel_studio.exporters.prometheus._otel_private import map_unit, sanitize_full_name

Kind = Literal["counter", "gauge", "histogram", "info"]
#: What stands behind a family's name in the names that are reserved for its samples.
_ENDINGS: Final[dict[Kind, tuple[str, ...]]] = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "info": ("", "_info"),
}
_OTHER: Final = "_other"


class Family(NamedTuple):
    """What stands under one name in the text.

    Attributes:
        kind: of its samples.
        name: with the unit, without the endings of samples.
        stream: what tells its instruments apart from others of that name in the same scope;
            `None` for those that came first.
    """

    kind: Kind
    name: str
    stream: tuple[str, ...] | None = None


class FamilyNames:
    """Remembers which family has which name.

    Args:
        taken: kinds and names that others write into the same text.
    """

    def __init__(self, taken: Iterable[tuple[Kind, str]] = ()) -> None:
        self._taken = {name for kind, one in taken for name in _of_samples(kind, one)}
        self._taken.update(_of_samples("info", "target"))
        self._given: dict[Family, str] = {}
        #: The streams of each family in each scope, in the order in which they came.
        self._streams: dict[tuple[Kind, str, Any], list[tuple[str, ...]]] = {}

    def family_of(self, metric: Metric, scope: Any) -> Family:
        """Return what a metric is written under.

        Args:
            metric: of the SDK.
            scope: what tells it apart from others in the text.
        """
        kind, name = _kind_of(metric.data), sanitize_full_name(metric.name)
        if kind == "counter":
            name = name.removesuffix("_total")
        unit = map_unit(metric.unit or "")
        if unit and not name.endswith(f"_{unit}"):
            name = f"{name}_{unit}"
        streams = self._streams.setdefault((kind, name, scope), [])
        stream = _stream_of(metric)
        if stream not in streams:
            streams.append(stream)
        return Family(kind, name, None if stream == streams[0] else stream)

    def name_of(self, family: Family, unit: str) -> str:
        """Return the name that the reader makes that of a family of.

        Args:
            family: of one or more metrics.
            unit: theirs, as OpenTelemetry writes it.
        """
        given = self._given.get(family)
        if given is None:
            given = self._given[family] = self._free_name(family, unit)
        return f"{given}_total" if family.kind == "counter" else given

    def _free_name(self, family: Family, unit: str) -> str:
        ending = map_unit(unit)
        ending = f"_{ending}" if ending and family.name.endswith(f"_{ending}") else ""
        bare, name = family.name.removesuffix(ending), family.name
        while not self._taken.isdisjoint(_of_samples(family.kind, name)):
            bare += _OTHER
            name = bare + ending
        self._taken.update(_of_samples(family.kind, name))
        if name != family.name:
            warn_once(
                "prometheus",
                f"name of {family}",
                "the %s %s is %s in the text: another metric has its name, or that of one of its "
                "samples; rename one of the two instruments",
                family.kind,
                family.name,
                name,
            )
        return name


def _of_samples(kind: Kind, name: str) -> Iterator[str]:
    return (name + ending for ending in _ENDINGS[kind])


def _kind_of(data: Any) -> Kind:
    if isinstance(data, Histogram | ExponentialHistogram):
        return "histogram"
    if isinstance(data, Sum) and (
        data.is_monotonic or data.aggregation_temporality is AggregationTemporality.DELTA
    ):
        return "counter"
    return "gauge"


def _stream_of(metric: Metric) -> tuple[str, ...]:
    """Return what tells a metric apart from others of its family in one scope.

    Sums of one instrument that is described twice are one; two last values are not.
    """
    kind, name = type(metric.data).__name__, metric.name.lower()
    if isinstance(metric.data, Sum):
        return kind, name
    return kind, name, metric.description or "", metric.unit or ""
