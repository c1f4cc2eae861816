"""Where spans are sent to under an exporting load: a real Collector, or a sink in its place."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

_ROOT = Path(__file__).parents[1]


class Sink:
    """`bench.sink` in a process of its own; a context manager."""

    name = "HTTP sink"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sink"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("", timeout=10)

    def received(self) -> int:
        """Return the spans received so far."""
        return int(json.loads(_get(f"{self.endpoint}/counts"))["spans"])


class Collector:
    """A real Collector that drops what it receives; a context manager.

    Args:
        program: the binary that `scripts/build-collector.sh` makes.
    """

    name = "OpenTelemetry Collector"

    def __init__(self, program: Path) -> None:
        self._program = program

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory()
        port, self._own_port = _free_port(), _free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        reader = {"pull": {"exporter": {"prometheus": _at(self._own_port)}}}
        config = {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
            "exporters": {"debug": {"verbosity": "basic", "sampling_initial": 0}},
            "service": {
                "telemetry": {"logs": {"level": "error"}, "metrics": {"readers": [reader]}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}},
            },
        }
        file = Path(self._folder.name, "collector.json")
        file.write_text(json.dumps(config))
        self._log = Path(self._folder.name, "log").open("wb")
        self._process = subprocess.Popen(
            [str(self._program), "--config", str(file)], stdout=self._log, stderr=self._log
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.received()
                return self
            except (urllib.error.URLError, OSError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = Path(self._log.name).read_text()
                    self.__exit__()
                    raise RuntimeError(f"the Collector did not start: {said[-2000:]}") from None
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
        self._folder.cleanup()

    def received(self) -> int:
        """Return the spans received so far, from the Collector's own metrics."""
        text = _get(f"http://127.0.0.1:{self._own_port}/metrics")
        found = re.findall(r"^otelcol_receiver_accepted_spans\S* (\S+)$", text, re.MULTILINE)
        return int(sum(map(float, found)))


def best_receiver() -> Sink | Collector:
    """Return a Collector where one is built, else a sink."""
    script = _ROOT / "scripts" / "build-collector.sh"
    found = subprocess.run([str(script), "--path"], capture_output=True, text=True, check=False)
    return Collector(Path(found.stdout.strip())) if found.returncode == 0 else Sink()


def _at(port: int) -> dict[str, object]:
    return {"host": "127.0.0.1", "port": port}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read().decode())
