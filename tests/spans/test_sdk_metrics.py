"""OpenTelemetry's metrics of its own SDK, of our spans and queues, where its variable asks."""

import gc
import os
import threading
from collections import defaultdict

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

import otel_studio
from otel_studio.spans.export import ExportQueue
from otel_studio.spans.provider import StudioTracerProvider

VARIABLE = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"


@pytest.fixture
def wanted(monkeypatch):
    """The environment asks for them."""
    monkeypatch.setenv(VARIABLE, "true")


def _collected(reader):
    data = reader.get_metrics_data()
    scopes = [] if data is None else [s for r in data.resource_metrics for s in r.scope_metrics]
    found = defaultdict(dict)
    for scope in scopes:
        if scope.scope.name == "opentelemetry-sdk":
            for metric in scope.metrics:
                if ".span." in metric.name:
                    for point in metric.data.data_points:
                        series = tuple(sorted(point.attributes.items()))
                        assert series not in found[metric.name], "one series twice"
                        found[metric.name][series] = point.value
    return dict(found)


def _forms(reader):
    data = reader.get_metrics_data()
    return {
        metric.name: (metric.unit, metric.description, metric.data.is_monotonic)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if ".span." in metric.name
    }


def _use(provider):
    """Start spans of every kind: roots, children, remote parents, some that go on."""
    tracer = provider.get_tracer("shop")
    with tracer.start_as_current_span("a"), tracer.start_as_current_span("b"):
        pass
    for remote in (True, False):
        context = SpanContext(7, 8, is_remote=remote, trace_flags=TraceFlags(1))
        parent = set_span_in_context(NonRecordingSpan(context))
        tracer.start_span("c", parent).end()
    return [tracer.start_span("goes on") for _ in range(3)]


@pytest.mark.parametrize("sampler", [None, ALWAYS_OFF, TraceIdRatioBased(1)])
def test_spans_are_counted_as_the_sdk_counts_them(wanted, sampler):
    """The same numbers, names, units and attributes on both providers."""
    found, forms = [], []
    for kind in (TracerProvider, StudioTracerProvider):
        reader = InMemoryMetricReader()
        meters = MeterProvider([reader])
        provider = kind(sampler=sampler, meter_provider=meters, shutdown_on_exit=False)
        held = _use(provider)
        found.append(_collected(reader))
        forms.append(_forms(reader))
        for span in held:
            span.end()
        found.append(_collected(reader))

    assert found[:2] == found[2:]
    assert found[0], "the SDK counts nothing"
    assert forms[0] == forms[1]


def test_nothing_is_counted_where_nobody_asks():
    """Without the variable, no start is told to anybody."""
    provider = StudioTracerProvider(shutdown_on_exit=False)
    _use(provider)

    assert provider.tally is None
    assert provider.processors == ()


def test_operations_and_queues_of_a_studio_are_among_its_metrics(wanted):
    """Decorated calls are counted; a queue says what it handed on, dropped and can hold."""
    reader = InMemoryMetricReader()
    with otel_studio.isolated(sampler="always_on", metric_readers=[reader]) as isolated:
        queue = isolated.studio.add_span_exporter(InMemorySpanExporter())

        @otel_studio.track
        def work():
            return None

        for _ in range(5):
            work()
        isolated.studio.force_flush()
        found = _collected(reader)
        queue.shutdown()
        work()
        isolated.studio.force_flush()
        later = _collected(reader)

    root = (("otel.span.parent.origin", "none"), ("otel.span.sampling_result", "RECORD_AND_SAMPLE"))
    assert found["otel.sdk.span.started"] == {root: 5}
    assert found["otel.sdk.span.live"] == {root[1:]: 0}
    [component] = found["otel.sdk.processor.span.processed"]
    kind = f"{ExportQueue.__module__}.{ExportQueue.__qualname__}"
    assert dict(component)["otel.component.type"] == "batching_span_processor"
    assert dict(component)["otel.component.name"].startswith(f"{kind}/")
    assert found["otel.sdk.processor.span.processed"] == {component: 5}
    assert found["otel.sdk.processor.span.queue.size"] == {component: 0}
    assert found["otel.sdk.processor.span.queue.capacity"] == {component: queue.capacity}
    dropped = tuple(sorted([*component, ("error.type", "already_shutdown")]))
    assert later["otel.sdk.processor.span.processed"] == {component: 5, dropped: 1}


def test_a_queue_is_told_from_a_processor_of_the_sdks_beside_it(wanted, caplog):
    """Both are of one type, neither takes the place of the other, and nobody is warned."""
    reader = InMemoryMetricReader()
    with otel_studio.isolated(sampler="always_on", metric_readers=[reader]) as isolated:
        isolated.studio.add_span_exporter(InMemorySpanExporter())
        provider = isolated.studio.tracer_provider
        theirs = BatchSpanProcessor(InMemorySpanExporter(), meter_provider=provider.meter_provider)
        provider.add_span_processor(theirs)
        provider.get_tracer("shop").start_span("a").end()
        isolated.studio.force_flush()
        theirs.force_flush()
        found = _collected(reader)
        theirs.shutdown()

    for name in ("processed", "queue.size", "queue.capacity"):
        series = [dict(key) for key in found[f"otel.sdk.processor.span.{name}"]]
        assert [each["otel.component.type"] for each in series] == ["batching_span_processor"] * 2
        assert len({each["otel.component.name"] for each in series}) == 2
    assert list(found["otel.sdk.processor.span.processed"].values()) == [1, 1]
    assert "created already" not in caplog.text


