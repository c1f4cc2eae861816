"""Makes the text of the program's own instruments safe; points that become alike are added."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    Metric,
    MetricsData,
    Sum,
)

from otel_studio.base.resources import safe_resource, safe_scope
from otel_studio.base.text import safe_attributes, safe_line
from otel_studio.metrics.merging import have_equal_bounds, one_point

_Part = TypeVar("_Part", bound=Any)
_NUMBERS: Final = frozenset((bool, int, float))


def with_safe_text(data: MetricsData) -> MetricsData:
    """Return the same points with safe names, descriptions and attributes.

    Args:
        data: of one collection.

    Returns:
        the same object where everything is safe.
    """
    resources = [
        _changed(
            one,
            resource=safe_resource(one.resource),
            scope_metrics=_all(
                one.scope_metrics,
                [
                    _changed(
                        part,
                        scope=safe_scope(part.scope),
                        metrics=_all(part.metrics, map(_metric, part.metrics)),
                    )
                    for part in one.scope_metrics
                ],
            ),
        )
        for one in data.resource_metrics
    ]
    return _changed(data, resource_metrics=_all(data.resource_metrics, resources))


def _metric(metric: Metric) -> Metric:
    data: Any = metric.data
    points = [_point(point) for point in data.data_points]
    if all(map(_is_same, points, data.data_points)):
        points = data.data_points
    else:
        points = list(_added(points, isinstance(data, Sum)))
    return _changed(
        metric,
        name=safe_line(metric.name),
        description=metric.description and safe_line(metric.description, None),
        unit=metric.unit and safe_line(metric.unit),
        data=_changed(data, data_points=points),
    )


def _point(point: Any) -> Any:
    attributes = point.attributes
    if attributes and not all(map(_is_plain, attributes, attributes.values())):
        found = safe_attributes({str(key) or "_": value for key, value in attributes.items()})
        if dict(found) != dict(attributes):
            point = dataclasses.replace(point, attributes=found)
    if point.exemplars:
        exemplars = [
            _changed(one, filtered_attributes=safe_attributes(one.filtered_attributes or {}))
            if one.filtered_attributes
            else one
            for one in point.exemplars
        ]
        point = _changed(point, exemplars=_all(point.exemplars, exemplars))
    return point


def _is_plain(key: Any, value: Any) -> bool:
    if type(key) is not str or not key or not key.isprintable():
        return False
    return value.isprintable() if type(value) is str else type(value) in _NUMBERS


def _added(points: Iterable[Any], are_sums: bool) -> Iterable[Any]:
    """Return the points, one for each set of attributes."""
    found: dict[Any, Any] = {}
    for point in points:
        key = frozenset((name, str(value)) for name, value in (point.attributes or {}).items())
        known = found.get(key)
        if known is None:
            found[key] = point
        elif are_sums or (
            isinstance(point, HistogramDataPoint) and have_equal_bounds(known, point)
        ):
            found[key] = one_point(known, point)
        else:
            found[key] = point  # of two values of a gauge, the later one
    return found.values()


def _is_same(one: object, other: object) -> bool:
    return one is other


def _all(before: Sequence[Any], after: Iterable[Any]) -> Sequence[Any]:
    """Return what came out of each, or what was there where all are the same."""
    made = list(after)
    return before if all(map(_is_same, made, before)) else made


def _changed(one: _Part, **fields: Any) -> _Part:
    """Return a copy with other values in some fields, or the same object."""
    if all(getattr(one, name) is value for name, value in fields.items()):
        return one
    changed: _Part = dataclasses.replace(one, **fields)
    return changed
