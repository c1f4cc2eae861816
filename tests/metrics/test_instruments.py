"""The reading of a provider's instruments: every kind, from ours and from the SDK's provider."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from forked import in_forked_child
from otel_studio.assembly.studio import Studio
from otel_studio.base import figures, guard, locks
from otel_studio.lifecycle import overriding
from otel_studio.metrics.instrument_points import ExponentialHistogram
from otel_studio.metrics.instruments import InstrumentsSource
from otel_studio.metrics.instruments_reading import InstrumentsReading
from otel_studio.metrics.provider import StudioMeterProvider
from otel_studio.settings.loading import load_settings

#: The oldest supported SDK keeps extremes of every exponential histogram.
WITHOUT_EXTREMES: dict[str, Any] = (
    {"record_min_max": False}
    if "record_min_max" in inspect.signature(ExponentialBucketHistogramAggregation).parameters
    else {}
)
EXTREMES = (None, None) if WITHOUT_EXTREMES else (0.0, 1000.0)
VIEWS = [
    View(instrument_name="powers", aggregation=ExponentialBucketHistogramAggregation()),
    View(
        instrument_type=HistogramInstrument,
        instrument_name="quiet",
        aggregation=ExponentialBucketHistogramAggregation(**WITHOUT_EXTREMES),
    ),
]


@pytest.fixture(params=["own", "sdk"])
def provider(request: pytest.FixtureRequest) -> Iterator[Any]:
    guard.forget_said()
    made: Any = (
        StudioMeterProvider(lambda: Resource({}), views=VIEWS, shutdown_on_exit=False)
        if request.param == "own"
        else MeterProvider([InMemoryMetricReader()], views=VIEWS, shutdown_on_exit=False)
    )
    yield made
    made.shutdown()
    assert not guard.internal_errors


@pytest.fixture
def source(provider: Any) -> InstrumentsSource:
    return InstrumentsSource(provider, lambda: 1_000)


def taken(source: InstrumentsSource) -> InstrumentsReading:
    reading = source.reading()
    assert reading is not None
    return reading


def values(reading: InstrumentsReading) -> dict[tuple[str, Any], Any]:
    found = {}
    for key, points in reading.points.items():
        shown = getattr(points, "value", None)
        if shown is None:
            part: Any = points.total if isinstance(points, ExponentialHistogram) else points.latest  # type: ignore[union-attr]
            shown = (part.count, part.total, part.minimum, part.maximum)
        found[key.name, key.attributes] = shown
    return found


def test_every_kind_of_instrument_is_read(provider: Any, source: InstrumentsSource) -> None:
    """Synchronous and observable, with attributes, units and descriptions; nothing is left out."""
    taken(source)
    meter = provider.get_meter("app", "1.2")

    def observe(_options: CallbackOptions) -> list[Observation]:
        return [Observation(5, {"b": (1, 2), "a": "x"})]  # the oldest SDK hashes them

    meter.create_counter("sold", unit="{item}", description="Items sold.").add(3, {"shop": "a"})
    meter.create_up_down_counter("open").add(-2)
    meter.create_gauge("heat").set(36.6)
    meter.create_histogram("wait", unit="s").record(0.2)
    for name in ("powers", "quiet"):
        for value in (0.0, 1.0, 1000.0):
            meter.create_histogram(name).record(value)
    meter.create_observable_counter("seen", [observe])
    meter.create_observable_up_down_counter("queued", [observe])
    meter.create_observable_gauge("depth", [observe])
    reading = taken(source)
    observed = (("a", "x"), ("b", (1, 2)))
    assert values(reading) == {
        ("sold", (("shop", "a"),)): 3,
        ("open", ()): -2,
        ("heat", ()): 36.6,
        ("wait", ()): (1, 0.2, 0.2, 0.2),
        ("powers", ()): (3, 1001.0, 0.0, 1000.0),
        ("quiet", ()): (3, 1001.0, *EXTREMES),
        ("seen", observed): 5,
        ("queued", observed): 5,
        ("depth", observed): 5,
    }
    sold = reading.instruments["app", "sold"]
    assert (sold.version, sold.unit, sold.description) == ("1.2", "{item}", "Items sold.")
    assert reading.time == 1_000
    kinds = {key.name: key.kind for key in reading.points}
    assert kinds["powers"] == "exponential_histogram"
    assert kinds["seen"] == "counter"
    assert kinds["queued"] == "up_down_counter"


def test_a_window_is_what_was_counted_in_it(provider: Any, source: InstrumentsSource) -> None:
    """Now less then, of a real provider; what stood still is left out."""
    counter = provider.get_meter("app").create_counter("sold")
    other = provider.get_meter("app").create_counter("stood")
    powers = provider.get_meter("app").create_histogram("powers")
    taken(source)
    counter.add(3)
    other.add(1)
    powers.record(1e-5)
    then = taken(source)
    counter.add(4)
    powers.record(1e5)  # a coarser scale from here on
    window = taken(source) - then
    assert values(window) == {("sold", ()): 4, ("powers", ()): (1, pytest.approx(1e5), None, None)}


def test_what_describes_the_machine_is_told_by_its_name(
    provider: Any, source: InstrumentsSource
) -> None:
    """Two workers' readings of one machine are the machine's, not twice it."""
    meter = provider.get_meter("host")
    for name in ("system.cpu.time", "cpu.time"):
        meter.create_observable_counter(name, [lambda _options: [Observation(10)]])
    meter.create_observable_up_down_counter(
        "system.memory.usage", [lambda _options: [Observation(7)]]
    )
    one = taken(source)
    points = {}
    for key, value in one.points.items():
        parts = getattr(value, "parts", None)
        points[key] = (
            value if parts is None else type(value)({f"other-{e}": p for e, p in parts.items()})  # type: ignore[call-arg]
        )
    worker = InstrumentsReading(one.time, one.instruments, points)
    assert values(one + worker) == {
        ("system.cpu.time", ()): 10,
        ("cpu.time", ()): 20,
        ("system.memory.usage", ()): 7,
    }


def test_one_reader_is_added_at_once_and_removed(provider: Any) -> None:
    """It knows what is counted before the first reading; afterwards all is as before."""
    storages = provider._measurement_consumer._reader_storages
    before = dict(storages)
    source = InstrumentsSource(provider, lambda: 1)
    provider.get_meter("app").create_counter("sold").add(2)
    assert values(taken(source)) == {("sold", ()): 2}
    taken(source)
    assert len(provider._measurement_consumer._reader_storages) == len(before) + 1
    source.detach()
    assert provider._measurement_consumer._reader_storages == before
    assert source.reading() is None
    source.detach()


def test_a_collection_reads_a_room_once(provider: Any, source: InstrumentsSource) -> None:
    """The reading behind several instruments is taken once."""
    seen: list[int] = []
    table = [figures.Figure(name, "gauge", "", "", lambda _: [(1, {})]) for name in "abc"]
    figures.register(provider.get_meter("room"), table, lambda: seen.append(1))
    taken(source)
    assert len(seen) == 1


def test_a_collection_that_fails_is_no_empty_reading() -> None:
    """A difference to nothing would look like everything at once: there is no reading then."""
    guard.forget_said()

    class Broken:
        def add_metric_reader(self, reader: Any) -> None:
            raise RuntimeError("broken")

    assert InstrumentsSource(Broken(), lambda: 1).reading() is None
    assert guard.internal_errors == {
        "adding our reader to a meter provider": 1,
        "reading the program's instruments": 1,
    }


def test_a_level_of_which_the_beginning_is_not_known_is_left_out() -> None:
    """An up-down counter that another provider had before; what comes later is whole."""
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    meter = provider.get_meter("app")
    waiting, sold = meter.create_up_down_counter("waiting"), meter.create_counter("sold")
    waiting.add(5)
    sold.add(5)
    source = InstrumentsSource(provider, lambda: 1)
    waiting.add(-1)
    sold.add(1)
    later = meter.create_up_down_counter("later")
    later.add(3)

    assert values(taken(source)) == {("sold", ()): 1, ("later", ()): 3}
    provider.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_counts_from_zero(provider: Any, source: InstrumentsSource) -> None:
    """Nothing of the parent is in it, in an epoch of its own; the parent goes on."""
    counter = provider.get_meter("app").create_counter("sold")
    taken(source)
    counter.add(100)
    parent = taken(source)

    def child() -> list[Any]:
        locks.renew_in_child()
        source.after_fork_in_child()
        first = values(taken(source))
        counter.add(1)
        now = taken(source)
        return [len(first), sum(values(now).values()), sum(values(now - parent).values())]

    assert in_forked_child(child) == [0, 1, 1]
    counter.add(1)
    assert values(taken(source)) == {("sold", ()): 101}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_counts_from_its_beginning(provider: Any, source: InstrumentsSource) -> None:
    """And not from the first time on that somebody asks."""
    counter = provider.get_meter("app").create_counter("sold")
    counter.add(100)

    def child() -> list[Any]:
        locks.renew_in_child()
        source.after_fork_in_child()
        counter.add(3)
        counter.add(1)
        return list(values(taken(source)).values())

    assert in_forked_child(child) == [4]


def test_a_studio_reads_the_programs_instruments() -> None:
    """Its metric pipeline gives the reading, until its end."""
    with overriding(Studio(load_settings({}, "/"))) as studio:
        studio.meter_provider.get_meter("app").create_counter("sold").add(2)
        reading = studio._metrics.instruments_reading()
        assert reading is not None
        assert values(reading)["sold", ()] == 2
    assert studio._metrics.instruments_reading() is None
