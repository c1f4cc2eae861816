"""What OTel Studio reports on itself: what it dropped or overflowed, and the time it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_studio import guard
from otel_studio.registry.registry import Registry

Dropped = Callable[[], Mapping[str, int]]


def register(meter: Meter, registry: Registry, dropped: Dropped) -> None:
    """Create the `otel_studio.self.*` instruments; a count that is zero leaves no point.

    Args:
        meter: makes them.
        registry: folds and overflows.
        dropped: returns sampled spans that were not exported, by reason.
    """

    def by(
        attribute: str, counts: Callable[[], Mapping[str, int]]
    ) -> Callable[..., list[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            return [
                Observation(count, {attribute: key}) for key, count in counts().items() if count
            ]

        return observe

    def folded(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(registry.folded)]

    def fold_time(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(registry.fold_ns / 1e9)]

    meter.create_observable_counter(
        "otel_studio.self.spans.folded",
        [folded],
        unit="{span}",
        description="Ended spans that were folded into the registry.",
    )
    meter.create_observable_counter(
        "otel_studio.self.fold.time",
        [fold_time],
        unit="s",
        description="Time spent folding ended spans into the registry.",
    )
    meter.create_observable_counter(
        "otel_studio.self.spans.dropped",
        [by("reason", dropped)],
        unit="{span}",
        description="Sampled spans that were not exported.",
    )
    meter.create_observable_counter(
        "otel_studio.self.operations.overflowed",
        [by("studio.service", lambda: _overflowed(registry))],
        unit="{operation}",
        description="Runs that were counted under __other__ for want of room.",
    )
    meter.create_observable_counter(
        "otel_studio.self.errors",
        [by("place", lambda: dict(guard.internal_errors))],
        unit="{error}",
        description="Internal failures that were kept from the program.",
    )


def _overflowed(registry: Registry) -> dict[str, int]:
    with registry.reading() as services:
        return {service.name: service.overflowed for service in services.values()}


def total(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of counts by reason."""
    summed: Counter[str] = Counter()
    for counter in counters:
        summed.update(counter)
    return dict(summed)
