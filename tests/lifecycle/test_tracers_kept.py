"""Tracers that programs got once go on working, whichever Studio is the current one."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk import trace as sdk_trace

import otel_studio
from otel_studio import api
from otel_studio.base import otel_private


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = otel_private.global_tracer_provider(), otel_private.global_meter_provider()
    otel_private.replace_global_tracer_provider(None)
    otel_private.replace_global_meter_provider(None)
    yield
    otel_studio.shutdown()
    otel_private.replace_global_tracer_provider(before[0])
    otel_private.replace_global_meter_provider(before[1])


def end_span(tracer: trace.Tracer, name: str = "query") -> None:
    with tracer.start_as_current_span(name):
        pass


def counted(service: str) -> int:
    summary = api.get_service_metrics(service)
    return 0 if summary is None else summary.total_operations


def test_tracers_from_before_and_after_work_with_every_configure() -> None:
    """What an instrumentation holds is counted by the Studio of now, once."""
    proxy = trace.get_tracer("proxy")
    tracers = [proxy]
    for round_number in range(1, 4):
        otel_studio.configure()
        tracers.append(trace.get_tracer("library"))
        for tracer in tracers:
            end_span(tracer)
        assert counted("proxy") == 1
        assert counted("library") == round_number
        otel_studio.shutdown()
        end_span(proxy)


def test_a_modules_tracer_works_in_every_isolated_test() -> None:
    """The first isolated block does not keep it to itself."""
    tracer = trace.get_tracer("module")
    for _ in range(3):
        with otel_studio.isolated() as s:
            end_span(tracer)
            s.assert_operation("module", "query", count=1)
    otel_studio.configure()
    end_span(tracer)
    assert counted("module") == 1


def test_after_an_isolated_block_its_tracers_belong_to_the_default() -> None:
    """A tracer that was first asked for inside a test goes on outside it."""
    otel_studio.configure()
    with otel_studio.isolated() as s:
        tracer = trace.get_tracer("first used in a test")
        end_span(tracer)
        s.assert_operation("first used in a test", "query", count=1)
    end_span(tracer)
    assert counted("first used in a test") == 1


def test_tracers_that_nobody_holds_are_let_go() -> None:
    """A thousand isolated blocks leave nothing of theirs behind."""
    for number in range(20):
        with otel_studio.isolated():
            otel_studio.service(f"service {number}").record_operation("pay", duration=1)
            end_span(trace.get_tracer(f"library {number}"))
    gc.collect()
    with otel_studio.isolated() as s:
        # Libraries keep theirs for good; the last block's may go with the next.
        kept = {tracer.scope.name for tracer in s.tracer_provider.made_tracers}
        assert not kept & {f"{kind} {n}" for kind in ("service", "library") for n in range(19)}


def test_a_program_that_configures_inside_an_isolated_block() -> None:
    """The block stays isolated; what was configured takes over when it ends."""
    with otel_studio.isolated() as s:
        otel_studio.configure(service_name="program")
        with otel_studio.service("shop").operation("pay"):
            end_span(trace.get_tracer("library"))
        s.assert_operation("shop", "pay", count=1)
        s.assert_operation("library", "query", count=1)
    with otel_studio.service("shop").operation("pay"):
        end_span(trace.get_tracer("library"))
    assert (counted("shop"), counted("library")) == (1, 1)


def test_a_scope_that_is_disabled_later_records_no_operation() -> None:
    """A tracer configurator holds for operations that have run before, and can be taken back."""
    config = getattr(sdk_trace, "_TracerConfig", None)
    if config is None:
        pytest.skip("this SDK has no tracer configurators")
    with otel_studio.isolated() as s:

        @otel_studio.track("pay", service="shop")
        def pay() -> None:
            pass

        pay()
        for enabled in (False, True):
            s.tracer_provider._set_tracer_configurator(
                tracer_configurator=lambda scope, on=enabled: config(is_enabled=on)
            )
            pay()
            s.assert_operation("shop", "pay", count=2 if enabled else 1)


def test_a_disabled_sdk_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No exporter, no endpoint, no thread of ours; queries answer and are empty."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    before = {thread.name for thread in threading.enumerate()}
    studio = otel_studio.configure(
        traces_exporter="console", metrics_exporter=("prometheus", "console"), prometheus_port=0
    )
    with otel_studio.service("shop").operation("pay"):
        end_span(trace.get_tracer("library"))
    assert {thread.name for thread in threading.enumerate()} == before
    assert studio.export_queues == []
    assert studio.prometheus is None
    assert api.get_active_operations_count().total == 0
    assert api.get_recent_operations() == []
    assert "otel_studio_operation" not in api.export_metrics_prometheus()
