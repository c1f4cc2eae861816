"""What encoders say of themselves, beside every GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

import otel_studio
from fake_nvml import FakeDriver
from otel_studio import api
from otel_studio.base.clock import ManualClock
from otel_studio.base.guard import internal_errors
from otel_studio.gpu import encoders
from otel_studio.gpu.encoders import (
    EncodeSources,
    EncodeStatistics,
    RunningEncode,
    register_encode_source,
)
from otel_studio.gpu.gpu_records import EncodePerformance
from otel_studio.gpu.monitor import GpuMonitor
from otel_studio.gpu.own_process import OwnProcess
from otel_studio.operations import seat
from otel_studio.testing import isolated


class _Source:
    def __init__(self, **figures: float) -> None:
        self.figures = figures

    def encode_statistics(self) -> EncodeStatistics:
        return EncodeStatistics(**self.figures)  # type: ignore[arg-type]


def test_a_source_fills_the_record(
    driver: FakeDriver, monitor: GpuMonitor, sources: EncodeSources
) -> None:
    """`performance_metrics` is what the source says at the time of the query."""
    source = _Source(encode_fps=48.0, queue_length=3, failed_encodes=1)
    remove = sources.register(source)
    monitor.sample()
    source.figures["queue_length"] = 2
    expected = EncodePerformance(encode_fps=48.0, queue_length=2, failed_encodes=1)
    assert [gpu.performance_metrics for gpu in monitor.utilization_metrics()] == [expected] * 2
    remove()
    assert monitor.utilization_metrics()[0].performance_metrics == EncodePerformance()


def test_several_sources_are_put_together(sources: EncodeSources) -> None:
    """Counts are added, averages weighted by their encodes, and what nobody knows stays unknown."""
    sources.register(_Source(queue_length=3, average_encode_time_ms=100, completed_encodes=30))
    sources.register(_Source(queue_length=1, average_encode_time_ms=200, completed_encodes=10))
    sources.register(_Source(hardware_acceleration_active=True))
    sources.register(_Source(hardware_acceleration_active=False))
    together = sources.statistics()
    assert (together.queue_length, together.average_encode_time_ms) == (4, 125)
    assert together.hardware_acceleration_active is True
    assert (together.encode_fps, together.failed_encodes) == (None, None)


def test_a_source_is_added_once(sources: EncodeSources) -> None:
    """Registering twice does not count twice."""
    source = _Source(failed_encodes=2)
    sources.register(source)
    sources.register(source)
    assert sources.statistics().failed_encodes == 2


def test_a_source_that_raises(sources: EncodeSources) -> None:
    """It is counted as a failure, and the others are heard."""

    class Broken:
        def encode_statistics(self) -> EncodeStatistics:
            raise RuntimeError("no")

    class Wrong:
        def encode_statistics(self) -> EncodeStatistics:
            return {"failed_encodes": 1}  # type: ignore[return-value]

    sources.register(Broken())
    sources.register(Wrong())
    sources.register(_Source(failed_encodes=2))
    assert sources.statistics().failed_encodes == 2
    assert sum(internal_errors.values()) == 2


def test_what_is_no_source_is_refused() -> None:
    """An object without the method is refused in one sentence."""
    with pytest.raises(TypeError, match=r"int has no method encode_statistics\(\): give an object"):
        register_encode_source(3)  # type: ignore[arg-type]


def test_an_isolated_block_has_sources_of_its_own() -> None:
    """What is registered outside is not heard inside, nor the other way round."""
    remove = register_encode_source(_Source(failed_encodes=5))
    with otel_studio.isolated() as s:
        inside = encoders.sources_of(seat.current())
        assert inside.statistics() == EncodeStatistics()
        register_encode_source(_Source(failed_encodes=7))
        assert s.studio.gpu.reading().encodes
    assert encoders.sources_of(seat.current()).statistics().failed_encodes == 5
    remove()


def test_the_sources_of_the_process(driver: FakeDriver) -> None:
    """`register_encode_source` is heard by monitors that were given no sources of their own."""
    remove = register_encode_source(_Source(failed_encodes=5))
    assert encoders.sources_of(seat.current()).statistics().failed_encodes == 5
    remove()
    assert encoders.sources_of(seat.current()).statistics() == EncodeStatistics()


class Running:
    """A source that tells of encodes in processes of their own."""

    def __init__(self, *running: RunningEncode) -> None:
        self.running = running

    def encode_statistics(self) -> EncodeStatistics:
        return EncodeStatistics(running=self.running)


def test_a_session_of_an_encode_of_ours_has_what_it_reports(
    driver: FakeDriver, monitor: GpuMonitor, sources: EncodeSources
) -> None:
    """By its process; of a session of somebody else's nothing is known."""
    sources.register(Running(RunningEncode(4711, 2.5, 12.0), RunningEncode(9, 1.0, 1.0)))
    monitor.sample()
    ours, other = monitor.utilization_metrics()[0].encoding_sessions or ()
    assert (ours.pid, ours.bitrate_mbps, ours.duration_seconds) == (4711, 2.5, 12.0)
    assert (other.pid, other.bitrate_mbps, other.duration_seconds) == (4712, None, None)


def test_what_cannot_be_told_apart_is_not_told(
    driver: FakeDriver, monitor: GpuMonitor, sources: EncodeSources
) -> None:
    """Two encodes in one process, and two sessions of one encode."""
    two = RunningEncode(4711, 2.5, 12.0), RunningEncode(4711, 1.0, 1.0)
    remove = sources.register(Running(*two))
    monitor.sample()
    sessions = monitor.utilization_metrics()[0].encoding_sessions or ()
    assert [each.bitrate_mbps for each in sessions] == [None, None]
    remove()
    sources.register(Running(RunningEncode(4711, 2.5, 12.0)))
    driver.change({"0.session.1": "12 4711 1 3840 2160 56 4300"})
    monitor.sample(10**15)
    sessions = monitor.utilization_metrics()[0].encoding_sessions or ()
    assert [(each.pid, each.duration_seconds) for each in sessions] == [(4711, None)] * 2


@pytest.mark.parametrize(("visible", "bitrate"), [((4711,), None), ((4711, 4712), 2.5)])
def test_in_a_container_a_process_may_have_the_number_of_another_one_outside(
    driver: FakeDriver,
    clock: ManualClock,
    sources: EncodeSources,
    tmp_path: Path,
    visible: tuple[int, ...],
    bitrate: float | None,
) -> None:
    """Numbers are believed only where all that the driver lists are processes in here."""
    for pid in visible:
        (tmp_path / str(pid)).mkdir()
    inside = OwnProcess(pid=1, sees_host_ids=False, proc=str(tmp_path))
    monitor = GpuMonitor(clock, process=inside, encode_sources=sources)
    sources.register(Running(RunningEncode(4711, 2.5, 12.0)))
    monitor.sample()
    sessions = monitor.utilization_metrics()[0].encoding_sessions or ()
    assert [each.bitrate_mbps for each in sessions] == [bitrate, None]
    monitor.stop()


def test_encodes_are_told_without_a_gpu() -> None:
    """By the query of their own; nobody tells before a source is there."""
    with isolated():
        assert api.get_gpu_utilization_metrics() == []
        assert api.get_encode_performance_metrics() == EncodePerformance()
        remove = register_encode_source(Still())
        assert api.get_encode_performance_metrics().encode_fps == 30.0
        remove()


class Still:
    """A source that always says the same."""

    def encode_statistics(self) -> EncodeStatistics:
        return EncodeStatistics(encode_fps=30.0)
