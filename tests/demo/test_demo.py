"""The demo as a newcomer runs it: it starts, shows, serves `/metrics`, and ends cleanly."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from child_process import answers, http_get
from parts import ROOT, free_port, wait_until


@contextmanager
def demo(output: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the demo with its output in a file; kill it should the test fail."""
    environment = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    with output.open("wb") as file:
        running = subprocess.Popen(
            [sys.executable, "-m", "examples.demo", *arguments],
            cwd=ROOT,
            env={**environment, "COLUMNS": "80", "PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def address(output: Path, name: str) -> tuple[int, str]:
    """Return the port and path that the demo printed beside a name, once it has."""
    printed = wait_until(
        lambda: re.search(
            rf"^{name} +http://127\.0\.0\.1:(\d+)(/\S*)$", output.read_text(), re.MULTILINE
        ),
        30,
        f"the address of {name}",
    )
    assert printed is not None
    return int(printed[1]), printed[2]


def operations(dump: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (service["service_name"], name): metrics
        for service in json.loads(dump.read_text())
        for name, metrics in service["operation_metrics"].items()
    }


def test_it_ends_by_itself_with_real_figures(tmp_path: Path) -> None:
    """Five seconds give runs of every kind, errors from the damaged clips, and nothing active."""
    output, dump = tmp_path / "output.txt", tmp_path / "dump.json"
    with demo(output, "--for", "5", "--dump", str(dump)) as running:
        port, path = address(output, "Metrics")
        series = "otel_studio_operation_duration_seconds_count"
        wait_until(lambda: answers(port, path) and series in http_get(port, path)[1], 20, series)
        service_port, _ = address(output, "Service")
        status, text = http_get(service_port, "/studio/get_all_metrics")
        assert status == 200
        assert any(service["total_operations"] for service in json.loads(text))
        assert answers(service_port, "/docs")
        assert running.wait(40) == 0, output.read_text()

    text = output.read_text()
    assert "Traceback" not in text
    assert max(map(len, text.splitlines())) <= 80
    for heading in ("Slowest runs", "Errors", "Caches", "Encodes", "Memory", "Logs"):
        assert heading in text
    assert "hunter2" not in text
    assert "caf� �[31m[bold]" in text
    done = re.search(r"Encodes: (\d+) done with (\d+) frames, 0 failed", text)
    assert done is not None
    assert int(done[2]) > int(done[1]) > 0
    assert re.search(r"\d+ fps  (libx264|mpeg4) \d+x\d+, \d+ frames", text)
    assert re.search(r"^    trace [0-9a-f]{32}, ", text, re.MULTILINE)
    found = operations(dump)
    for service, operation in [
        ("preview-service", "generate_preview"),
        ("media-service", "decode_frames"),
        ("media-service", "resize_frame"),
        ("media-service", "encode_preview"),
        ("ffmpeg", "encode"),
        ("ffmpeg", "decode"),
        ("job-queue", "wait_in_queue"),
        ("preview-store", "PreviewStore.save_preview"),
        ("opentelemetry.instrumentation.fastapi", "GET /previews/{clip_id}"),
        ("opentelemetry.instrumentation.sqlalchemy", "INSERT"),
        ("odd-jobs", "say_by_loguru"),
        ("odd-jobs", "pickled"),
        ("odd-jobs", "caf� �[31m[bold]=1+1.mp4"),
    ]:
        assert found[service, operation]["count"] > 0, (service, operation)
    generated, decoded = (
        found["preview-service", "generate_preview"],
        found["media-service", "decode_frames"],
    )
    assert 0 < generated["errors"] < generated["count"]
    assert decoded["errors"] == generated["errors"]
    assert "InvalidDataError" in generated["last_error"]
    assert found["preview-service", "stream_frames"]["cancelled"] > 0
    assert found["clip-library", "find_clip"]["errors"] == 0
    assert {metrics["active"] for metrics in found.values()} == {0}


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_with_the_summary(tmp_path: Path, number: signal.Signals) -> None:
    """Interrupted in the middle of its load, the demo still sums up and leaves with status 0."""
    output = tmp_path / "output.txt"
    with demo(output) as running:
        port, path = address(output, "Metrics")
        wait_until(lambda: "wait_in_queue" in http_get(port, path)[1], 30, "the first jobs")
        running.send_signal(number)
        assert running.wait(20) == 0, output.read_text()
    text = output.read_text()
    assert "Slowest runs" in text
    assert "Traceback" not in text


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_while_it_starts_leaves_no_traceback(tmp_path: Path) -> None:
    """Whoever changes their mind at once is not shown a stack."""
    output = tmp_path / "output.txt"
    with demo(output) as running:
        address(output, "Service")
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0, output.read_text()
    assert "Traceback" not in output.read_text()


def test_ports_in_use(tmp_path: Path) -> None:
    """Unasked, the demo moves to free ports; a port that was asked for is refused in a sentence."""
    output = tmp_path / "output.txt"
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        with demo(output, "--port", str(port)) as running:
            assert running.wait(30) == 1
    (line,) = output.read_text().splitlines()
    assert line.startswith(f"Port {port} cannot be used")
    assert line.endswith("give another --port.")

    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    with demo(first):
        ports = {address(first, name) for name in ("Service", "Metrics")}
        with demo(second):
            ports |= {address(second, name) for name in ("Service", "Metrics")}
    assert len({port for port, _ in ports}) == 4
