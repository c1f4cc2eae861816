"""`configure` and `shutdown`: once, twice, with something in the way."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import otel_studio
from otel_studio import api
from otel_studio.base import guard, otel_private
from otel_studio.operations import seat
from otel_studio.queries import Queries
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


@pytest.mark.parametrize(
    "again",
    [
        {},
        {"service_name": "shop"},
        {"export_batch_size": 10_000},
        {"traces_exporter": "console", "resource_attributes": {"team": "media"}},
        {"sampler_arg": 0.5, "service_name": None},
    ],
    ids=lambda again: ",".join(again) or "nothing",
)
def test_a_second_call_compares_what_it_is_given_alone(again, monkeypatch, caplog):
    """Whatever the environment says by then, and whatever else the first call was given."""
    first = otel_studio.configure(
        service_name="shop",
        resource_attributes={"team": "media", "zone": "a"},
        traces_exporter=["console"],
        export_queue_size=20_000,
        export_batch_size=10_000,
        sampler="traceidratio",
        sampler_arg=0.5,
    )
    monkeypatch.setenv("OTEL_STUDIO_LOG_RATE", "77")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "soon")
    assert otel_studio.configure(**again) is first
    assert caplog.text == ""


def test_no_secret_is_shown_where_settings_differ(caplog):
    """The setting is named, the values are not."""
    otel_studio.configure(redact_patterns=("tok-1",), resource_attributes={"api_key": "k-1"})
    otel_studio.configure(redact_patterns=("tok-2",), resource_attributes={"api_key": "k-2"})
    [record] = caplog.records
    assert "redact_patterns is <hidden>, not <hidden>" in record.getMessage()
    assert "resource_attributes is {'api_key': <hidden>}" in record.getMessage()
    assert "tok-" not in record.getMessage()
    assert "k-1" not in record.getMessage()


def test_an_unusable_value_is_refused_in_the_second_call_too():
    """It is the caller's own slip, at the place where it was made."""
    otel_studio.configure()
    with pytest.raises(otel_studio.ConfigurationError, match="log_rate=0 cannot be used"):
        otel_studio.configure(log_rate=0)


def test_current_is_the_studio_that_runs_or_none():
    """Before, while and after; an isolated one stands in front of it."""
    assert otel_studio.current() is None
    studio = otel_studio.configure()
    assert otel_studio.current() is studio
    with otel_studio.isolated() as s:
        assert otel_studio.current() is s.studio
    assert otel_studio.current() is studio
    otel_studio.shutdown()
    assert otel_studio.current() is None


def test_force_flush_sends_what_has_ended_and_says_whether_it_could():
    """A span is with its exporter when it returns; one that is refused makes it `False`."""

    class Exporter(SpanExporter):
        def __init__(self, answer):
            self.answer = answer
            self.names = []

        def export(self, spans):
            self.names += [span.name for span in spans]
            return self.answer

    assert otel_studio.force_flush() is True  # nothing waits where nothing runs
    taking = Exporter(SpanExportResult.SUCCESS)
    studio = otel_studio.configure()
    studio.add_span_exporter(taking)
    with otel_studio.service("cache").operation("get"):
        pass
    assert otel_studio.force_flush(timeout=5) is True
    assert taking.names == ["get"]
    studio.add_span_exporter(Exporter(SpanExportResult.FAILURE))
    with otel_studio.service("cache").operation("get"):
        pass
    assert otel_studio.force_flush() is False
    assert taking.names == ["get", "get"]
    assert otel_studio.force_flush() is True  # what failed is counted as dropped, and gone


def test_force_flush_returns_in_time_where_a_backend_hangs():
    """The exporter is left to itself; the answer says that not everything went."""
    released = threading.Event()

    class Hanging(SpanExporter):
        def export(self, spans):
            released.wait(30)
            return SpanExportResult.SUCCESS

    otel_studio.configure().add_span_exporter(Hanging())
    with otel_studio.service("cache").operation("get"):
        pass
    began = time.monotonic()
    assert otel_studio.force_flush(timeout=0.05) is False
    assert time.monotonic() - began < 5
    released.set()


def test_asking_for_the_current_studio_loads_no_sdk(tmp_path):
    """A library may ask, in a program that never configures anything."""
    ended = run_program(
        tmp_path,
        """
        import sys
        import otel_studio
        print(otel_studio.current(), otel_studio.force_flush())
        print(any(name.startswith("opentelemetry.sdk") for name in sys.modules))
        """,
    )
    assert ended.printed == "None True\nFalse\n"


def test_what_a_program_meets_says_what_it_is():
    """A debugger shows the name and the state, and no address."""
    studio = otel_studio.configure(service_name="shop", traces_exporter="console")
    assert repr(studio) == "<Studio 'shop' running; traces to console>"
    cache = otel_studio.service("cache-service")
    assert repr(cache) == "Service('cache-service')"
    probe = cache.track_memory(b"1234")
    assert repr(probe) == "MemoryProbe('cache-service', bytes)"
    probe.close()
    assert repr(otel_studio.cache("previews", service="media")) == (
        "CacheHandle('previews', service='media')"
    )
    assert repr(studio.caches.cache("previews", "media")) == "Cache('previews', service='media')"
    assert repr(Queries(studio)) == f"Queries({studio!r})"
    thresholds = api.set_memory_alert_thresholds({"max_memory_mb": 5})
    assert "max_memory_mb=5" in repr(thresholds)
    with otel_studio.isolated(service_name="test") as s:
        assert repr(s) == "<Isolated <Studio 'test' running>>"
    otel_studio.shutdown()
    assert repr(studio) == "<Studio 'shop' stopped; traces to console>"
    assert repr(otel_studio.configure(sdk_disabled=True)) == "<Studio 'unknown_service' disabled>"


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
