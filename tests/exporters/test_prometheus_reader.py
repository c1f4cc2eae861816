"""The text of instruments: asked for late, and from inside one of them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider, SimpleFixedSizeExemplarReservoir
from opentelemetry.sdk.metrics.view import View

from forked import in_forked_child
from otel_studio.exporters.prometheus import reader
from otel_studio.testing import isolated


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


def _values(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.split("{")[0]: float(line.split()[-1]) for line in lines}


def test_the_first_text_knows_what_was_counted_before_it() -> None:
    """Without the exporter, no reader of its own is there from the beginning on."""
    with isolated() as s:
        meter = metrics.get_meter("shop")
        orders, waiting = meter.create_counter("orders"), meter.create_up_down_counter("waiting")
        sizes = meter.create_histogram("sizes")
        orders.add(10)
        waiting.add(5)
        sizes.record(3)
        first = _values(s.studio.prometheus_text())
        orders.add(1)
        waiting.add(-1)
        sizes.record(4)
        second = _values(s.studio.prometheus_text())

    assert (first["orders_total"], first["waiting"], first["sizes_count"]) == (10, 5, 1)
    assert (second["orders_total"], second["waiting"], second["sizes_count"]) == (11, 4, 2)


def test_a_forked_childs_text_counts_from_its_beginning() -> None:
    """Nothing of the parent is in it, and nothing that the child counted before is missing."""
    with isolated() as s:
        orders = metrics.get_meter("shop").create_counter("orders")
        orders.add(10)
        s.studio.prometheus_text()

        def child() -> float:
            orders.add(3)
            return _values(s.studio.prometheus_text())["orders_total"]

        assert in_forked_child(child) == 3
        assert _values(s.studio.prometheus_text())["orders_total"] == 10
