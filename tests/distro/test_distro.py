"""`opentelemetry-instrument` starts OTel Studio in front of a program that does not know of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

JOBS = """
def run():
    return 1

def fail():
    raise ValueError("no")
"""

PROGRAM = """
import json, sys
from opentelemetry import trace
from shop_jobs import fail, run

run()
try:
    fail()
except ValueError:
    pass
with trace.get_tracer("billing").start_as_current_span("charge"):
    pass

from otel_studio import api
print(json.dumps({s.service_name: sorted(s.operation_metrics) for s in api.get_all_metrics()}))
"""


@pytest.fixture
def start(tmp_path):
    """Run the program under `opentelemetry-instrument`; answer with what it printed and logged."""
    (tmp_path / "shop_jobs.py").write_text(JOBS)
    (tmp_path / "program.py").write_text(PROGRAM)

    def run(**variables: str) -> tuple[str, str]:
        environ = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
        command = Path(sys.executable).with_name("opentelemetry-instrument")
        done = subprocess.run(
            [command, sys.executable, "program.py"],
            cwd=tmp_path,
            env={**environ, "OTEL_PYTHON_DISTRO": "otel_studio", **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    return run


def test_spans_and_named_modules_are_seen_without_code(start):
    """Contrib-style spans and the modules that the variable names, and nothing is printed."""
    printed, logged = start(OTEL_STUDIO_INSTRUMENT="shop_jobs")
    assert json.loads(printed) == {"billing": ["charge"], "shop_jobs": ["fail", "run"]}
    assert "Traceback" not in logged


def test_nothing_leaves_the_process_unless_asked_for(start):
    """Without `OTEL_*_EXPORTER` no exporter is there; with it, it is."""
    printed, logged = start()
    assert len(printed.splitlines()) == 1
    assert "Traceback" not in logged
    printed, _ = start(OTEL_TRACES_EXPORTER="console")
    assert '"name": "charge"' in printed


def test_a_bad_variable_never_keeps_the_program_from_running(start):
    """One sentence in the log, and the program runs with the default."""
    printed, logged = start(OTEL_TRACES_SAMPLER="sometimes", OTEL_STUDIO_LOG_RATE="many")
    assert '"billing": ["charge"]' in printed
    assert "OTEL_TRACES_SAMPLER='sometimes' cannot be used" in logged
    assert "OTEL_STUDIO_LOG_RATE='many' cannot be used" in logged


def test_disabled_records_nothing(start):
    """`OTEL_SDK_DISABLED=true` is honoured."""
    printed, _ = start(OTEL_SDK_DISABLED="true", OTEL_STUDIO_INSTRUMENT="shop_jobs")
    assert json.loads(printed) == {}


@pytest.mark.parametrize("group", ["opentelemetry_distro", "opentelemetry_configurator"])
def test_the_entry_points_are_registered(group):
    """OpenTelemetry finds both by the name `otel_studio`."""
    [found] = entry_points(group=group, name="otel_studio")
    assert callable(found.load())


def test_the_distro_names_its_own_configurator(monkeypatch):
    """So that choosing the distribution is enough; an explicit choice stays."""
    from otel_studio.distro import StudioDistro

    monkeypatch.delenv("OTEL_PYTHON_CONFIGURATOR", raising=False)
    StudioDistro().configure()
    assert os.environ["OTEL_PYTHON_CONFIGURATOR"] == "otel_studio"
    monkeypatch.setenv("OTEL_PYTHON_CONFIGURATOR", "another")
    StudioDistro().configure()
    assert os.environ["OTEL_PYTHON_CONFIGURATOR"] == "another"
