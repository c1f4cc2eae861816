"""The algebra of the GPU's readings: devices stand, encodes add."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_studio.base import codec
from otel_studio.base.figures import points_of
from otel_studio.gpu.encoders import EncodePart, EncodeSources, EncodeStatistics
from otel_studio.gpu.gpu_records import utilization_metrics
from otel_studio.gpu.instruments import FIGURES
from otel_studio.gpu.reading import GpuReading, reading_of
from otel_studio.gpu.tiers import (
    DeviceIdentity,
    DeviceSnapshot,
    FastFigures,
    MediumFigures,
    ProcessShare,
    SlowFigures,
)
from plain_data import unplain_fields

#: A busy machine is no failure.
UNTIMED = settings(deadline=None)
EPOCHS = ("a", "b", "c")
CARDS = ("GPU-1", "GPU-2")
SEEDS = st.integers(1, 10**9)


def size(random: Random) -> int:
    return random.choice((0, 1, random.randrange(10**12)))


def encodes_of(seed: int) -> EncodePart:
    random = Random(seed)
    told = EncodeStatistics(queue_length=size(random))
    return EncodePart(seed, size(random), size(random), size(random), told)


def card(uuid: str, seed: int) -> DeviceSnapshot:
    return DeviceSnapshot(
        DeviceIdentity(uuid, uuid),
        FastFigures(0, seed, memory_used=seed % 100, energy=float(seed)),
        MediumFigures(0, share=ProcessShare(memory=seed % 10)),
        SlowFigures(0, ecc_corrected=seed % 7),
    )


@st.composite
def readings(draw: st.DrawFn) -> GpuReading:
    """A reading of one moment in one process: they tell what was seen."""
    seed = draw(SEEDS)
    epoch = EPOCHS[seed // 3 % 3]
    cards = [card(uuid, seed) for uuid in CARDS[: seed % 3]]
    encodes = st.dictionaries(st.sampled_from(EPOCHS), st.builds(encodes_of, SEEDS), max_size=3)
    return reading_of(seed, epoch, None if cards else f"none at {seed}", cards, draw(encodes))


def counts(reading: GpuReading) -> dict[str, int]:
    found = {}
    for epoch, part in reading.encodes.items():
        for name in ("completed", "failed", "spent_ns"):
            found[f"{epoch}.{name}"] = getattr(part, name)
    return {name: count for name, count in found.items() if count}


@UNTIMED
@given(readings(), readings(), readings())
def test_neither_order_nor_grouping_of_a_sum_matters(
    a: GpuReading, b: GpuReading, c: GpuReading
) -> None:
    """Workers may be added in any way."""
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)


@UNTIMED
@given(readings(), readings())
def test_a_difference_takes_back_what_a_sum_added(a: GpuReading, b: GpuReading) -> None:
    """(a + b) - a counts the encodes of b, and a sum those of both."""
    assert counts((a + b) - a) == counts(b)
    both, one, other = counts(a + b), counts(a), counts(b)
    names = one.keys() | other.keys()
    assert both == {name: one.get(name, 0) + other.get(name, 0) for name in names}


@UNTIMED
@given(st.builds(encodes_of, SEEDS), st.builds(encodes_of, SEEDS))
def test_a_source_that_began_anew_counts_from_zero(old: EncodePart, new: EncodePart) -> None:
    """Nothing is short by what another source had counted, and nothing is negative."""
    window = GpuReading(encodes={"b": new}) - GpuReading(encodes={"a": old})
    assert window.encodes == {"b": new}


@UNTIMED
@given(readings(), readings())
def test_a_device_is_never_added(a: GpuReading, b: GpuReading) -> None:
    """Each card is there once, as whoever looked last saw it."""
    together = a + b
    later = max((a, b), key=lambda reading: (reading.unix_ns, reading.epoch))
    assert together.devices.keys() == a.devices.keys() | b.devices.keys()
    for uuid, part in later.devices.items():
        assert together.devices[uuid] == part
    assert together.reason == later.reason


def with_card(epoch: str, moment: int, **figures: Any) -> GpuReading:
    fast = FastFigures(0, moment, energy=figures.get("energy"))
    slow = SlowFigures(0, ecc_corrected=figures.get("ecc"), pcie_received=figures.get("pcie"))
    share = MediumFigures(0, share=ProcessShare(memory=figures.get("memory")))
    snapshot = DeviceSnapshot(DeviceIdentity("GPU-1", "card"), fast, share, slow)
    return reading_of(moment, epoch, None, [snapshot], {})


def test_what_a_device_counted_subtracts() -> None:
    """Energy, errors and bytes are those of the window; what went back counts from zero."""
    then = with_card("a", 1, energy=100.0, ecc=3, pcie=50)
    now = (with_card("a", 2, energy=130.5, ecc=3, pcie=20) - then).snapshots[0]
    assert now.fast is not None
    assert now.slow is not None
    assert (now.fast.energy, now.slow.ecc_corrected, now.slow.pcie_received) == (30.5, 0, 20)


def test_each_process_has_a_share_of_its_own() -> None:
    """Two workers use a card together; the same one, seen twice, uses what it used last."""
    first, second = with_card("a", 1, memory=100), with_card("a", 2, memory=70)
    assert (first + second).share("GPU-1") == ProcessShare(memory=70)
    both = first + second + with_card("b", 3, memory=5)
    assert both.share("GPU-1") == ProcessShare(memory=75)
    assert utilization_metrics(both)[0].process.memory_mb == 75e-6
    assert both.share("GPU-2") is None
    assert (second - first).share("GPU-1") == ProcessShare(memory=70)


def test_the_average_of_a_window_is_that_of_its_encodes() -> None:
    """The encodes before it count for nothing, and without an encode there is no average."""

    class Source:
        figures = (10, 100.0)

        def encode_statistics(self) -> EncodeStatistics:
            completed, average = self.figures
            return EncodeStatistics(completed_encodes=completed, average_encode_time_ms=average)

    source, sources = Source(), EncodeSources()
    sources.register(source)
    then = GpuReading(encodes=sources.parts(1))
    assert (then - then).encode_statistics.average_encode_time_ms is None
    source.figures = (20, 150.0)
    window = (GpuReading(encodes=sources.parts(2)) - then).encode_statistics
    assert (window.completed_encodes, window.average_encode_time_ms) == (10, 200.0)


def test_a_source_that_was_added_anew_is_another() -> None:
    """What it counted before it was taken away is not counted again."""

    class Source:
        def encode_statistics(self) -> EncodeStatistics:
            return EncodeStatistics(failed_encodes=2)

    source, sources = Source(), EncodeSources()
    remove = sources.register(source)
    (first,) = sources.parts(1)
    remove()
    assert sources.parts(2) == {}
    sources.register(source)
    assert first not in sources.parts(3)


@UNTIMED
@given(readings(), readings())
def test_figures_and_records_can_be_made_of_any_reading(a: GpuReading, b: GpuReading) -> None:
    """Instruments and the query are functions of a reading, of one process or of several."""
    for reading in (a, a + b, a - b):
        records = utilization_metrics(reading)
        assert [record.device_id for record in records] == list(reading.devices)
        names = {figure.name for figure, _point in points_of(FIGURES, reading)}
        assert ("hw.energy" in names) == bool(records)


def test_what_describes_the_machine_says_so() -> None:
    """Only what a process uses of a device may be added over processes."""
    added = {figure.name for figure in FIGURES if not figure.machine}
    assert added == {"otel_studio.gpu.process.memory.usage", "otel_studio.gpu.process.utilization"}


def test_a_reading_is_plain_data() -> None:
    """Nothing in it but numbers, text, mappings, tuples and frozen records."""
    assert unplain_fields(GpuReading) == []


@UNTIMED
@given(readings())
def test_the_codec_brings_a_reading_back(reading: GpuReading) -> None:
    """Another process reads exactly what this one wrote."""
    assert codec.decode(codec.encode(reading), GpuReading) == reading
