"""A setting does what its row says, also to what was recorded before `configure()`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import otel_studio

BEFORE_CONFIGURE = """
import otel_studio
users = otel_studio.cache("users")
users.hit("alice@example.com", duration=2.0)
print("alice" in users.performance().to_json())
otel_studio.configure(cache_keys="hash", gpu=False, resources=False)
users.hit("alice@example.com", duration=2.0)
[record] = otel_studio.api.get_cache_performance_metrics("users")
print(record.hits, "alice" in record.to_json(), len(record.top_accessed_keys))
"""


def test_the_length_of_captured_arguments():
    """Text is cut at the setting, and at the default again outside the block."""

    @otel_studio.track("open", service="files", capture_args=("path",))
    def open_file(path):
        return path

    with otel_studio.isolated(captured_argument_length=10) as s:
        open_file("x" * 100)
        assert s.runs("files", "open")[0].attributes["studio.argument.path"] == "x" * 9 + "…"
    with otel_studio.isolated() as s:
        open_file("x" * 100)
        assert s.runs("files", "open")[0].attributes["studio.argument.path"] == "x" * 100


def test_the_number_of_services():
    """Services past the limit are counted together, and none is lost."""
    with otel_studio.isolated(max_services=3) as s:
        for number in range(10):
            otel_studio.service(f"service-{number}").record_operation("run", duration=0.1)
        summaries = {each.service_name: each for each in otel_studio.api.get_all_metrics()}
        assert sum(each.total_operations for each in summaries.values()) == 10
        assert len(summaries) <= 4
        assert summaries["__other__"].total_operations >= 6
        assert s.runs("service-0")


def test_the_number_of_recent_runs():
    """Each operation keeps that many, the last ones."""
    with otel_studio.isolated(recent_runs_per_operation=2) as s:
        for number in range(5):
            otel_studio.service("shop").record_operation("pay", duration=float(number))
        assert [run.duration_ms for run in s.runs("shop", "pay")] == [4000.0, 3000.0]


@pytest.mark.parametrize("policy", ["hash", "drop"])
def test_what_is_kept_of_cache_keys(policy):
    """No text of a key comes out of any query."""
    with otel_studio.isolated(cache_keys=policy):
        otel_studio.cache("users").hit("alice@example.com", duration=2.0)
        [record] = otel_studio.api.get_cache_performance_metrics("users")
        assert record.hits == 1
        assert "alice" not in record.to_json()


def test_the_number_of_caches():
    """Caches past the limit are recorded together."""
    with otel_studio.isolated(max_caches=2):
        for number in range(5):
            otel_studio.cache(f"cache-{number}").hit("key")
        records = {each.cache: each for each in otel_studio.api.get_cache_performance_metrics()}
        assert records.keys() == {"__other__", "cache-0", "cache-1"}
        assert records["__other__"].hits == 3


def test_what_was_recorded_before_configure_follows_its_settings():
    """A cache counts before `configure()`; its keys' text goes when the settings say so."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_CONFIGURE], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "2", "False", "1"]
