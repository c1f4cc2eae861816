"""Gives the attributes of points names that are labels of their own: none lost, none twice.

Prometheus writes `a.b` and `a_b` alike. Where a point has both, one label has both values, as
OpenTelemetry says: joined by ";", in the order of the attributes' names. What would take the place
of a label with a meaning (`le`, those of the scope) gets an underscore.

Source: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from opentelemetry.sdk.metrics.export import Gauge, Histogram, Sum
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_studio.base.guard import warn_once
from otel_studio.exporters.prometheus._otel_private import sanitize_attribute
from otel_studio.metrics.merging import one_point

_OF_A_SCOPE: Final = "otel_scope_"
#: Those that each scope has.
_SCOPE_LABELS: Final = frozenset({"otel_scope_name", "otel_scope_version", "otel_scope_schema_url"})
_OF_A_BUCKET: Final = "le"
#: Sets of attribute names that are remembered.
_REMEMBERED: Final = 4_096


def distinct(
    attributes: Mapping[str, Any], taken: frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    """Return attributes whose names make different labels; the same object where they do.

    Args:
        attributes: of a point, a resource or a scope.
        taken: labels that have a meaning of their own.

    Example:
        >>> distinct({"a_b": "1", "a.b": "2", "c": "3"})
        {'a_b': '2;1', 'c': '3'}
    """
    made = _made_of(tuple(attributes), taken)
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
def _made_of(keys: tuple[str, ...], taken: frozenset[str]) -> dict[str, list[str]] | None:
    """Return the attributes of each label, `None` where all have one of their own."""
    made: dict[str, list[str]] = {}
    for key in sorted(keys):
        label = sanitize_attribute(key)
        while label in taken:
            label += "_"
        made.setdefault(label, []).append(key)
    is_plain = len(made) == len(keys) and not any(sanitize_attribute(key) in taken for key in keys)
    return None if is_plain else made


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def distinct_of_scope(scope: InstrumentationScope) -> InstrumentationScope:
    """Return a scope that equals another where both have the same labels.

    Args:
        scope: with any attributes; those that share a label with each other have both values.
    """
    given = scope.attributes or {}
    made = distinct({f"{_OF_A_SCOPE}{key}": given[key] for key in given}, _SCOPE_LABELS)
    return InstrumentationScope(
        scope.name or "",
        scope.version or "",
        scope.schema_url or "",
        {
            sanitize_attribute(label).removeprefix(_OF_A_SCOPE): _text(value)
            for label, value in made.items()
        },
    )


def scope_labels(scope: InstrumentationScope) -> frozenset[str]:
    """Return the labels that a scope gives to all of its points.

    Args:
        scope: whose attributes are distinct.
    """
    if not scope.attributes:
        return _SCOPE_LABELS
    return _SCOPE_LABELS.union(f"{_OF_A_SCOPE}{key}" for key in scope.attributes)


def with_distinct_labels(data: Any, taken: frozenset[str]) -> Any:
    """Return the data of a metric with such attributes; points that become one are added up.

    Args:
        data: a sum, a gauge or a histogram with explicit bounds.
        taken: labels that the points have beside these; see `scope_labels`.
    """
    if isinstance(data, Histogram):
        taken |= {_OF_A_BUCKET}
    names = set(chain.from_iterable(point.attributes or () for point in data.data_points))
    if _made_of(tuple(sorted(names)), taken) is None and _are_texts(data.data_points):
        return data
    return added_up(
        data,
        (
            dataclasses.replace(point, attributes=distinct(point.attributes or {}, taken))
            for point in data.data_points
        ),
    )


def _are_texts(points: Iterable[Any]) -> bool:
    """Tell whether points that differ in their attributes do so in their labels."""
    return all(
        isinstance(value, str) for point in points for value in (point.attributes or {}).values()
    )


def added_up(data: Any, points: Iterable[Any]) -> Any:
    """Return data of the same kind with points of which no two have the same labels.

    Args:
        data: a sum, a gauge or a histogram with explicit bounds.
        points: of one or more such, in the order in which they were taken.
    """
    found: dict[Any, Any] = {}
    for point in points:
        labels = point.attributes or {}
        spelled = frozenset(
            (sanitize_attribute(name), text) for name in labels if (text := _text(labels[name]))
        )
        known = found.get(spelled)
        # Of two last values the later one stands.
        is_alone = known is None or isinstance(data, Gauge)
        found[spelled] = point if is_alone else one_point(known, point)
    return with_points(data, list(found.values()))


def with_points(data: Any, points: list[Any]) -> Any:
    """Return data of the same kind with other points."""
    if isinstance(data, Sum):
        return Sum(points, data.aggregation_temporality, data.is_monotonic)
    if isinstance(data, Gauge):
        return Gauge(points)
    return Histogram(points, data.aggregation_temporality)
