"""`configure` and `shutdown`: once, twice, with something in the way."""

from __future__ import annotations

import json
import logging
import socket

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import otel_studio
from otel_studio import api
from otel_studio.base import guard, otel_private
from otel_studio.operations import seat
from otel_studio.spans.provider import StudioTracerProvider

from parts import free_port
from program import run_program


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch, tmp_path):
    """Each test configures the process anew, and leaves nothing of it behind."""
    tracers, meters = otel_private.global_tracer_provider(), otel_private.global_meter_provider()
    otel_private.replace_global_tracer_provider(None)
    otel_private.replace_global_meter_provider(None)
    monkeypatch.chdir(tmp_path)
    guard.forget_said()
    yield
    otel_studio.shutdown()
    otel_private.replace_global_tracer_provider(tracers)
    otel_private.replace_global_meter_provider(meters)


def test_the_providers_are_global_and_operations_are_counted():
    """After `configure()`, OpenTelemetry's API, `track` and the queries are one."""
    studio = otel_studio.configure(service_name="shop")
    assert trace.get_tracer_provider() is studio.tracer_provider
    assert isinstance(studio.tracer_provider, StudioTracerProvider)
    assert metrics.get_meter_provider() is studio.meter_provider
    with trace.get_tracer("contrib").start_as_current_span("query"):
        pass
    with otel_studio.service("cache").operation("get"):
        pass
    assert {s.service_name for s in api.get_all_metrics() if s.total_operations} == {
        "contrib",
        "cache",
    }
    assert studio.resource.attributes["service.name"] == "shop"


def test_twice_with_the_same_settings_does_nothing(caplog):
    """The second call returns the first Studio and logs nothing."""
    first = otel_studio.configure(service_name="shop")
    assert otel_studio.configure(service_name="shop") is first
    assert caplog.text == ""


def test_twice_with_other_settings_says_what_differs(caplog):
    """One sentence names the setting with both values; the first ones stay."""
    first = otel_studio.configure(service_name="shop", recent_runs_per_operation=5)
    again = otel_studio.configure(service_name="bakery", recent_runs_per_operation=5)
    assert again is first
    assert again.settings.service_name == "shop"
    [record] = caplog.records
    assert "service_name" in record.getMessage()
    assert "'bakery'" in record.getMessage()
    assert "recent_runs" not in record.getMessage()


def test_shutdown_can_be_called_at_any_time():
    """Before `configure`, after it, and again: it answers True and does nothing more."""
    assert otel_studio.shutdown() is True
    otel_studio.configure()
    assert otel_studio.shutdown() is True
    assert otel_studio.shutdown() is True
    with pytest.raises(otel_studio.NotConfigured):
        api.get_all_metrics()
    with otel_studio.service("cache").operation("get"):
        pass  # harmless afterwards


def test_a_shutdown_whose_last_export_fails_answers_false():
    """Nothing hangs and nothing raises, and all the same the spans were not sent: it says so."""

    class Refusing(SpanExporter):
        def export(self, spans):
            return SpanExportResult.FAILURE

    studio = otel_studio.configure()
    studio.add_span_exporter(Refusing())
    with otel_studio.service("cache").operation("get"):
        pass
    assert otel_studio.shutdown() is False


def test_configured_again_after_a_shutdown():
    """A new Studio starts from zero, and operations that were bound before follow it."""
    otel_studio.configure(service_name="one")
    cache = otel_studio.service("cache")
    with cache.operation("get"):
        pass
    otel_studio.shutdown()
    studio = otel_studio.configure(service_name="two")
    assert trace.get_tracer_provider() is studio.tracer_provider
    with cache.operation("get"):
        pass
    found = api.get_service_metrics("cache")
    assert found is not None
    assert found.total_operations == 1


def test_a_port_in_use_is_said_and_nothing_else_fails(caplog):
    """`/metrics` cannot be served: one sentence with the way out; the text is there all the same.

    The rest of the program does not notice.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        otel_studio.configure(metrics_exporter=("prometheus",), prometheus_port=port)
        with otel_studio.service("cache").operation("get"):
            pass
        assert 'studio_operation="get"' in api.export_metrics_prometheus()
    [record] = caplog.records
    assert str(port) in record.getMessage()
    assert "OTEL_EXPORTER_PROMETHEUS_PORT" in record.getMessage()


def test_variables_out_of_range_are_said_and_the_default_is_used(monkeypatch, caplog):
    """A bad variable never keeps the program from starting: one sentence each."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-5")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "99999")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "soon")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "7")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    studio = otel_studio.configure()
    said = [record.getMessage() for record in caplog.records]
    for name in (
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "OTEL_EXPORTER_PROMETHEUS_PORT",
        "OTEL_METRIC_EXPORT_INTERVAL",
        "OTEL_TRACES_SAMPLER_ARG",
    ):
        assert len([sentence for sentence in said if f"{name}=" in sentence]) == 1, name
    assert studio.settings.export_queue_size > 0
    assert studio.settings.sampler_arg == 1.0


