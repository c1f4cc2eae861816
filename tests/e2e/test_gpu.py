"""GPU figures from the driver's library to `/metrics`, the Collector and the query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conversing_process import ConversingProcess
from fake_nvml import (
    A10,
    H100,
    LIBRARY_NAME,
    MEGABYTE,
    MIG_LARGE,
    MIG_SMALL,
    Script,
    as_text,
    build_library,
    mig_card,
    two_cards,
)

from child_process import http_get
from collector import Collector
from parts import free_port, wait_until

PROGRAM = """
import ctypes, os, time
import otel_studio
from otel_studio import api

studio = otel_studio.configure(metrics_exporter="otlp,prometheus", service_name="encoder")

def gpus():
    return [gpu.to_dict() for gpu in api.get_gpu_utilization_metrics()]

def reason():
    return studio.gpu.reason

def show(script):
    ctypes.CDLL("libnvidia-ml.so.1").fake_nvml_script(script.encode())

def seconds_of_a_query_and_a_scrape():
    began = time.perf_counter()
    api.get_gpu_utilization_metrics(), api.export_metrics_prometheus()
    return time.perf_counter() - began

def work():
    with otel_studio.service("encoder").operation("encode"):
        return "done"
"""

#: Unit and kind by metric, as OpenTelemetry's hardware conventions have them.
CONVENTIONS = {
    "hw.gpu.utilization": ("1", "gauge"),
    "hw.gpu.memory.usage": ("By", "sum"),
    "hw.gpu.memory.limit": ("By", "sum"),
    "hw.gpu.memory.utilization": ("1", "gauge"),
    "hw.gpu.io": ("By", "sum"),
    "hw.energy": ("J", "sum"),
    "hw.power": ("W", "gauge"),
    "hw.temperature": ("Cel", "gauge"),
    "hw.fan.speed_ratio": ("1", "gauge"),
    "hw.errors": ("{error}", "sum"),
    "hw.status": ("1", "sum"),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the scripted library lies under the driver's own name."""
    return build_library(tmp_path_factory.mktemp("nvml")).parent


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path / "collector") as collector:
        yield collector


class Encoder(ConversingProcess):
    """The program, watching the cards of a script."""

    def __init__(
        self, folder: Path, libraries: Path, script: Script, collector: Collector | None = None
    ) -> None:
        self.port = free_port()
        (folder / "cards").write_text(as_text(script))
        endpoint = "http://127.0.0.1:9" if collector is None else collector.http_endpoint
        super().__init__(
            folder,
            PROGRAM,
            {
                "LD_LIBRARY_PATH": str(libraries),
                "FAKE_NVML_SCRIPT": str(folder / "cards"),
                "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.port),
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_METRIC_EXPORT_INTERVAL": "500" if collector else "3600000",
            },
        )

    def gpus(self) -> dict[str, Any]:
        return {gpu["device_id"]: gpu for gpu in self.call("gpus")}

    def show(self, script: Script) -> None:
        self.call("show", as_text(script))

    def samples(self) -> dict[tuple[str, ...], float]:
        """Return what `/metrics` says of GPUs: by name, card, and the other label that counts."""
        status, text = http_get(self.port, "/metrics")
        assert status == 200
        return {
            (sample.name, sample.labels["hw_id"], *_telling(sample.labels)): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if "hw_id" in sample.labels
        }


def _telling(labels: dict[str, str]) -> list[str]:
    """Return the values of the labels that tell a card's points of one metric apart."""
    device = {"hw_id", "hw_type", "hw_name", "hw_model", "hw_vendor", "hw_serial_number"}
    device |= {"hw_driver_version", "hw_parent"}
    return [
        value
        for label, value in sorted(labels.items())
        if label not in device and not label.startswith("otel_scope_")
    ]


