"""Makes metrics data what OpenTelemetry's Prometheus reader can write: one family for a name.

The reader fails on an exponential histogram; takes the label names of a family from the first
scope that has it and puts the values of the others under them; repeats `HELP` and `TYPE` where
two scopes describe a name differently, and a sample where two instruments of one scope are one
for Prometheus, which its own tools refuse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import chain
from typing import Any

from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_studio.exporters.prometheus._otel_private import sanitize_attribute
from otel_studio.exporters.prometheus.classic import classic
from otel_studio.exporters.prometheus.labels import (
    added_up,
    distinct,
    distinct_of_scope,
    scope_labels,
    with_distinct_labels,
    with_points,
)
from otel_studio.exporters.prometheus.names import Family, FamilyNames

#: One metric of each family in each scope.
_Found = dict[Family, dict[InstrumentationScope, Metric]]


def agreeing(data: MetricsData, names: FamilyNames) -> MetricsData:
    """Return the same points, with metrics of one name alike in description and labels.

    Args:
        data: of one collection.
        names: of the families in the text so far.
    """
    return MetricsData([_agreeing(resource, names) for resource in data.resource_metrics])


def _agreeing(resource: ResourceMetrics, names: FamilyNames) -> ResourceMetrics:
    found: _Found = {}
    schemas: dict[InstrumentationScope, str] = {}
    for group in resource.scope_metrics:
        scope = distinct_of_scope(group.scope)
        schemas.setdefault(scope, group.schema_url)
        labels = scope_labels(scope)
        for metric in group.metrics:
            writable = _writable(metric, labels)
            in_scopes = found.setdefault(names.family_of(writable, scope), {})
            known = in_scopes.get(scope)
            in_scopes[scope] = writable if known is None else _one_metric(known, writable)
    written: dict[InstrumentationScope, list[Metric]] = {scope: [] for scope in schemas}
    for family, in_scopes in found.items():
        for scope, metric in _alike(family, in_scopes, names):
            written[scope].append(metric)
    return ResourceMetrics(
        _with_distinct_attributes(resource.resource),
        [ScopeMetrics(scope, metrics, schemas[scope]) for scope, metrics in written.items()],
        resource.schema_url,
    )


def _with_distinct_attributes(resource: Resource) -> Resource:
    attributes = distinct(resource.attributes)
    if attributes is resource.attributes:
        return resource
    return Resource(dict(attributes), resource.schema_url)


def _writable(metric: Metric, taken: frozenset[str]) -> Metric:
    """Return the metric in a form that the reader can write, each attribute a label of its own."""
    data = metric.data
    if isinstance(data, ExponentialHistogram):
        data = classic(data)
    data = with_distinct_labels(data, taken)
    return metric if data is metric.data else dataclasses.replace(metric, data=data)


def _one_metric(one: Metric, other: Metric) -> Metric:
    """Return the metric of one instrument that a scope has twice, described differently."""
    points: list[Any] = [*one.data.data_points, *other.data.data_points]
    return dataclasses.replace(one, data=added_up(one.data, points))


def _alike(
    family: Family, in_scopes: dict[InstrumentationScope, Metric], names: FamilyNames
) -> Iterator[tuple[InstrumentationScope, Metric]]:
    """Yield the metrics of a family, with one name, one description and the same labels."""
    model = next(iter(in_scopes.values()))
    name = names.name_of(family, model.unit or "")
    if len(in_scopes) == 1:
        for scope, metric in in_scopes.items():
            yield scope, Metric(name, metric.description, metric.unit, metric.data)
        return
    labels = {scope: frozenset(_labels(metric, scope)) for scope, metric in in_scopes.items()}
    every = frozenset(chain.from_iterable(labels.values()))
    for scope, metric in in_scopes.items():
        points = _with_labels(metric.data, every - labels[scope])
        yield scope, Metric(name, model.description, model.unit, points)


def _labels(metric: Metric, scope: Any) -> Iterator[str]:
    """Yield the labels that the reader would give a metric, but for those that all have."""
    for key in scope.attributes or ():
        yield sanitize_attribute(f"otel_scope_{key}")
    for point in metric.data.data_points:
        for key in point.attributes or ():
            yield sanitize_attribute(key)


def _with_labels(data: Any, missing: frozenset[str]) -> Any:
    """Return the data with more labels, empty ones: the reader fills them in at each point."""
    if not missing or not data.data_points:
        return data
    first, *rest = data.data_points
    attributes = {**(first.attributes or {}), **dict.fromkeys(sorted(missing), "")}
    points = [dataclasses.replace(first, attributes=attributes), *rest]
    return with_points(data, points)
