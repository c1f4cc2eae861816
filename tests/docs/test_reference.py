"""The reference pages name all that is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import otel_studio
from otel_studio import api

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def test_the_table_of_queries_is_the_api():
    """Every query has its row."""
    queries = {name for name in api.__all__ if name[0].islower()}
    named = re.findall(r"^\| \[`(\w+)`\]", (REFERENCE / "queries.md").read_text(), re.MULTILINE)
    assert set(named) == queries


def test_the_page_of_python_names_all_public_names():
    """Whatever `import otel_studio` offers is described."""
    described = re.findall(
        r"^::: otel_studio\.(?:\w+\.)?(\w+)", (REFERENCE / "python.md").read_text(), re.MULTILINE
    )
    assert set(described) >= set(otel_studio.__all__) - {"__version__", "api"}


def test_the_pages_made_from_code_are_current():
    """Settings and telemetry are written by a script, from the code as it is."""
    done = subprocess.run(
        [sys.executable, "scripts/reference_pages.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
