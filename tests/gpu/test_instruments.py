"""The GPU figures as metrics: OpenTelemetry's names, units and attributes, to both exits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.semconv._incubating.attributes import hw_attributes
from opentelemetry.semconv._incubating.metrics import hw_metrics
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fake_nvml import A10, H100, MEGABYTE, MIG_SMALL, FakeDriver, mig_card
from otel_studio.base.clock import ManualClock
from otel_studio.base.guard import internal_errors
from otel_studio.gpu.monitor import GpuMonitor

Points = dict[tuple[str, ...], float]


class _Exits:
    """A meter provider with an in-memory and a Prometheus reader."""

    def __init__(self, monitor: GpuMonitor) -> None:
        self.reader = InMemoryMetricReader()
        self.registry = CollectorRegistry()
        prometheus = PrometheusMetricReader(registry=self.registry)
        self.provider = MeterProvider(metric_readers=[self.reader, prometheus])
        monitor.register_instruments(self.provider.get_meter("otel_studio"))

    def metrics(self) -> dict[str, Metric]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str, *keys: str) -> Points:
        """Return the values of a metric by these attributes, empty where there is none."""
        metric = self.metrics().get(name)
        found: Points = {}
        for point in metric.data.data_points if metric is not None else ():
            assert isinstance(point, NumberDataPoint)
            attributes = point.attributes or {}
            key = tuple(str(attributes[key]) for key in ("hw.id", *keys))
            assert key not in found
            found[key] = point.value
        return found

    def text(self) -> str:
        return generate_latest(self.registry).decode()


@pytest.fixture
def exits(driver: FakeDriver, monitor: GpuMonitor) -> Iterator[_Exits]:
    exits = _Exits(monitor)
    monitor.sample()
    yield exits
    exits.provider.shutdown()


def test_the_conventions_names(exits: _Exits) -> None:
    """Every `hw.*` metric is one of the conventions, with their unit and kind of instrument."""
    constants = {value: name for name, value in vars(hw_metrics).items() if isinstance(value, str)}
    ours = {name: metric for name, metric in exits.metrics().items() if name.startswith("hw.")}
    assert ours.keys() == {
        "hw.gpu.utilization",
        "hw.gpu.memory.usage",
        "hw.gpu.memory.limit",
        "hw.gpu.memory.utilization",
        "hw.gpu.io",
        "hw.energy",
        "hw.power",
        "hw.temperature",
        "hw.fan.speed_ratio",
        "hw.errors",
        "hw.status",
    }
    for name, metric in ours.items():
        asked = _Asked()
        create = getattr(hw_metrics, f"create_{constants[name].lower()}")
        create(asked, None) if "ObservableGauge" in str(create.__annotations__) else create(asked)
        assert (asked.unit, asked.description) == (metric.unit, metric.description), name
        assert asked.kind == _kind(metric), name


def test_the_conventions_attributes(exits: _Exits) -> None:
    """Each point says which device it is about; a card without a serial number has none."""
    known = {value for value in vars(hw_attributes).values() if isinstance(value, str)}
    seen = {}
    for metric in exits.metrics().values():
        for point in metric.data.data_points:
            attributes = dict(point.attributes or {})
            assert {key for key in attributes if key.startswith("hw.")} <= known
            assert {"hw.id", "hw.name", "hw.model", "hw.vendor", "hw.type"} <= attributes.keys()
            seen[attributes["hw.id"]] = {
                key: value
                for key, value in attributes.items()
                if key.startswith("hw.") and key not in ("hw.gpu.task", "hw.state")
            }
    assert seen == {
        A10: {
            "hw.id": A10,
            "hw.type": "gpu",
            "hw.name": "NVIDIA A10 0000:3b:00.0",
            "hw.model": "NVIDIA A10",
            "hw.vendor": "NVIDIA",
            "hw.serial_number": "1320921000001",
            "hw.driver_version": "570.124.06",
        },
        H100: {
            "hw.id": H100,
            "hw.type": "gpu",
            "hw.name": "NVIDIA H100 80GB HBM3 0001:05:00.0",
            "hw.model": "NVIDIA H100 80GB HBM3",
            "hw.vendor": "NVIDIA",
            "hw.driver_version": "570.124.06",
        },
    }


def test_the_values(exits: _Exits) -> None:
    """Fractions, bytes, joules and hertz, and no point for what a card does not have."""
    points = exits.points
    assert points("hw.gpu.utilization", "hw.gpu.task") == {
        (A10, "general"): 0.37,
        (A10, "encoder"): 0.55,
        (A10, "decoder"): 0.08,
        (H100, "general"): 0.99,
        (H100, "decoder"): 0,
    }
    assert points("hw.gpu.memory.usage")[A10,] == 6_000 * MEGABYTE
    assert points("hw.gpu.memory.limit")[H100,] == 80_000 * MEGABYTE
    assert points("hw.gpu.memory.utilization") == {(A10,): 0.25, (H100,): 0.25}
    assert points("hw.power") == {(A10,): 148.25, (H100,): 640}
    assert points("hw.energy") == {(A10,): 9_876.543, (H100,): 123_456.789}
    assert points("hw.temperature") == {(A10,): 61, (H100,): 54}
    assert points("hw.fan.speed_ratio") == {(A10,): 0.42}
    assert points("hw.errors", "error.type") == {
        (H100, "corrected"): 17,
        (H100, "uncorrected"): 1,
    }
    assert points("hw.gpu.io", "network.io.direction") == {
        (H100, "transmit"): 7_000_000_000_000,
        (H100, "receive"): 9_000_000_000_000,
    }
    assert points("hw.status", "hw.state")[A10, "ok"] == 1
    assert points("hw.status", "hw.state")[A10, "failed"] == 0


def test_our_own_names(exits: _Exits) -> None:
    """What the conventions do not name is under `otel_studio.gpu`."""
    points = exits.points
    assert points("otel_studio.gpu.clock.frequency", "studio.gpu.clock")[A10, "sm"] == 1.695e9
    events = points("otel_studio.gpu.clock.event", "studio.gpu.clock_event")
    assert (events[A10, "sw_power_cap"], events[A10, "hw_slowdown"]) == (1, 0)
    rows = points("otel_studio.gpu.memory.remapped_rows", "error.type")
    assert rows == {(H100, "corrected"): 2, (H100, "uncorrected"): 1}
    assert points("otel_studio.gpu.pcie.throughput", "network.io.direction") == {
        (A10, "transmit"): 120_000_000,
        (A10, "receive"): 45_000_000,
    }
    own = points("otel_studio.gpu.process.memory.usage")
    assert own == {(A10,): 2_000 * MEGABYTE, (H100,): 0}
    assert points("otel_studio.gpu.process.utilization", "hw.gpu.task")[A10, "encoder"] == 0.25
    assert points("otel_studio.gpu.encoder.session.active", "studio.gpu.codec") == {
        (A10, "h264"): 1,
        (A10, "hevc"): 1,
        (A10, "av1"): 0,
    }
    assert points("otel_studio.gpu.encoder.frame_rate") == {(A10,): 58}
    assert points("otel_studio.gpu.encoder.latency") == {(A10,): 0.0041}


def test_the_prometheus_page(exits: _Exits) -> None:
    """The same figures on /metrics, each under the labels of its device."""
    samples = {
        (sample.name, sample.labels["hw_id"], sample.labels.get("hw_gpu_task", "")): sample.value
        for family in text_string_to_metric_families(exits.text())
        for sample in family.samples
        if "hw_id" in sample.labels
    }
    assert samples["hw_gpu_utilization", A10, "encoder"] == 0.55
    assert ("hw_gpu_utilization", H100, "encoder") not in samples
    assert samples["hw_gpu_memory_usage_bytes", A10, ""] == 6_000 * MEGABYTE
    assert samples["hw_energy_joules_total", H100, ""] == 123_456.789
    assert samples["hw_power_watts", H100, ""] == 640
    assert samples["hw_temperature_celsius", A10, ""] == 61
    assert ("hw_fan_speed_ratio", H100, "") not in samples
    line = next(line for line in exits.text().splitlines() if line.startswith("hw_power_watts{"))
    assert 'hw_serial_number="1320921000001"' in line


def test_mig_devices_name_their_card(
    driver: FakeDriver, exits: _Exits, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A MIG device's points carry its card as `hw.parent`, to keep sums from counting twice."""
    driver.show({**mig_card(), "era": 1})
    for _ in range(2):
        clock.advance(1)
        monitor.sample()
    usage = exits.metrics()["hw.gpu.memory.usage"].data.data_points
    parents = {dict(p.attributes or {}).get("hw.parent") for p in usage}
    assert parents == {None, H100}
    assert exits.points("hw.gpu.memory.usage")[MIG_SMALL,] == 1_000 * MEGABYTE


