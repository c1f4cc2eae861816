"""The configuration files for users are valid, and the agent does what they say."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from child_process import ChildProcess, answers
from collector import Collector
from parts import ROOT, free_port, need, wait_until

CONFIGS = ROOT / "collector-config"


class Agent(ChildProcess):
    """The built Collector with agent.yaml and the overlays named."""

    def __init__(self, folder: Path, *overlays: str, upstream: str = "127.0.0.1:1") -> None:
        super().__init__(folder, "agent")
        self._program = need("collector")
        self._overlays = overlays
        self._upstream = upstream
        self.choose_ports()

    def choose_ports(self) -> None:
        self.grpc_port, self.http_port, self.health_port = free_port(), free_port(), free_port()

    def environment(self) -> Mapping[str, str]:
        return {
            "COLLECTOR_GRPC_PORT": str(self.grpc_port),
            "COLLECTOR_HTTP_PORT": str(self.http_port),
            "COLLECTOR_HEALTH_PORT": str(self.health_port),
            "COLLECTOR_UPSTREAM": self._upstream,
            "COLLECTOR_FILES": str(self.folder),
        }

    def command(self) -> list[str | Path]:
        files = [CONFIGS / "agent.yaml", *(CONFIGS / overlay for overlay in self._overlays)]
        return [self._program, *(f"--config=file:{file}" for file in files)]

    def is_ready(self) -> bool:
        return answers(self.health_port, "/")


def send_one_span(port: int, name: str) -> None:
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}", insecure=True)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("test").start_span(name).end()
    provider.shutdown()


@pytest.mark.parametrize("overlays", [(), ("agent-to-file.yaml",), ("agent-to-log.yaml",)])
def test_configurations_are_valid(overlays: tuple[str, ...]) -> None:
    """The Collector itself finds nothing wrong with the files, nor with their defaults."""
    files = [CONFIGS / name for name in ("agent.yaml", *overlays)]
    answer = subprocess.run(
        [need("collector"), "validate", *(f"--config=file:{file}" for file in files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


def test_the_agent_passes_spans_on(tmp_path: Path) -> None:
    """What a service sends to the agent arrives at the gateway that COLLECTOR_UPSTREAM names."""
    with Collector(tmp_path / "gateway") as gateway:
        upstream = f"127.0.0.1:{gateway.grpc_port}"
        with Agent(tmp_path / "agent", upstream=upstream) as agent:
            send_one_span(agent.grpc_port, "passed-on")
            wait_until(lambda: gateway.spans("passed-on"))


def test_the_agent_writes_files(tmp_path: Path) -> None:
    """With the overlay, traces.jsonl holds what was sent."""
    with Agent(tmp_path, "agent-to-file.yaml") as agent:
        send_one_span(agent.grpc_port, "written")
    assert '"name":"written"' in (tmp_path / "traces.jsonl").read_text()


def test_the_agent_prints(tmp_path: Path) -> None:
    """With the overlay, the Collector's log shows what was sent."""
    with Agent(tmp_path, "agent-to-log.yaml") as agent:
        send_one_span(agent.grpc_port, "printed")
    assert "printed" in agent.log()