def test_variables_that_would_keep_the_sdk_from_starting(tmp_path):
    """The SDK raises for these when it is imported or used: one sentence each, and it starts."""
    ended = run_program(
        tmp_path,
        """
        import otel_studio
        otel_studio.configure()
        with otel_studio.service("cache").operation("get") as op:
            op.set_attribute("a", 1)
        print(otel_studio.api.get_service_metrics("cache").total_operations)
        """,
        OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="minus one",
        OTEL_SPAN_EVENT_COUNT_LIMIT="-1",
        OTEL_METRICS_EXEMPLAR_FILTER="sometimes",
        OTEL_TRACES_SAMPLER="sometimes",
    )
    assert ended.printed == "1\n"
    assert ended.code == 0
    assert "Traceback" not in ended.logged
    for name in (
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "OTEL_TRACES_SAMPLER",
    ):
        assert ended.logged.count(f"{name}=") == 1, ended.logged


def test_an_exporter_that_nobody_knows(monkeypatch, caplog):
    """As a variable it is said and left out; as a keyword it is refused where it was written."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nonesuch")
    otel_studio.configure()
    said = [record.getMessage() for record in caplog.records]
    assert len([sentence for sentence in said if "nonesuch" in sentence]) == 1
    with pytest.raises(otel_studio.ConfigurationError, match=r"nonesuch.*cannot be used: give"):
        otel_studio.configure(metrics_exporter=("nonesuch",))


class RaisingProcessor:
    """Raises wherever it is called."""

    def on_start(self, span, parent_context=None):
        raise RuntimeError("on_start")

    def on_end(self, span):
        raise RuntimeError("on_end")

    _on_ending = on_end

    def shutdown(self):
        raise RuntimeError("shutdown")

    def force_flush(self, timeout_millis=0):
        raise RuntimeError("force_flush")


class RaisingExporter:
    def export(self, spans):
        raise RuntimeError("export")

    def shutdown(self):
        raise RuntimeError("shutdown")

    def force_flush(self, timeout_millis=0):
        raise RuntimeError("force_flush")


def test_a_processor_and_an_exporter_that_raise(caplog):
    """The host sees nothing, each is logged once, later processors are called, counts are exact."""
    caplog.set_level(logging.WARNING)
    studio = otel_studio.configure()
    seen = []

    class Listening:
        def on_start(self, span, parent_context=None): ...

        def on_end(self, span):
            seen.append(span.name)

    studio.tracer_provider.add_span_processor(RaisingProcessor())
    studio.tracer_provider.add_span_processor(Listening())
    queue = studio.add_span_exporter(RaisingExporter())

    @otel_studio.track("work", service="shop")
    def work():
        return 1

    for _ in range(10):
        assert work() == 1
        with trace.get_tracer("contrib").start_as_current_span("query"):
            pass
    found = api.get_service_metrics("shop")
    assert found.operation_metrics["work"].count == 10
    assert found.active_operations == 0
    assert seen == ["work", "query"] * 10
    studio.tracer_provider.force_flush()
    otel_studio.shutdown()
    assert queue.dropped["export_failed"] == 20
    said = [record.getMessage() for record in caplog.records]
    assert len([s for s in said if "on_end of RaisingProcessor" in s]) == 1
    assert len([s for s in said if "exporter RaisingExporter" in s]) == 1


def test_a_disabled_sdk_records_nothing(monkeypatch):
    """`OTEL_SDK_DISABLED=true`: `track` works, and nothing is counted."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    otel_studio.configure()
    with otel_studio.service("cache").operation("get"):
        pass
    assert sum(s.total_operations for s in api.get_all_metrics()) == 0


def test_zero_code_from_the_environment(tmp_path):
    """`OTEL_STUDIO_INSTRUMENT` names the modules; `configure()` alone tracks them at import."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "jobs.py").write_text(
        "class Worker:\n    def run(self): return 1\nclass Idle:\n    def run(self): return 2\n"
    )
    (tmp_path / "shop" / "services.py").write_text("def price(): return 3\ndef _cost(): return 4\n")
    ended = run_program(
        tmp_path,
        """
        import json
        import otel_studio
        otel_studio.configure()
        from shop.jobs import Idle, Worker
        from shop import services
        Worker().run(), Idle().run(), services.price(), services._cost()
        from otel_studio import api
        found = api.get_all_metrics()
        print(json.dumps({s.service_name: sorted(s.operation_metrics) for s in found}))
        """,
        OTEL_STUDIO_INSTRUMENT="shop.services,shop.jobs:Worker",
    )
    assert ended.code == 0, ended.logged
    assert json.loads(ended.printed) == {"shop.jobs": ["Worker.run"], "shop.services": ["price"]}


def test_a_program_that_exits_without_shutdown_sends_what_it_has(tmp_path):
    """The interpreter's exit flushes spans and metrics, and the status is the program's."""
    ended = run_program(
        tmp_path,
        """
        import sys
        import otel_studio
        otel_studio.configure(service_name="shop")
        with otel_studio.service("cache").operation("get"):
            pass
        sys.exit(3)
        """,
        OTEL_TRACES_EXPORTER="console",
        OTEL_METRICS_EXPORTER="console",
    )
    assert ended.code == 3
    assert '"name": "get"' in ended.printed
    assert "otel_studio.operation.duration" in ended.printed
    assert ended.logged == ""


def test_ports_are_free_again_after_shutdown():
    """`/metrics` is served until `shutdown`, and its port can be bound again at once."""
    port = free_port()
    for _ in range(2):
        studio = otel_studio.configure(metrics_exporter=("prometheus",), prometheus_port=port)
        assert studio.prometheus.address == f"http://127.0.0.1:{port}/metrics"
        otel_studio.shutdown()
    assert seat.current().provider is None