def test_two_cards_arrive_at_both_exits(tmp_path: Path, nvml: Path, collector: Collector) -> None:
    """The conventions' names, kinds, units and attributes, the same values at all three places."""
    with Encoder(tmp_path, nvml, two_cards(), collector) as encoder:
        wait_until(lambda: encoder.gpus().keys() == {A10, H100}, what="both cards")
        wait_until(lambda: collector.points("otel_studio.gpu.encoder.latency"), what="points")
        received = {name: collector.latest_points(name) for name in CONVENTIONS}
        samples, gpus = encoder.samples(), encoder.gpus()

    for name, (unit, kind) in CONVENTIONS.items():
        assert {(p.unit, p.kind) for p in received[name]} == {(unit, kind)}, name
        assert {p.attributes["hw.type"] for p in received[name]} == {"gpu"}, name
        assert {p.resource["service.name"] for p in received[name]} == {"encoder"}, name
    described = {p.attributes["hw.id"]: p.attributes for p in received["hw.power"]}
    assert described == {
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

    def values(name: str, *keys: str) -> dict[tuple[str, ...], float | None]:
        return {
            tuple(p.attributes[key] for key in ("hw.id", *keys)): p.value for p in received[name]
        }

    utilization = values("hw.gpu.utilization", "hw.gpu.task")
    assert utilization == {
        (A10, "general"): 0.37,
        (A10, "encoder"): 0.55,
        (A10, "decoder"): 0.08,
        (H100, "general"): 0.99,
        (H100, "decoder"): 0,
    }
    assert values("hw.gpu.memory.usage") == {
        (A10,): 6_000 * MEGABYTE,
        (H100,): 20_000 * MEGABYTE,
    }
    assert values("hw.errors", "error.type") == {(H100, "corrected"): 17, (H100, "uncorrected"): 1}
    assert values("hw.fan.speed_ratio") == {(A10,): 0.42}

    for card in (A10, H100):
        gpu = gpus[card]
        assert samples["hw_power_watts", card] == gpu["power_usage_watts"]
        assert samples["hw_temperature_celsius", card] == gpu["temperature_celsius"]
        assert samples["hw_energy_joules_total", card] == gpu["energy_joules"]
        assert samples["hw_gpu_memory_usage_bytes", card] / MEGABYTE == gpu["memory_used_mb"]
        assert values("hw.power")[card,] == gpu["power_usage_watts"]
    for (card, task), share in utilization.items():
        assert samples["hw_gpu_utilization", card, task] == share
    assert ("hw_gpu_utilization", H100, "encoder") not in samples
    assert ("hw_fan_speed_ratio", H100) not in samples
    assert gpus[H100]["active_encoders"] is None
    assert [
        (s["codec"], s["resolution"], s["fps"], s["latency"])
        for s in gpus[A10]["encoding_sessions"]
    ] == [("h264", "1920x1080", 60, 3.9), ("hevc", "3840x2160", 56, 4.3)]


def test_a_card_lost_mid_run(tmp_path: Path, nvml: Path, collector: Collector) -> None:
    """Its status says failed everywhere, its figures end, the other card and the program go on."""
    with Encoder(tmp_path, nvml, two_cards(), collector) as encoder:
        wait_until(lambda: encoder.gpus().keys() == {A10, H100}, what="both cards")
        assert ("hw_power_watts", A10) in encoder.samples()
        encoder.show({**two_cards(), "0.error": 15, "1.power": 650_000})
        wait_until(lambda: encoder.gpus()[A10]["status"] == "failed", what="the loss to be seen")
        wait_until(lambda: encoder.gpus()[H100]["power_usage_watts"] == 650, what="the other card")
        samples, gpus = encoder.samples(), encoder.gpus()

        def failed_arrived() -> bool:
            points = collector.latest_points("hw.status")
            return any(
                p.value == 1 and p.attributes["hw.state"] == "failed"
                for p in points
                if p.attributes["hw.id"] == A10
            )

        wait_until(failed_arrived, what="the loss to arrive")
        assert encoder.call("work") == "done"
        log = encoder.output()
    assert {key[0] for key in samples if key[1] == A10} == {"hw_status"}
    assert samples["hw_status", A10, "failed"] == 1
    assert samples["hw_status", A10, "ok"] == 0
    assert samples["hw_power_watts", H100] == 650
    assert gpus[A10]["power_usage_watts"] is None
    assert log.count("A10 0000:3b:00.0 is lost") == 1
    assert "Traceback" not in log


def test_figures_still_arrive_once_operations_do(
    tmp_path: Path, nvml: Path, collector: Collector
) -> None:
    """The Collector gets the cards' figures and the operations' from the same collection."""
    with Encoder(tmp_path, nvml, two_cards(), collector) as encoder:
        wait_until(lambda: encoder.gpus().keys() == {A10, H100}, what="both cards")
        assert encoder.call("work") == "done"
        wait_until(lambda: collector.points("otel_studio.operation.duration"), what="operations")
        encoder.show({**two_cards(), "0.power": 99_000})
        wait_until(
            lambda: 99 in {p.value for p in collector.latest_points("hw.power")}, 5, "the new power"
        )


def test_a_driver_that_goes_and_comes_back(tmp_path: Path, nvml: Path) -> None:
    """While it is being replaced there are no figures but a failed status; then they go on."""
    with Encoder(tmp_path, nvml, two_cards()) as encoder:
        wait_until(lambda: ("hw_power_watts", A10) in encoder.samples(), what="figures")
        encoder.show({"init": 9, "error": 1})
        wait_until(lambda: ("hw_power_watts", A10) not in encoder.samples(), what="figures to end")
        assert encoder.call("work") == "done"
        encoder.show({**two_cards(), "driver_version": "575.51.03"})
        wait_until(lambda: ("hw_power_watts", A10) in encoder.samples(), what="figures again")
        assert {gpu["driver_version"] for gpu in encoder.gpus().values()} == {"575.51.03"}
        assert "Traceback" not in encoder.output()


def test_a_split_card(tmp_path: Path, nvml: Path) -> None:
    """MIG devices have points of their own that name their card, which says nothing of its use."""
    with Encoder(tmp_path, nvml, mig_card()) as encoder:
        wait_until(lambda: encoder.gpus().keys() == {H100, MIG_SMALL, MIG_LARGE}, what="devices")
        samples, gpus = encoder.samples(), encoder.gpus()
        _, text = http_get(encoder.port, "/metrics")
    assert samples["hw_gpu_memory_usage_bytes", MIG_LARGE] == 12_000 * MEGABYTE
    assert not [key for key in samples if key[0] == "hw_gpu_utilization"]
    assert gpus[MIG_SMALL]["parent_id"] == H100
    assert gpus[H100]["gpu_utilization_percent"] is None
    named = [line for line in text.splitlines() if f'hw_id="{MIG_SMALL}"' in line]
    assert named
    assert all(f'hw_parent="{H100}"' in line for line in named)


def test_a_slow_driver_holds_nobody_up(tmp_path: Path, nvml: Path) -> None:
    """While a call of the driver takes seconds, queries and scrapes answer as fast as ever."""
    with Encoder(tmp_path, nvml, two_cards()) as encoder:
        wait_until(lambda: ("hw_power_watts", A10) in encoder.samples(), what="figures")
        encoder.show({**two_cards(), "sleep_ms.nvmlDeviceGetUtilizationRates": 3_000})
        slowest = max(encoder.call("seconds_of_a_query_and_a_scrape") for _ in range(30))
        assert slowest < 1.5
        assert encoder.end() == 0


@pytest.mark.parametrize("case", ["library missing", "driver not loaded", "no permission"])
def test_without_a_driver_there_are_no_points_and_a_reason(
    tmp_path: Path, nvml: Path, case: str
) -> None:
    """An empty list, no `hw_*` line, a reason in words, and a program that works as ever."""
    libraries, script = nvml, two_cards()
    if case == "library missing":
        libraries = tmp_path / "libraries"
        libraries.mkdir()
        # Found before a real driver's, and no library.
        (libraries / LIBRARY_NAME).touch()
    else:
        script = {"init": 9 if case == "driver not loaded" else 4}
    expected = {
        "library missing": "its library libnvidia-ml was not found",
        "driver not loaded": "the NVIDIA driver is not loaded",
        "no permission": "no permission to use the NVIDIA driver",
    }[case]
    with Encoder(tmp_path, libraries, script) as encoder:
        wait_until(lambda: expected in (encoder.call("reason") or ""), what=expected)
        assert encoder.call("gpus") == []
        assert encoder.samples() == {}
        assert encoder.call("work") == "done"
        assert encoder.end() == 0
        log = encoder.output()
    assert "Traceback" not in log
    assert log.count("GPU") <= 1
