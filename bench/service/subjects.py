"""What the service runs under: nothing, OTel Studio, OpenTelemetry's distro, ddtrace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.service.processes import ROOT
from bench.service.rounds import NONE

_OTEL = {
    "OTEL_SERVICE_NAME": "bench",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    # Within every round, which the default of a minute is not.
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
}
_DDTRACE = {
    "DD_SERVICE": "bench",
    "DD_TRACE_API_VERSION": "v0.4",
    # What only a real agent answers.
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}


@dataclass(frozen=True)
class Subject:
    """One way to observe a service that knows nothing of it.

    Attributes:
        name: in the rounds.
        title: in the table.
        launcher: what starts in front of the program.
        environment: its settings.
        sink: the variable that says where the sink is.
        ours: whether it needs this tree installed.
    """

    name: str
    title: str
    launcher: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    sink: str = ""
    ours: bool = False


SUBJECTS = (
    Subject(NONE, "nothing"),
    Subject(
        "studio",
        "**OTel Studio**",
        ("opentelemetry-instrument",),
        {**_OTEL, "OTEL_PYTHON_DISTRO": "otel_studio"},
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        ours=True,
    ),
    Subject(
        "distro",
        "opentelemetry-distro",
        ("opentelemetry-instrument",),
        {**_OTEL, "OTEL_PYTHON_DISTRO": "distro"},
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    Subject("ddtrace", "ddtrace", ("ddtrace-run",), _DDTRACE, "DD_TRACE_AGENT_URL"),
)


def install_ours(folder: Path) -> None:
    """Install this tree into a folder for `PYTHONPATH`: entry points need it installed.

    Raises:
        RuntimeError: if pip could not.
    """
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"this tree could not be installed: {done.stderr.strip()}")
