"""Bring your own SDK: `configure()` attaches to providers that are set, and leaves them whole."""

from __future__ import annotations

import gc
import json
import logging
import weakref
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased

import otel_studio
from otel_studio import api
from otel_studio.base import guard
from otel_studio.testing.isolation import isolated

from both_providers import attached
from parts import need
from program import run_program

METRICS = {
    "otel_studio.operation.duration",
    "otel_studio.operation.active",
    "otel_studio.operation.abandoned",
    "otel_studio.operation.cancelled",
}


def work() -> None:
    """Do the same on any provider: two services, a failure, a cancellation, a dropped run."""
    cache = otel_studio.service("cache")
    with cache.operation("get"), cache.operation("load"):
        pass
    with pytest.raises(ValueError, match="no"), cache.operation("get"):
        raise ValueError("no")
    with cache.operation("get") as op:
        op.fail(GeneratorExit())
    cache.start_operation("get")  # dropped at once
    cache.record_operation("load", 2.0)
    with trace.get_tracer("contrib").start_as_current_span("query"):
        pass


def figures() -> dict[str, dict[str, tuple[int, ...]]]:
    return {
        s.service_name: {
            name: (m.count, m.errors, m.cancelled, m.abandoned, m.active)
            for name, m in s.operation_metrics.items()
        }
        for s in api.get_all_metrics()
        if s.operation_metrics
    }


def points(reader: InMemoryMetricReader) -> dict[str, set[tuple[tuple[str, str], ...]]]:
    """Each metric of the registry with the attribute sets of its points."""
    data = reader.get_metrics_data()
    return {
        metric.name: {tuple(sorted(point.attributes.items())) for point in metric.data.data_points}
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name in METRICS
    }


def test_the_registry_and_the_metrics_are_the_same(caplog):
    """Statistics, metric names and attributes on the SDK's provider equal those on ours."""
    with isolated():
        work()
        own = figures()
    with attached() as other:
        work()
        assert figures() == own
        found = points(other.reader)
    assert own == {
        "cache": {"get": (3, 1, 1, 1, 0), "load": (2, 0, 0, 0, 0)},
        "contrib": {"query": (1, 0, 0, 0, 0)},
    }
    assert set(found) == METRICS
    plain = (("studio.operation", "get"), ("studio.service", "cache"))
    assert found["otel_studio.operation.duration"] >= {
        plain,
        (("error.type", "ValueError"), *plain),
    }


def test_the_providers_stay_the_programs():
    """They are neither replaced nor shut down, and their exporters go on."""
    with attached() as other:
        provider = trace.get_tracer_provider()
        assert provider is other.tracer_provider
        assert type(provider) is TracerProvider
        other.studio.shutdown()
        with trace.get_tracer("contrib").start_as_current_span("later"):
            pass
        assert "later" in [span.name for span in other.spans]


def test_after_shutdown_everything_is_as_it_was_found():
    """Readers collect as before, samplers are the program's again, no span is counted."""
    sampler = TraceIdRatioBased(0.5)
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    early = provider.get_tracer("early")
    with attached(provider) as other:
        callback = other.reader._collect
        assert provider.sampler is not sampler
        work()
        other.studio.shutdown()
        before = other.registry.reading().services
        assert provider.sampler is sampler
        assert early.sampler is sampler
        assert provider.get_tracer("late").sampler is sampler
        assert other.reader._collect is not callback
        assert not set(points_or_nothing(other.reader)) & METRICS
        with early.start_as_current_span("later"):
            pass
        other.studio._ended.fold()
        assert other.registry.reading().services == before


def test_a_span_that_is_dropped_without_an_end_is_abandoned():
    """It leaves the active count, and nothing of it is kept, on the program's provider too."""
    with attached() as other:
        tracer = trace.get_tracer("contrib")
        held = tracer.start_span("lost")
        for _ in range(3):
            tracer.start_span("lost")
        tracer.start_span("lost").end()
        gc.collect()
        lost = api.get_service_metrics("contrib").operation_metrics["lost"]
        assert (lost.count, lost.abandoned, lost.active) == (1, 3, 1)
        held.end()
        del held
        gc.collect()
        lost = api.get_service_metrics("contrib").operation_metrics["lost"]
        assert (lost.count, lost.abandoned, lost.active) == (2, 3, 0)
        assert not other.studio._spans.processor._running


def test_attaching_again_and_again_leaves_nothing_behind():
    """A program that configures and shuts down in turn keeps its provider as it was."""
    provider = TracerProvider(shutdown_on_exit=False)
    for _ in range(3):
        with attached(provider) as other:
            registry = weakref.ref(other.registry)
            work()
            api.export_metrics_prometheus()
            text_reader = other.studio.prometheus.reader
            other.studio.shutdown()
            # The SDK keeps one set of the readers of all providers.
            assert text_reader not in getattr(other.meter_provider, "_all_metric_readers", ())
        del other
    gc.collect()
    left = provider._active_span_processor._span_processors
    assert {type(processor) for processor in left} == {SimpleSpanProcessor}  # the test's own
    assert registry() is None


