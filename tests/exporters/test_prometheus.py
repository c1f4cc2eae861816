"""`/metrics`: the same metrics that OpenTelemetry's reader gives, valid in both text formats."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import otel_studio
from otel_studio import api
from otel_studio.assembly.studio import Studio
from otel_studio.base import guard
from otel_studio.base.clock import ManualClock
from otel_studio.exporters.prometheus import PrometheusExporter
from otel_studio.lifecycle import overriding
from otel_studio.settings.loading import load_settings
from otel_studio.testing.isolation import isolated

from parts import free_port
from prometheus_server import promtool_says

STRANGE = 'a "quoted" \\ name\nin two lines'


def work() -> None:
    shop = otel_studio.service("shop")
    for seconds in (0.0001, 0.02, 0.02, 3.0, 100.0):
        shop.record_operation("pay", duration=seconds)
    shop.record_operation("pay", duration=0.5, error=KeyError("x"))
    otel_studio.service(STRANGE).record_operation(STRANGE, duration=1)
    shop.start_operation("lost")
    with pytest.raises(GeneratorExit), shop.operation("stopped"):
        raise GeneratorExit


def samples(families: Any) -> dict[Any, float]:
    return {
        (sample.name, frozenset((k, v) for k, v in sample.labels.items() if v)): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("otel_studio_operation")
    }


def test_the_text_says_what_the_reader_would() -> None:
    """Every sample of OpenTelemetry's exporter is there with its labels and value, and no other."""
    collectors = CollectorRegistry()
    reader = PrometheusMetricReader(registry=collectors)
    with isolated(clock=ManualClock(), metric_readers=[reader]):
        work()
        tracker = otel_studio.service("shop").start_operation("pay")
        expected = samples(parse_text(generate_latest(collectors).decode()))
        found = samples(parse_text(api.export_metrics_prometheus()))
        assert len(found) > 50
        assert found == pytest.approx(expected)
        tracker.complete()


def test_openmetrics_carries_exemplars() -> None:
    """A bucket names the trace of its latest sampled run; the text ends as the format demands."""
    with isolated(clock=ManualClock()) as s:
        work()
        s.studio.prometheus_text()
        assert s.studio.prometheus is not None
        text = s.studio.prometheus.text(openmetrics=True)
        families = {family.name: family for family in parse_openmetrics(text)}
        exemplars = {
            sample.labels["le"]: sample.exemplar
            for sample in families["otel_studio_operation_duration_seconds"].samples
            if sample.labels.get("studio_operation") == "pay"
            and "error_type" not in sample.labels
            and sample.exemplar is not None
        }
        assert set(exemplars) == {"0.0005", "0.025", "5.0", "+Inf"}
        assert exemplars["5.0"].value == 3
        traces = {run.trace_id for run in api.get_recent_operations()}
        assert {exemplar.labels["trace_id"] for exemplar in exemplars.values()} <= traces


def test_promtool_finds_nothing_to_say() -> None:
    """Names, types and help texts pass Prometheus' own check."""
    with isolated() as s:
        work()
        text = s.studio.prometheus_text()
    assert promtool_says(text) == []


CONFIGURED = """
import otel_studio as studio
from otel_studio import api
studio.configure(service_name="shop")
with studio.service("a").operation("b"):
    pass
cache = studio.cache("previews", service="a")
cache.miss("k")
cache.set("k", size=1)
print(api.export_metrics_prometheus())
"""
#: OpenTelemetry names them so.
COUNTS_OF_ITS_OWN = {"process_thread_count", "process_unix_file_descriptor_count"}