def test_a_lost_card_leaves_its_status_alone(
    driver: FakeDriver, exits: _Exits, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """Of a card that was lost mid-run only `hw.status` speaks on, and it says failed."""
    driver.change({"0.error": 15})
    clock.advance(1)
    monitor.sample()
    about_it = {
        name
        for name, metric in exits.metrics().items()
        for point in metric.data.data_points
        if (point.attributes or {}).get("hw.id") == A10
    }
    assert about_it == {"hw.status"}
    states = exits.points("hw.status", "hw.state")
    assert {state: states[A10, state] for state in ("ok", "degraded", "failed")} == {
        "ok": 0,
        "degraded": 0,
        "failed": 1,
    }
    assert f'hw_id="{A10}"' in exits.text()


def test_a_collection_calls_no_driver(driver: FakeDriver, exits: _Exits) -> None:
    """Two readers collect the same snapshot, and the driver hears nothing of it."""
    calls = driver.calls()
    for _ in range(3):
        assert "hw.power" in exits.metrics()
        assert "hw_power_watts" in exits.text()
    assert driver.calls() == calls


def test_nothing_after_stop(exits: _Exits, monitor: GpuMonitor) -> None:
    """A monitor that was stopped leaves no points behind."""
    monitor.stop()
    assert exits.reader.get_metrics_data() is None


def test_a_fault_in_a_callback_stays_ours(
    exits: _Exits, monitor: GpuMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and the collection of everything else goes on."""

    def broken(_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("otel_studio.gpu.instruments.attributes", broken)
    assert exits.reader.get_metrics_data() is None
    assert internal_errors["the figure hw.power"] == 1


class _Asked:
    """A meter that notes what it is asked to create."""

    kind = unit = description = ""

    def __getattr__(self, method: str) -> object:
        def create(name: str, unit: str, description: str, callbacks: object = None) -> None:
            self.kind = method.removeprefix("create_").removeprefix("observable_")
            self.unit, self.description = unit, description

        return create


def _kind(metric: Metric) -> str:
    if not isinstance(metric.data, Sum):
        return "gauge"
    return "counter" if metric.data.is_monotonic else "up_down_counter"
