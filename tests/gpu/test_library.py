"""The library as a process finds it by name, and a real card where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fake_nvml import A10, H100, as_text, two_cards

from parts import ROOT

HAS_CARD = Path("/dev/nvidia0").exists()
on_a_card = pytest.mark.only_where(HAS_CARD, "an NVIDIA card")

_PROGRAM = f"""
import json, sys
sys.path[:0] = [{str(ROOT)!r}]
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_studio.base.clock import SystemClock
from otel_studio.gpu.monitor import GpuMonitor

reader = InMemoryMetricReader()
provider = MeterProvider(metric_readers=[reader])
monitor = GpuMonitor(SystemClock())
monitor.register_instruments(provider.get_meter("otel_studio"))
wait = monitor.sample()
data = reader.get_metrics_data()
print(json.dumps({{
    "wait": wait,
    "reason": monitor.reason,
    "records": [record.to_dict() for record in monitor.utilization_metrics()],
    "metrics": [] if data is None else [
        metric.name
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    ],
}}))
monitor.stop()
provider.shutdown()
"""


def _run(**environment: str) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.fixture(params=["scripted", pytest.param("real", marks=on_a_card)])
def answer(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What a fresh process reads by the scripted library, and by the driver of this machine."""
    if request.param == "real":
        return _run()
    library: Path = request.getfixturevalue("library")
    (tmp_path / "script").write_text(as_text(two_cards()))
    return _run(LD_LIBRARY_PATH=str(library.parent), FAKE_NVML_SCRIPT=str(tmp_path / "script"))


def test_a_card_is_read(answer: dict[str, Any]) -> None:
    """Whatever the card: it has an id, memory, a status, and figures in their ranges."""
    assert answer["reason"] is None
    for card in answer["records"]:
        assert card["device_id"].startswith(("GPU-", "MIG-"))
        assert card["model"]
        assert card["driver_version"]
        assert card["status"] in {"ok", "degraded", "predicted_failure"}
        assert 0 <= card["memory_used_mb"] <= card["memory_total_mb"]
        assert 0 <= card["memory_utilization_percent"] <= 100
        for figure, limit in (
            ("gpu_utilization_percent", 100),
            ("encoder_utilization_percent", 100),
            ("decoder_utilization_percent", 100),
            ("temperature_celsius", 130),
            ("power_usage_watts", 5_000),
        ):
            assert card[figure] is None or 0 <= card[figure] <= limit
        for clock in card["clocks_mhz"].values():
            assert 0 <= clock < 20_000
        share = card["process"]
        assert share["memory_mb"] is None or share["memory_mb"] <= card["memory_total_mb"]


def test_its_metrics_are_collected(answer: dict[str, Any]) -> None:
    """Every card has at least memory and a status in the metrics."""
    assert {"hw.gpu.memory.usage", "hw.gpu.memory.limit", "hw.status"} <= set(answer["metrics"])


def test_the_library_is_found_by_its_name(library: Path, tmp_path: Path) -> None:
    """The bindings load `libnvidia-ml.so.1` from where the system's loader finds it."""
    (tmp_path / "script").write_text(as_text(two_cards()))
    answer = _run(LD_LIBRARY_PATH=str(library.parent), FAKE_NVML_SCRIPT=str(tmp_path / "script"))
    assert [card["device_id"] for card in answer["records"]] == [A10, H100]


@pytest.mark.only_where(not HAS_CARD, "a machine without an NVIDIA driver")
def test_without_a_driver(tmp_path: Path) -> None:
    """With the package but no driver: an empty list, a reason, and nobody looks again."""
    answer = _run(LD_LIBRARY_PATH=str(tmp_path))
    assert answer["records"] == []
    assert answer["wait"] is None
    assert answer["reason"] == (
        "there is no NVIDIA driver here: its library libnvidia-ml was not found"
    )
