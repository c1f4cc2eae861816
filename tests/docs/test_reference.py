"""The reference pages name all that is there."""

from __future__ import annotations

import re
from pathlib import Path

import otel_studio
from otel_studio import api

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


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
    assert set(described) == set(otel_studio.__all__) - {"__version__", "api"}


def test_every_metric_of_operations_is_on_the_page():
    """The names that a program exports are looked up there."""
    from otel_studio.metrics.points import DESCRIPTIONS

    page = (REFERENCE / "telemetry.md").read_text()
    assert [name for name in DESCRIPTIONS if f"| `{name}` |" not in page] == []
