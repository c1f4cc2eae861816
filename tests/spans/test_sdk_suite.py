"""OpenTelemetry's own tests of tracing, run on our provider in the place of the SDK's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parts import ROOT, unavailable

pytestmark = [pytest.mark.patient, pytest.mark.timeout(300)]

_ADAPTER = ROOT / "tests" / "support" / "sdk_suite"
_FETCH = ROOT / "scripts" / "fetch_sdk_tests.py"


def _sdk_tests() -> Path:
    told = subprocess.run(
        [sys.executable, _FETCH, "--path"], capture_output=True, text=True, check=False
    )
    if told.returncode:
        unavailable(f"the SDK's own tests: {told.stderr.strip()}")
    return Path(told.stdout.strip())


def test_the_sdks_own_tests_of_tracing_pass_on_our_provider():
    """All of them, but for what they ask of private names; those are expected to fail."""
    path = [str(_ADAPTER), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        # Some start `python` by its name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider"),
            *("-p", "sdk_suite_plugin", "--rootdir", ".", "-c", os.devnull, "tests/trace"),
        ],
        cwd=_sdk_tests(),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    summary = done.stdout.strip().splitlines()[-1]
    assert int(summary.split(" passed")[0]) > 200, summary
