"""Step times and allocator figures with a stand-in for PyTorch; the real one is tested beside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import otel_studio_instrumentation_torch as timed
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_studio_instrumentation_torch.steps import StepTimer

GIB = 1 << 30

STATS = {
    "segment.all.allocated": 4,
    "allocated_bytes.all.current": 2 * GIB,
    "allocated_bytes.all.peak": 3 * GIB,
    "reserved_bytes.all.current": 4 * GIB,
    "reserved_bytes.all.peak": 5 * GIB,
    "inactive_split_bytes.all.current": GIB,
    "allocation.all.allocated": 1000,
    "allocation.all.freed": 900,
    "num_alloc_retries": 2,
    "num_ooms": 1,
}


class FakeOptimizerModule(ModuleType):
    """Stands for `torch.optim.optimizer`: its global hooks, and an optimizer that calls them."""

    def __init__(self) -> None:
        super().__init__("torch.optim.optimizer")
        self.before: list[Callable[..., None]] = []
        self.after: list[Callable[..., None]] = []

    def register_optimizer_step_pre_hook(self, hook: Callable[..., None]) -> Any:
        return self._register(self.before, hook)

    def register_optimizer_step_post_hook(self, hook: Callable[..., None]) -> Any:
        return self._register(self.after, hook)

    @staticmethod
    def _register(hooks: list[Callable[..., None]], hook: Callable[..., None]) -> Any:
        hooks.append(hook)
        return SimpleNamespace(remove=lambda: hooks.remove(hook))

    def step(self, optimizer: Any, work: Callable[[], None] = lambda: None) -> None:
        """Do what `optimizer.step()` does."""
        for hook in self.before:
            hook(optimizer, (), {})
        work()
        for hook in self.after:
            hook(optimizer, (), {})


class SGD:
    """An optimizer by name."""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> FakeOptimizerModule:
    """A stand-in that counts as imported."""
    fake = FakeOptimizerModule()
    monkeypatch.setitem(sys.modules, "torch.optim.optimizer", fake)
    return fake


@pytest.fixture
def telemetry(module: FakeOptimizerModule) -> Iterator[SimpleNamespace]:
    """The instrumentation on, with spans and metrics in memory."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    timed._timer.forget_all()
    instrumentor = timed.TorchInstrumentor()
    instrumentor.instrument(tracer_provider=tracers, meter_provider=meters, skip_dep_check=True)

    def metric(name: str) -> dict[str, float]:
        data = reader.get_metrics_data()
        found = data.resource_metrics[0].scope_metrics if data and data.resource_metrics else []
        return {
            next(iter(point.attributes.values())): point.value
            for scope in found
            for each in scope.metrics
            if each.name == name
            for point in each.data.data_points
        }

    yield SimpleNamespace(spans=spans, metric=metric, instrumentor=instrumentor)
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    meters.shutdown()
    tracers.shutdown()


def test_each_step_is_a_span_and_counted(
    module: FakeOptimizerModule, telemetry: SimpleNamespace
) -> None:
    """Steps appear by the optimizer's class, with their time, as spans and as metrics."""
    optimizer = SGD()
    for _ in range(3):
        module.step(optimizer)
    assert [span.name for span in telemetry.spans.get_finished_spans()] == ["SGD.step"] * 3
    (figures,) = timed.optimizers()
    assert (figures.name, figures.steps, figures.unfinished_steps) == ("SGD", 3, 0)
    assert telemetry.metric("otel_studio.torch.optimizer.steps") == {"SGD": 3}
    assert telemetry.metric("otel_studio.torch.optimizer.step_time")["SGD"] > 0


def test_a_step_takes_what_the_clock_says(module: FakeOptimizerModule) -> None:
    """Mean and longest step are measured by the monotonic clock."""
    now = [0]
    timer = StepTimer(monotonic_ns=lambda: now[0], time_ns=lambda: 1)
    timer.hook(module)
    optimizer = SGD()
    for seconds in (1, 3):
        module.step(optimizer, lambda s=seconds: now.__setitem__(0, now[0] + s * 10**9))
    (figures,) = timer.statistics()
    assert (figures.average_step_ms, figures.max_step_ms) == (2000.0, 3000.0)
    timer.unhook()