def test_no_start_pays_for_its_count(wanted):
    """Nobody is told of a start: operations keep their short way, and are counted as they end."""
    reader = InMemoryMetricReader()
    with otel_studio.isolated(metric_readers=[reader]) as isolated:
        otel_studio.service("shop").record_operation("pay", duration=0.01)
        assert isolated.studio.tracer_provider.processors == ()
        assert sum(_collected(reader)["otel.sdk.span.started"].values()) == 1


def test_what_is_ignored_was_started_all_the_same(wanted):
    """The registry leaves an operation out; the SDK's own count does not."""
    reader = InMemoryMetricReader()
    with otel_studio.isolated(metric_readers=[reader], ignored_operations=["shop/ping"]) as made:
        with otel_studio.service("shop").operation("ping"):
            running = _collected(reader)
        assert made.runs() == []
        ended = _collected(reader)

    for found, live in ((running, 1), (ended, 0)):
        assert sum(found["otel.sdk.span.started"].values()) == 1
        assert sum(found["otel.sdk.span.live"].values()) == live


def test_a_span_that_is_dropped_stays_started_and_lives_no_more(wanted):
    """Also of a remote parent, and once the fold has counted it as abandoned."""
    reader = InMemoryMetricReader()
    provider = StudioTracerProvider(meter_provider=MeterProvider([reader]), shutdown_on_exit=False)
    tracer = provider.get_tracer("shop")
    context = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1))
    span = tracer.start_span("a", set_span_in_context(NonRecordingSpan(context)))
    before = _collected(reader)
    del span
    gc.collect()
    after = _collected(reader)

    decision = ("otel.span.sampling_result", "RECORD_AND_SAMPLE")
    started = {(("otel.span.parent.origin", "remote"), decision): 1}
    assert before == {"otel.sdk.span.started": started, "otel.sdk.span.live": {(decision,): 1}}
    assert after == {"otel.sdk.span.started": started, "otel.sdk.span.live": {(decision,): 0}}


def test_tracers_taken_over_are_counted_where_they_went(wanted):
    """A provider that only took over the tracers of another one reports their spans."""
    reader = InMemoryMetricReader()
    first = StudioTracerProvider(meter_provider=MeterProvider(), shutdown_on_exit=False)
    tracer = first.get_tracer("shop")
    second = StudioTracerProvider(meter_provider=MeterProvider([reader]), shutdown_on_exit=False)
    second.adopt(first.made_tracers)
    tracer.start_span("a").end()

    assert sum(_collected(reader)["otel.sdk.span.started"].values()) == 1


def test_a_count_does_not_fall_when_a_provider_goes(wanted):
    """What it had started stays started."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    for _ in range(3):
        provider = StudioTracerProvider(meter_provider=meters, shutdown_on_exit=False)
        provider.get_tracer("shop").start_span("a").end()
        provider.shutdown()
    del provider
    gc.collect()

    assert sum(_collected(reader)["otel.sdk.span.started"].values()) == 3


def test_two_providers_of_one_meter_provider_add_up(wanted):
    """Instruments made twice would lose the second provider's figures."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    providers = [
        StudioTracerProvider(meter_provider=meters, shutdown_on_exit=False) for _ in range(2)
    ]
    for provider in providers:
        provider.get_tracer("shop").start_span("a").end()

    assert sum(_collected(reader)["otel.sdk.span.started"].values()) == 2


def test_starts_of_many_threads_are_all_counted(wanted):
    """Also where one counts while others start, end and drop spans; the count never falls."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    provider = StudioTracerProvider(meter_provider=meters, shutdown_on_exit=False)
    tracer = provider.get_tracer("shop")

    def start_many():
        for _ in range(1_000):
            tracer.start_span("a").end()
            with tracer.start_as_current_span("b"):
                tracer.start_span("dropped")

    def count():
        return sum(_collected(reader).get("otel.sdk.span.started", {}).values())

    threads = [threading.Thread(target=start_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    counts = []
    while any(thread.is_alive() for thread in threads):
        counts.append(count())
    for thread in threads:
        thread.join()

    assert counts == sorted(counts)
    assert count() == 12_000


def test_a_forked_child_counts_from_zero(wanted):
    """What the parent started is the parent's."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    provider = StudioTracerProvider(meter_provider=meters, shutdown_on_exit=False)
    provider.get_tracer("shop").start_span("a").end()
    child = os.fork()
    if not child:
        provider.after_fork_in_child()
        provider.get_tracer("shop").start_span("a").end()
        os._exit(sum(_collected(reader)["otel.sdk.span.started"].values()))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 1
