"""A setting does what its row says, also to what was recorded before `configure()`."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_studio
from otel_studio.settings.loading import load_settings

BEFORE_CONFIGURE = """
import otel_studio
users = otel_studio.cache("users")
users.hit("alice@example.com", duration=2.0)
print("alice" in users.performance().to_json())
otel_studio.configure(cache_keys="hash", gpu=False, process=False)
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


SPANS = [
    ("opentelemetry.instrumentation.fastapi", "GET /clips http send"),
    ("opentelemetry.instrumentation.fastapi", "GET /clips http receive"),
    ("opentelemetry.instrumentation.fastapi", "GET /clips"),
    ("shop", "GET /health"),
    ("shop", "pay"),
]
NAMES = [name for _, name in SPANS]


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (None, ["GET /clips", "GET /health", "pay"]),
        ((), NAMES),
        ("GET /health", [name for name in NAMES if name != "GET /health"]),
        (("*http*", "shop/*"), ["GET /clips"]),
        (("shop/GET *", "pay*"), [name for service, name in SPANS if service != "shop"]),
        ("get /health", NAMES),
    ],
    ids=["default", "none", "a name", "services", "service and name", "another case"],
)
def test_the_operations_that_are_ignored(patterns, left):
    """They are in no query, no scrape and no export; only their number is known."""
    exporter = InMemorySpanExporter()
    with otel_studio.isolated(ignored_operations=patterns) as s:
        s.studio.add_span_exporter(exporter)
        for service, name in SPANS:
            with trace.get_tracer(service).start_as_current_span(name):
                running = [each.operation for each in otel_studio.api.get_active_operations()]
                assert running == [name] * (name in left)
        summaries = otel_studio.api.get_all_metrics()
        counted = {name for each in summaries for name in each.operation_metrics}
        assert counted == set(left)
        assert {run.operation for run in s.runs()} == set(left)
        assert s.studio.force_flush()
        assert {span.name for span in exporter.get_finished_spans()} == set(left)
        text = otel_studio.api.export_metrics_prometheus()
        scraped = re.findall(r'duration_seconds_count\{.*studio_operation="([^"]*)"', text)
        assert sorted(scraped) == sorted(left)
        ignored = re.findall(r"\notel_studio_self_spans_ignored_total\{.*\} (\d+)", text)
        assert sum(map(int, ignored)) == len(NAMES) - len(left)


def test_the_errors_that_are_expected_everywhere(monkeypatch):
    """By keyword or variable, whoever raises them; the next configuration has its own."""
    monkeypatch.setenv("OTEL_STUDIO_EXPECTED_ERRORS", "LookupError, shop.Missing")
    shop = otel_studio.service("shop")

    def errors(**settings) -> int:
        with otel_studio.isolated(**settings) as s:
            with pytest.raises(KeyError), shop.operation("find"):
                raise KeyError("gone")
            return s.operation("shop", "find").errors

    assert errors(expected_errors=("LookupError",)) == 0
    assert errors(expected_errors=()) == 1
    loaded = load_settings(os.environ, "/")
    assert loaded.expected_errors == ("LookupError", "shop.Missing")
    assert errors(expected_errors=loaded.expected_errors) == 0


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
