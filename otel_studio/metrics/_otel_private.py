"""The private names of OpenTelemetry's metrics SDK that collecting at little cost rests on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry.sdk.metrics._internal import _view_instrument_match
from opentelemetry.sdk.metrics._internal.metric_reader_storage import MetricReaderStorage

from otel_studio.base.guard import report_internal_error
from otel_studio.base.locks import new_lock

#: Sets of attributes of all instruments whose way is remembered: some 450 bytes each.
_REMEMBERED: Final = 4_096
#: How the SDK spells attributes as a key: a frozen set before its release 1.44.
_hashed: Callable[[dict[str, Any]], Any] = getattr(
    _view_instrument_match, "_hash_attributes", lambda attributes: frozenset(attributes.items())
)


class RememberingStorage(MetricReaderStorage):
    """What a reader has of each instrument; finds it again in a third of the SDK's time.

    The SDK copies and hashes the attributes of each measurement, type by type, on its way to
    what adds it up; this keeps the way of those that come again.

    Private: `MetricReaderStorage.consume_measurement`, `._get_or_init_view_instrument_match`,
    `_ViewInstrumentMatch._attributes_aggregation`, `._view._attribute_keys`, `_hash_attributes`,
    `_Aggregation.aggregate`.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._lock = new_lock()
        self._ways: dict[Any, list[Callable[[Any, bool], None]]] = {}
        self._most = _REMEMBERED

    def consume_measurement(self, measurement: Any, should_sample_exemplar: bool = True) -> None:
        """Add one up where it belongs."""
        attributes = measurement.attributes
        key: Any = measurement.instrument
        types: tuple[type, ...] = ()
        if attributes:
            types = tuple(map(type, attributes.values()))  # True is not 1
            key = (key, types, *attributes.items())
        try:
            way = self._ways[key]
        except (KeyError, TypeError):  # new, or not hashable
            super().consume_measurement(measurement, should_sample_exemplar)
            if tuple not in types:  # (True,) is (1,)
                self._remember(key, measurement)
            return
        for aggregate in way:
            aggregate(measurement, should_sample_exemplar)

    def _remember(self, key: Any, measurement: Any) -> None:
        if len(self._ways) < self._most:
            try:
                self._ways[key] = self._way_of(measurement)
            except Exception as error:
                self._most = 0
                report_internal_error("remembering where measurements go", error)

    def _way_of(self, measurement: Any) -> list[Callable[[Any, bool], None]]:
        way: list[Callable[[Any, bool], None]] = []
        for match in self._get_or_init_view_instrument_match(measurement.instrument):
            keys = match._view._attribute_keys
            attributes = {
                name: value
                for name, value in (measurement.attributes or {}).items()
                if keys is None or name in keys
            }
            way.append(match._attributes_aggregation[_hashed(attributes)].aggregate)
        return way


def remember_ways(provider: Any, reader: Any) -> None:
    """Let a reader that has just been added to a provider collect at less cost.

    Private: `MeterProvider._measurement_consumer`, its `._lock`.

    Args:
        provider: of the SDK.
        reader: of which nothing has been counted yet.
    """
    with provider._measurement_consumer._lock:
        count_anew(provider, reader)


def count_anew(provider: Any, reader: Any) -> None:
    """Let a reader begin at zero; without a lock, for a child that has just been forked.

    Private: `MeterProvider._measurement_consumer`, its `._reader_storages`,
    `MeterProvider._sdk_config`, `MetricReader._instrument_class_temporality`,
    `._instrument_class_aggregation`.

    Args:
        provider: of the SDK.
        reader: one of its readers.
    """
    consumer = provider._measurement_consumer
    storage = RememberingStorage(
        provider._sdk_config,
        reader._instrument_class_temporality,
        reader._instrument_class_aggregation,
    )
    consumer._reader_storages = {**consumer._reader_storages, reader: storage}
