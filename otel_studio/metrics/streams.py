"""The registry's metrics, and what a reader gets of each: by its preference, and by Views."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from opentelemetry.sdk.metrics import view as views

from otel_studio.base import otel_sdk_private
from otel_studio.base.guard import warn_once

T = TypeVar("T")

DURATION: Final = "otel_studio.operation.duration"
ACTIVE: Final = "otel_studio.operation.active"
ABANDONED: Final = "otel_studio.operation.abandoned"
CANCELLED: Final = "otel_studio.operation.cancelled"
DESCRIPTIONS: Final = {
    DURATION: "Duration of the operations that ended, successful and failed.",
    ACTIVE: "Operations that run now.",
    ABANDONED: "Operations that were dropped without an end.",
    CANCELLED: "Operations that were cancelled.",
}
SCOPE_NAME: Final = "otel_studio"
#: The unit of all but the durations.
OPERATIONS: Final = "{operation}"

#: In what form a metric goes out: as it is, a histogram with bounds of the reader's own or with
#: powers for bounds, or its sum alone.
Form = Literal["own", "explicit", "exponential", "sum"]
Attributes = dict[str, str]
_ANY_BUCKETS: Final = otel_sdk_private.BucketParts()


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """One metric as a reader gets it.

    Attributes:
        name: under which it goes out.
        description: likewise.
        form: of its points.
        attribute_keys: those that its points keep; `None` for all.
        buckets: of a histogram.
    """

    name: str
    description: str
    form: Form = "own"
    attribute_keys: frozenset[str] | None = None
    buckets: otel_sdk_private.BucketParts = _ANY_BUCKETS

    def needs_sketches(self, bounds: Iterable[float]) -> bool:
        """Tell whether its buckets can be made of durations alone, and not of those at bounds.

        Args:
            bounds: of the registry's histograms, in seconds.
        """
        own = self.buckets.bounds or ()
        return self.form == "exponential" or (
            self.form == "explicit" and not set(own).issubset(bounds)
        )

    def grouped(
        self, found: Iterable[tuple[Attributes, T]], add: Callable[[T, T], T]
    ) -> Iterable[tuple[Attributes, T]]:
        """Return what the kept attributes tell apart.

        Args:
            found: what there is by attributes, all of them different.
            add: makes one of two.
        """
        keys = self.attribute_keys
        if keys is None:
            return found
        groups: dict[tuple[tuple[str, str], ...], T] = {}
        for attributes, one in found:
            kept = tuple(item for item in attributes.items() if item[0] in keys)
            groups[kept] = add(groups[kept], one) if kept in groups else one
        return [(dict(kept), one) for kept, one in groups.items()]


#: The streams of each metric, by its name in the registry.
Streams = Mapping[str, Sequence[Stream]]


AS_THEY_ARE: Final[Streams] = {name: (Stream(name, text),) for name, text in DESCRIPTIONS.items()}


def streams_for(reader: Any, provider: Any, version: str) -> Streams:
    """Return what a reader gets of each metric of the registry.

    Args:
        reader: whose preference holds where no View says otherwise.
        provider: of the SDK, with its Views.
        version: of the instrumentation scope.
    """
    streams = _wanted(reader, provider, version)
    if not _is_prometheus(reader):
        return streams
    # OpenTelemetry's exporter fails on one such metric, and takes the whole scrape with it.
    return {name: tuple(map(_as_is, found)) for name, found in streams.items()}


def _as_is(stream: Stream) -> Stream:
    return dataclasses.replace(stream, form="own") if stream.form == "exponential" else stream


def _is_prometheus(reader: Any) -> bool:
    module = sys.modules.get("opentelemetry.exporter.prometheus")
    return module is not None and isinstance(reader, module.PrometheusMetricReader)


def _wanted(reader: Any, provider: Any, version: str) -> Streams:
    preferred = otel_sdk_private.histogram_aggregation(reader)
    own = {
        name: _made([otel_sdk_private.ViewParts()], name, preferred if name == DURATION else None)
        for name in DESCRIPTIONS
    }
    if not otel_sdk_private.has_views(provider):
        return own
    meter = provider.get_meter(SCOPE_NAME, version)
    # Nothing is recorded by them: Views match instruments, and of an SDK's own kind.
    instruments = {
        DURATION: meter.create_histogram(DURATION, "s", DESCRIPTIONS[DURATION]),
        ACTIVE: meter.create_up_down_counter(ACTIVE, OPERATIONS, DESCRIPTIONS[ACTIVE]),
        ABANDONED: meter.create_counter(ABANDONED, OPERATIONS, DESCRIPTIONS[ABANDONED]),
        CANCELLED: meter.create_counter(CANCELLED, OPERATIONS, DESCRIPTIONS[CANCELLED]),
    }
    found = {
        name: otel_sdk_private.matching_views(provider, instrument)
        for name, instrument in instruments.items()
    }
    return {
        name: _made(parts, name, preferred if name == DURATION else None) if parts else own[name]
        for name, parts in found.items()
    }


def _made(
    parts: Sequence[otel_sdk_private.ViewParts], name: str, preferred: Any
) -> tuple[Stream, ...]:
    streams = []
    for view in parts:
        aggregation = view.aggregation or preferred
        buckets = otel_sdk_private.bucket_parts(aggregation)
        form = _form_of(name, aggregation, buckets)
        if form is not None:
            text = DESCRIPTIONS[name] if view.description is None else view.description
            streams.append(Stream(view.name or name, text, form, view.attribute_keys, buckets))
    return tuple(streams)


def _form_of(name: str, aggregation: Any, buckets: otel_sdk_private.BucketParts) -> Form | None:
    """Return the form that an aggregation asks for, `None` for none at all."""
    if isinstance(aggregation, views.DropAggregation):
        return None
    if name != DURATION:  # a sum is one already
        return "own"
    if isinstance(aggregation, views.ExponentialBucketHistogramAggregation):
        return "exponential"
    if isinstance(aggregation, views.SumAggregation):
        return "sum"
    if isinstance(aggregation, views.LastValueAggregation):
        warn_once(
            "metrics",
            f"last value of {name}",
            "%s is left out where its last value is asked for, which is not kept: ask for a "
            "histogram or a sum",
            name,
        )
        return None
    return "own" if buckets.bounds is None else "explicit"
