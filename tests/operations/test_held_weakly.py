"""What comes past a bound, and what is only watched, lives no longer than without us."""

from __future__ import annotations

import gc
import weakref

import pytest
from opentelemetry.sdk.resources import Resource

import otel_studio
from otel_studio.base import limited
from otel_studio.operations import seat, services
from otel_studio.operations.seat import Declared
from otel_studio.spans.provider import StudioTracerProvider
from otel_studio.testing.isolation import isolated


class Buffers(bytearray):
    """Something large of the program's."""

    def held(self) -> int:
        return len(self)


@pytest.fixture(autouse=True)
def none_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a process in which no service was made yet."""
    monkeypatch.setattr(services, "_services", {})


def test_a_service_past_the_bound_is_the_same_while_it_is_held() -> None:
    """One object for one name, and none once nobody has it; it is counted."""
    limited.forget_limited()
    with isolated(max_services=2) as s:
        first = otel_studio.service("one")
        otel_studio.service("two")
        third = otel_studio.service("three")
        assert otel_studio.service("three") is third
        assert otel_studio.service("one") is first
        with third.operation("run"):
            pass
        assert s.operation("__other__", "run").count == 1
        gone = weakref.ref(third)
        del third
        gc.collect()
        assert gone() is None
        assert limited.limited["services"] == 1


def test_services_that_run_nothing_do_not_pile_up() -> None:
    """However many are named, and however often, before anybody asks."""
    with isolated(max_services=10) as s:
        for number in range(1_000):
            otel_studio.service(f"service {number % 500}")
        assert len(s.registry._declared) <= 11
        assert len(seat.current().services) <= 10
        known = s.registry.reading().services
        assert len(known) == 11
        assert "__other__" in known


def test_a_tracer_past_the_bound_is_the_same_while_it_is_held() -> None:
    """It works as the others do: resource and configuration reach it."""
    limited.forget_limited()
    provider = StudioTracerProvider(shutdown_on_exit=False, max_tracers=1)
    provider.get_tracer("one")
    held = provider.get_tracer("two")
    assert provider.get_tracer("two") is held
    provider._update_resource(Resource({"later": "yes"}))
    assert held.resource.attributes["later"] == "yes"
    gone = weakref.ref(held)
    held.start_span("run").end()
    provider.ended.fold()
    del held
    gc.collect()
    assert gone() is None
    assert limited.limited["tracers"] == 1


def test_a_tracer_past_the_bound_follows_the_configurator() -> None:
    """One that is set later turns it off like every other."""
    from opentelemetry.sdk.trace import _TracerConfig

    provider = StudioTracerProvider(shutdown_on_exit=False, max_tracers=0)
    held = provider.get_tracer("two")
    assert held.is_enabled
    provider._set_tracer_configurator(tracer_configurator=lambda _: _TracerConfig(is_enabled=False))
    assert not held.is_enabled


def test_what_an_operation_declares_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is known already may still change."""
    limited.forget_limited()
    monkeypatch.setattr(seat, "_MAX_DECLARED", 2)
    declared = Declared()
    for number in range(5):
        declared.declare("shop", f"op {number}", 1.0, ("tenant",))
    declared.declare("shop", "op 0", 2.0, ())
    assert declared.slow_thresholds == {("shop", "op 0"): 2.0, ("shop", "op 1"): 1.0}
    assert len(declared.labels) == 2
    assert limited.limited["declared"] == 6


@pytest.mark.parametrize("by_method", [True, False])
def test_memory_that_is_watched_is_not_kept(by_method: bool) -> None:
    """Neither the object that is sized nor the owner of the method that is asked."""
    with isolated():
        buffers = Buffers(1_000)
        otel_studio.service("previews").track_memory(buffers.held if by_method else buffers)
        assert len(seat.current().memory_probes) == 1
        gone = weakref.ref(buffers)
        del buffers
        gc.collect()
        assert gone() is None
        assert seat.current().memory_probes == []


def test_memory_that_cannot_be_held_weakly_is_watched_until_it_is_closed() -> None:
    """A list, or a function."""
    with isolated():
        probes = [otel_studio.service("a").track_memory(what) for what in ([1], lambda: 5)]
        assert len(seat.current().memory_probes) == 2
        for probe in probes:
            probe.close()
        assert seat.current().memory_probes == []