def test_a_step_that_raises_is_unfinished(
    module: FakeOptimizerModule, telemetry: SimpleNamespace
) -> None:
    """PyTorch does not tell the end of a failed step; the next one of its optimizer does."""
    optimizer = SGD()
    with pytest.raises(ZeroDivisionError):
        module.step(optimizer, lambda: 1 // 0)
    module.step(optimizer)
    (figures,) = timed.optimizers()
    assert (figures.steps, figures.unfinished_steps) == (1, 1)
    assert len(telemetry.spans.get_finished_spans()) == 1


def test_uninstrument_takes_the_hooks_away(
    module: FakeOptimizerModule, telemetry: SimpleNamespace
) -> None:
    """No hook of ours is left, and none is doubled by turning it on again."""
    telemetry.instrumentor.uninstrument()
    assert (module.before, module.after) == ([], [])
    module.step(SGD())
    assert timed.optimizers() == []


def test_names_are_bounded(module: FakeOptimizerModule, telemetry: SimpleNamespace) -> None:
    """A hundred classes are kept apart, later ones count together."""
    for number in range(120):
        module.step(type(f"Optimizer{number}", (), {})())
    assert len(timed.optimizers()) == 101
    assert {each.name: each.steps for each in timed.optimizers()}["__other__"] == 20


def fake_cuda(**changes: Any) -> SimpleNamespace:
    """Return a stand-in for `torch.cuda` with two devices, the second never used."""
    figures = {0: STATS, 1: {"segment.all.allocated": 0}}
    parts: dict[str, Any] = {
        "is_initialized": lambda: True,
        "device_count": lambda: 2,
        "memory_stats": figures.__getitem__,
        "get_device_name": lambda device: f"Card {device}",
    }
    return SimpleNamespace(cuda=SimpleNamespace(**(parts | changes)))


def test_the_allocators_figures_are_pytorchs(
    telemetry: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every figure is the allocator's own, for the devices that this process uses."""
    monkeypatch.setitem(sys.modules, "torch", fake_cuda())
    (memory,) = timed.cuda_memory()
    assert memory.to_dict() == {
        "device": 0,
        "name": "Card 0",
        "allocated_bytes": 2 * GIB,
        "peak_allocated_bytes": 3 * GIB,
        "reserved_bytes": 4 * GIB,
        "peak_reserved_bytes": 5 * GIB,
        "inactive_split_bytes": GIB,
        "fragmentation": 0.25,
        "allocations": 1000,
        "frees": 900,
        "retries": 2,
        "out_of_memory": 1,
    }
    assert telemetry.metric("otel_studio.torch.cuda.memory.allocated") == {"cuda:0": 2 * GIB}
    assert telemetry.metric("otel_studio.torch.cuda.memory.out_of_memory") == {"cuda:0": 1}


def test_without_cuda_there_is_no_figure(
    telemetry: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before CUDA is used, or when reading it fails, nothing is reported: no zero either."""

    def lost(_: int) -> dict[str, int]:
        raise RuntimeError("CUDA error: device lost")

    for torch in (None, fake_cuda(is_initialized=lambda: False), fake_cuda(memory_stats=lost)):
        monkeypatch.setitem(sys.modules, "torch", torch)
        assert timed.cuda_memory() == []
        assert telemetry.metric("otel_studio.torch.cuda.memory.allocated") == {}


def test_figures_that_pytorch_does_not_give_are_left_out(
    telemetry: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An allocator of another kind has fewer figures; those are unknown."""
    few = fake_cuda(device_count=lambda: 1, memory_stats=lambda _: {"segment.all.allocated": 1})
    monkeypatch.setitem(sys.modules, "torch", few)
    (memory,) = timed.cuda_memory()
    assert (memory.allocated_bytes, memory.fragmentation) == (None, None)
    assert telemetry.metric("otel_studio.torch.cuda.memory.reserved") == {}
