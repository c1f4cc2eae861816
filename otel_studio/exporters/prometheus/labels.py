"""Gives the attributes of points names that are labels of their own: none lost, none twice.

Prometheus writes `a.b` and `a_b` alike. Where a point has both, one label has both values, as
OpenTelemetry says: joined by ";", in the order of the attributes' names. What would take the place
of a label with a meaning (`le`, those of the scope) gets an underscore.

Source: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from opentelemetry.sdk.metrics.export import Gauge, Histogram, Sum

from otel_studio.base.guard import warn_once
from otel_studio.exporters.prometheus._otel_private import sanitize_attribute
from otel_studio.metrics.merging import one_point

_SCOPE_LABELS: Final = frozenset({"otel_scope_name", "otel_scope_version", "otel_scope_schema_url"})
_OF_A_HISTOGRAM: Final = _SCOPE_LABELS | {"le"}
#: Sets of attribute names that are remembered.
_REMEMBERED: Final = 4_096


def distinct(attributes: Mapping[str, Any], *, of_histogram: bool = False) -> Mapping[str, Any]:
    """Return attributes whose names make different labels; the same object where they do.

    Args:
        attributes: of a point, a resource or a scope.
        of_histogram: whether buckets have a label, too.

    Example:
        >>> distinct({"a_b": "1", "a.b": "2", "c": "3"})
        {'a_b': '2;1', 'c': '3'}
    """
    made = _made_of(tuple(attributes), of_histogram)
    if made is None:
        return attributes
    for name, keys in made.items():
        if len(keys) > 1:
            warn_once(
                "prometheus",
                f"label {name} of {', '.join(keys)}",
                "the attributes %s are one label for Prometheus, %s: its value is all of theirs, "
                "joined by a semicolon; rename all but one to tell them apart",
                " and ".join(keys),
                name,
            )
    return {
        name: attributes[keys[0]]
        if len(keys) == 1
        else ";".join(_text(attributes[key]) for key in keys)
        for name, keys in made.items()
    }


@lru_cache(maxsize=_REMEMBERED)
def _made_of(keys: tuple[str, ...], of_histogram: bool) -> dict[str, list[str]] | None:
    """Return the attributes of each label, `None` where all have one of their own."""
    taken = _OF_A_HISTOGRAM if of_histogram else _SCOPE_LABELS
    made: dict[str, list[str]] = {}
    for key in sorted(keys):
        label = sanitize_attribute(key)
        if label in taken:
            label += "_"
        made.setdefault(label, []).append(key)
    is_plain = len(made) == len(keys) and not any(sanitize_attribute(key) in taken for key in keys)
    return None if is_plain else made


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def with_distinct_labels(data: Any) -> Any:
    """Return the data of a metric with such attributes; points that become one are added up.

    Args:
        data: a sum, a gauge or a histogram with explicit bounds.
    """
    of_histogram = isinstance(data, Histogram)
    names = set(chain.from_iterable(point.attributes or () for point in data.data_points))
    if _made_of(tuple(sorted(names)), of_histogram) is None:
        return data
    points: dict[Any, Any] = {}
    for point in data.data_points:
        labels = distinct(point.attributes or {}, of_histogram=of_histogram)
        spelled = frozenset((sanitize_attribute(name), _text(labels[name])) for name in labels)
        made = dataclasses.replace(point, attributes=labels)
        if spelled in points and not isinstance(data, Gauge):  # of which the later one stands
            made = one_point(points[spelled], made)
        points[spelled] = made
    return with_points(data, list(points.values()))


def with_points(data: Any, points: list[Any]) -> Any:
    """Return data of the same kind with other points."""
    if isinstance(data, Sum):
        return Sum(points, data.aggregation_temporality, data.is_monotonic)
    if isinstance(data, Gauge):
        return Gauge(points)
    return Histogram(points, data.aggregation_temporality)
