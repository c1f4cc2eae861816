"""The text of instruments, asked for from inside one of them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider, SimpleFixedSizeExemplarReservoir
from opentelemetry.sdk.metrics.view import View

from otel_studio.exporters.prometheus import reader


def test_text_from_inside_an_instrument_is_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK holds a lock while it makes a series, where a finalizer may ask for the text."""
    monkeypatch.setattr(reader, "_PATIENCE", 0.05)
    asked: list[str] = []

    def reservoir(aggregation: type) -> Any:
        if asked:
            asked.append(instruments.text(openmetrics=False))
        return SimpleFixedSizeExemplarReservoir

    view = View(instrument_name="*", exemplar_reservoir_factory=reservoir)
    instruments = reader.InstrumentText()
    provider = MeterProvider(metric_readers=[instruments.reader], views=[view])
    counter = provider.get_meter("shop").create_counter("sold")
    counter.add(1, {"what": "tea"})
    asked.append(instruments.text(openmetrics=False))
    counter.add(2, {"what": "coffee"})
    assert asked[0]
    assert asked == [asked[0], asked[0]]
    # Threads of the question are done once the lock is free.
    assert 'what="coffee"' in instruments.text(openmetrics=False)
    provider.shutdown()
