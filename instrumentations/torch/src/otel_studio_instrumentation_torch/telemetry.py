"""OpenTelemetry metrics of optimizer steps and of the CUDA allocator."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import ClassVar

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from .cuda import read_memory
from .records import CudaMemory
from .steps import StepTimer
from .version import __version__

#: The instrumentation scope: the service under which the steps appear.
SCOPE = "torch"

_SIZES: tuple[tuple[str, str, Callable[[CudaMemory], int | None]], ...] = (
    ("allocated", "Memory in tensors.", lambda memory: memory.allocated_bytes),
    ("reserved", "Memory taken from the device.", lambda memory: memory.reserved_bytes),
    (
        "inactive_split",
        "Reserved memory in blocks that cannot be given back.",
        lambda memory: memory.inactive_split_bytes,
    ),
)

_PEAKS: tuple[tuple[str, str, Callable[[CudaMemory], int | None]], ...] = (
    ("allocated_peak", "Most memory in tensors.", lambda memory: memory.peak_allocated_bytes),
    ("reserved_peak", "Most memory taken.", lambda memory: memory.peak_reserved_bytes),
)

_COUNTS: tuple[tuple[str, str, str, Callable[[CudaMemory], int | None]], ...] = (
    ("allocations", "{allocation}", "Blocks handed out.", lambda memory: memory.allocations),
    ("frees", "{allocation}", "Blocks taken back.", lambda memory: memory.frees),
    ("retries", "{retry}", "Allocations that emptied the cache.", lambda memory: memory.retries),
    ("out_of_memory", "{error}", "Failed allocations.", lambda memory: memory.out_of_memory),
)


class Gauges:
    """The observable instruments.

    An SDK keeps the first callbacks of an instrument for ever, so there is one such object for
    each provider: it reads whichever timer is set, and reports nothing while there is none.
    """

    _by_provider: ClassVar[weakref.WeakKeyDictionary[metrics.MeterProvider, Gauges]] = (
        weakref.WeakKeyDictionary()
    )

    @classmethod
    def of(cls, meter_provider: metrics.MeterProvider | None) -> Gauges:
        """Return the gauges of a provider.

        Args:
            meter_provider: `None` for the global one.
        """
        provider = meter_provider if meter_provider is not None else metrics.get_meter_provider()
        gauges = cls._by_provider.get(provider)
        if gauges is None:
            gauges = cls(metrics.get_meter(SCOPE, __version__, provider))
            cls._by_provider[provider] = gauges
        return gauges

    def __init__(self, meter: metrics.Meter) -> None:
        self.timer: StepTimer | None = None
        meter.create_observable_counter(
            "otel_studio.torch.optimizer.steps",
            [self._steps],
            "{step}",
            "Optimizer steps finished.",
        )
        meter.create_observable_counter(
            "otel_studio.torch.optimizer.step_time",
            [self._step_time],
            "s",
            "Time on the host that all optimizer steps took.",
        )
        for name, description, size in _SIZES:
            meter.create_observable_up_down_counter(
                f"otel_studio.torch.cuda.memory.{name}", [self._memory(size)], "By", description
            )
        for name, description, peak in _PEAKS:
            meter.create_observable_gauge(
                f"otel_studio.torch.cuda.memory.{name}", [self._memory(peak)], "By", description
            )
        for name, unit, description, count in _COUNTS:
            meter.create_observable_counter(
                f"otel_studio.torch.cuda.memory.{name}", [self._memory(count)], unit, description
            )

    def _steps(self, _: CallbackOptions) -> Iterable[Observation]:
        for each in self.timer.statistics() if self.timer is not None else ():
            yield Observation(each.steps, {"torch.optimizer": each.name})

    def _step_time(self, _: CallbackOptions) -> Iterable[Observation]:
        times = self.timer.total_seconds() if self.timer is not None else {}
        for name, seconds in times.items():
            yield Observation(seconds, {"torch.optimizer": name})

    def _memory(
        self, read: Callable[[CudaMemory], int | None]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for memory in read_memory() if self.timer is not None else ():
                value = read(memory)
                if value is not None:
                    yield Observation(value, {"torch.device": f"cuda:{memory.device}"})

        return observe
