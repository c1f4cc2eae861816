"""Runs the demo's service as a newcomer does, exporting, and returns what its registry counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parts import ROOT

Key = tuple[str, str]


def run_demo(folder: Path, environment: Mapping[str, str], seconds: float = 5) -> dict[Key, Any]:
    """Run the demo to its end.

    Args:
        folder: for the dump and the output.
        environment: the `OTEL_*` variables that say where telemetry goes.
        seconds: of load.

    Returns:
        the registry's figures of every operation at the end, by (service, operation).
    """
    dump = folder / "dump.json"
    command = [sys.executable, "-m", "examples.demo", "--for", str(seconds), "--dump", str(dump)]
    clean = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env={**clean, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return figures(dump)


def figures(dump: Path) -> dict[Key, Any]:
    """Return the operations of a dump by (service, operation)."""
    return {
        (service["service_name"], name): metrics
        for service in json.loads(dump.read_text())
        for name, metrics in service["operation_metrics"].items()
    }