def test_promtool_says_of_a_fresh_process_only_what_opentelemetry_named() -> None:
    """Process, system, garbage collector and caches included."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    text = subprocess.run(
        [sys.executable, "-c", CONFIGURED], capture_output=True, text=True, check=True, env=environ
    ).stdout
    assert "otel_studio_cache" in text
    said = [line.split(maxsplit=1) for line in promtool_says(text)]
    assert {name for name, _ in said} <= COUNTS_OF_ITS_OWN
    assert all('should not have "_count" suffix' in words for _, words in said)


def http(url: str, **headers: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as r:
            return r.status, r.headers["Content-Type"], r.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def served() -> Studio:
    return Studio(
        load_settings({}, "/", metrics_exporter="prometheus", prometheus_port=0),
        clock=ManualClock(),
    )


def test_the_endpoint_answers_in_the_format_that_is_asked_for() -> None:
    """`/metrics` on loopback, text by default, OpenMetrics where the scraper accepts it."""
    with overriding(served()) as studio:
        work()
        assert studio.prometheus is not None
        address = studio.prometheus.address
        assert address is not None
        assert address.startswith("http://127.0.0.1:")
        status, kind, text = http(address)
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert samples(parse_text(text)) == samples(parse_text(studio.prometheus_text()))
        status, kind, text = http(address, Accept="application/openmetrics-text;version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert text.endswith("# EOF\n")
        assert http(address.replace("/metrics", "/other"))[0] == 404
    with pytest.raises(urllib.error.URLError):
        http(address)


def test_a_port_in_use_is_said_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The second process says which port is taken and what to set; its statistics go on."""
    guard.forget_said()
    with overriding(served()) as first:
        assert first.prometheus is not None
        assert first.prometheus.address is not None
        port = int(first.prometheus.address.rpartition(":")[2].partition("/")[0])
        settings = load_settings({}, "/", metrics_exporter="prometheus", prometheus_port=port)
        with overriding(Studio(settings)) as second:
            assert second.prometheus is not None
            assert second.prometheus.address is None
            otel_studio.service("shop").record_operation("pay", duration=1)
            assert "otel_studio_operation_duration" in api.export_metrics_prometheus()
    (said,) = [r.getMessage() for r in caplog.records if str(port) in r.getMessage()]
    assert "OTEL_EXPORTER_PROMETHEUS_PORT" in said


def test_a_scrape_that_fails_answers_500_and_is_counted() -> None:
    """A failure of ours is no traceback in the program's output."""
    guard.forget_said()

    class Broken:
        def text(self, openmetrics: bool = False) -> str:
            raise RuntimeError("broken")

    exporter = PrometheusExporter(Broken())  # type: ignore[arg-type]
    assert exporter.serve("127.0.0.1", free_port())
    assert exporter.address is not None
    assert http(exporter.address)[0] == 500
    exporter.close()
    assert guard.internal_errors == {"answering a scrape": 1}


def test_scrapes_side_by_side_are_whole() -> None:
    """Each of several scrapes at a time shows every instrument once, not twice or never."""
    with isolated() as s:
        api.export_metrics_prometheus()
        s.meter_provider.get_meter("shop").create_counter("sold").add(1)
        assert s.studio.prometheus is not None
        collector = s.studio.prometheus.reader._collector
        add = collector.add_metrics_data

        def add_and_give_way(data: Any) -> None:
            add(data)
            time.sleep(0.001)  # another thread's turn, where one could take what is not its own

        collector.add_metrics_data = add_and_give_way
        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(lambda _: api.export_metrics_prometheus(), range(80)))
    assert {text.count("\nsold_total{") for text in texts} == {1}


def test_labels_of_the_programs_own_that_are_no_unicode_stop_no_scrape() -> None:
    """Those of its instruments, their descriptions, and of what counts its log records."""
    studio = Studio(load_settings({}, "/", logging=True, resource_attributes={"host": "h\udcff"}))
    with overriding(studio):
        assert studio.logs is not None
        studio.logs.start()
        studio.prometheus_text()
        assert studio.prometheus is not None
        assert studio.prometheus.serve("127.0.0.1", free_port())
        counter = studio.meter_provider.get_meter("shop\udcff").create_counter("sold", "", "\udcff")
        counter.add(1, {"which": "a\udcff", "\udcff": "b"})
        with otel_studio.service("shop").operation("read a\udcff.txt"):
            logging.getLogger("shop").warning("working on \udcff")
        assert studio.prometheus.address is not None
        status, _, body = http(studio.prometheus.address)
        studio.logs.stop()
        studio.shutdown()
    assert status == 200
    assert 'which="a�"' in body
    assert 'host="h�"' in body
    assert re.search(r'log_records_total\{.*studio_operation="read a�.txt"', body)


def test_a_name_that_is_no_unicode_leaves_the_endpoint_readable() -> None:
    """A lone surrogate, as in a file's name that was not decoded, is replaced."""
    studio = Studio(load_settings({}, "/"))
    with overriding(studio):
        otel_studio.service("shop").record_operation("read a\udcff.txt", duration=1)
        studio.prometheus_text()
        assert studio.prometheus is not None
        assert studio.prometheus.serve("127.0.0.1", free_port())
        assert studio.prometheus.address is not None
        status, _, body = http(studio.prometheus.address)
    assert status == 200
    assert 'studio_operation="read a�.txt"' in body