def points_or_nothing(reader: InMemoryMetricReader) -> dict[str, object]:
    data = reader.get_metrics_data()
    return {} if data is None else dict(points(reader))


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0.01)])
def test_what_is_not_sampled_is_counted_and_not_exported(sampler):
    """The registry is exact whatever the program's sampler; its exporter sees only the sampled."""
    with attached(TracerProvider(sampler=sampler, shutdown_on_exit=False)) as other:
        for _ in range(300):
            with otel_studio.service("cache").operation("get"):
                pass
        other.assert_operation("cache", "get", count=300)
        assert len(other.spans) < 30


def test_configure_finds_them_in_a_program(tmp_path):
    """Providers set before `configure()` are used; `shutdown()` leaves them working."""
    ended = run_program(
        tmp_path,
        """
        import json
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider

        reader = InMemoryMetricReader()
        trace.set_tracer_provider(TracerProvider())
        metrics.set_meter_provider(MeterProvider([reader]))

        import otel_studio
        studio = otel_studio.configure(service_name="ignored")
        assert trace.get_tracer_provider() is studio.tracer_provider
        assert not studio.owns_tracer_provider and not studio.owns_meter_provider

        @otel_studio.track("run", service="jobs")
        def run(): return 1
        run()
        metrics.get_meter("mine").create_counter("mine").add(1)

        def names():
            return sorted({m.name for r in reader.get_metrics_data().resource_metrics
                           for s in r.scope_metrics for m in s.metrics
                           if m.name.startswith(("mine", "otel_studio.operation"))})
        print(json.dumps(names()))
        otel_studio.shutdown()
        run()
        print(json.dumps(names()))
        """,
    )
    assert ended.code == 0, ended.logged
    with_ours, without = map(json.loads, ended.printed.splitlines())
    assert with_ours == ["mine", "otel_studio.operation.active", "otel_studio.operation.duration"]
    assert without == ["mine"]
    assert ended.logged == ""


def test_configured_under_opentelemetry_instrument_with_another_distro(tmp_path):
    """The SDK that `opentelemetry-instrument` set up is attached to when the program configures."""
    command = need("opentelemetry-instrument")
    ended = run_program(
        tmp_path,
        """
        import otel_studio
        studio = otel_studio.configure()
        with otel_studio.service("cache").operation("get"):
            pass
        print(studio.owns_tracer_provider, type(studio.tracer_provider).__module__)
        print(otel_studio.api.get_service_metrics("cache").total_operations)
        """,
        before=[Path(command)],
        OTEL_PYTHON_DISTRO="distro",
        OTEL_PYTHON_CONFIGURATOR="configurator",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    assert ended.code == 0, ended.logged
    assert ended.printed.splitlines()[-2:] == ["False opentelemetry.sdk.trace", "1"]


def test_zero_code_under_opentelemetry_instrument(tmp_path):
    """Nothing in the program names OTel Studio: variables alone count and print its operations."""
    (tmp_path / "shop_work.py").write_text("def price():\n    return 3\n")
    ended = run_program(
        tmp_path,
        """
        import shop_work
        shop_work.price()
        """,
        before=[need("opentelemetry-instrument")],
        OTEL_PYTHON_DISTRO="otel_studio",
        OTEL_STUDIO_INSTRUMENT="shop_work",
        OTEL_TRACES_EXPORTER="console",
        OTEL_METRICS_EXPORTER="console",
    )
    assert ended.code == 0, ended.logged
    assert '"name": "price"' in ended.printed
    assert '"studio.service": "shop_work"' in ended.printed


def test_exporters_asked_for_beside_other_providers_are_said_once(caplog):
    """They are not made: one sentence for spans and one for metrics says what to do."""
    guard.forget_said()
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        with attached(traces_exporter=("otlp",), metrics_exporter=("otlp", "console")) as other:
            assert other.studio.export_queues == []
    spans, points = (record.getMessage() for record in caplog.records)
    assert spans.startswith("traces_exporter=otlp is not used: a TracerProvider was set before")
    assert points.startswith("metrics_exporter=otlp, console is not used: a MeterProvider was set")
    for said in (spans, points):
        assert "Add the exporter to that provider, or call otel_studio.configure() first" in said


def test_a_variable_that_the_other_sdk_has_answered_is_not_warned_of(monkeypatch, caplog):
    """`opentelemetry-instrument` reads it too; a provider that sends nothing has not."""
    guard.forget_said()
    caplog.set_level(logging.WARNING)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    with attached(provider, traces_exporter=("otlp",)):
        assert not caplog.records
    with attached(traces_exporter=("otlp",)):
        assert "traces_exporter=otlp is not used" in caplog.text


def test_a_provider_of_another_make_is_left_alone(caplog):
    """One without span processors cannot be attached to: operations are counted all the same."""
    caplog.set_level(logging.WARNING)
    from otel_studio.assembly.studio import Studio
    from otel_studio.base import otel_private
    from otel_studio.settings.loading import load_settings

    before = otel_private.global_tracer_provider(), otel_private.global_meter_provider()
    meters = MeterProvider(shutdown_on_exit=False)
    try:
        otel_private.replace_global_tracer_provider(trace.NoOpTracerProvider())
        otel_private.replace_global_meter_provider(meters)
        studio = Studio(load_settings({}, "/"), attach=True)
        assert studio.owns_tracer_provider
        studio.shutdown()
    finally:
        otel_private.replace_global_tracer_provider(before[0])
        otel_private.replace_global_meter_provider(before[1])
        meters.shutdown()
