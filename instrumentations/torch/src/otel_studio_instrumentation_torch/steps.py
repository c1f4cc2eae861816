"""Times the steps of optimizers, through the hooks that PyTorch offers for all of them."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from .records import OptimizerStatistics
from .safety import report_failure

#: Optimizer classes kept apart; later ones share the last.
_MAX_NAMES = 100
OTHER = "__other__"


class _Figures:
    """The steps of one class of optimizers."""

    def __init__(self) -> None:
        self.steps = self.unfinished = self.total_ns = self.longest_ns = 0


class StepTimer:
    """Times each step between PyTorch's global hooks, and makes a span of it.

    The span is made when the step is over, so that a step that raises, which PyTorch does not
    tell, leaves no span open.

    Args:
        monotonic_ns: clock for durations, in nanoseconds.
        time_ns: wall clock, in nanoseconds since the Unix epoch.
    """

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.perf_counter_ns,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.tracer: trace.Tracer = trace.NoOpTracer()
        self._monotonic_ns = monotonic_ns
        self._time_ns = time_ns
        self._lock = threading.RLock()
        self._figures: dict[str, _Figures] = {}
        self._begun: weakref.WeakKeyDictionary[Any, tuple[int, int]] = weakref.WeakKeyDictionary()
        self._handles: list[Any] = []

    def hook(self, optimizer_module: Any) -> None:
        """Register with `torch.optim.optimizer`.

        Args:
            optimizer_module: that module.
        """
        if not self._handles:
            self._handles = [
                optimizer_module.register_optimizer_step_pre_hook(self._before),
                optimizer_module.register_optimizer_step_post_hook(self._after),
            ]

    def unhook(self) -> None:
        """Take the hooks away."""
        while self._handles:
            self._handles.pop().remove()

    def statistics(self) -> list[OptimizerStatistics]:
        """Return the figures of each class of optimizers."""
        with self._lock:
            return [
                OptimizerStatistics(
                    name=name,
                    steps=each.steps,
                    unfinished_steps=each.unfinished,
                    average_step_ms=each.total_ns / each.steps / 1e6 if each.steps else None,
                    max_step_ms=each.longest_ns / 1e6 if each.steps else None,
                )
                for name, each in self._figures.items()
            ]

    def total_seconds(self) -> dict[str, float]:
        """Return the time that all steps took, by class of optimizer."""
        with self._lock:
            return {name: each.total_ns / 1e9 for name, each in self._figures.items()}

    def forget_all(self) -> None:
        """Start from nothing, as a forked child does."""
        self._lock = threading.RLock()
        self._figures = {}
        self._begun = weakref.WeakKeyDictionary()

    def _before(self, optimizer: Any, *_: Any) -> None:
        try:
            if optimizer in self._begun:
                with self._lock:
                    self._of(optimizer).unfinished += 1
            self._begun[optimizer] = (self._monotonic_ns(), self._time_ns())
        except Exception as error:
            report_failure("timing an optimizer step", error)

    def _after(self, optimizer: Any, *_: Any) -> None:
        try:
            begun = self._begun.pop(optimizer, None)
            if begun is None:
                return
            duration_ns = self._monotonic_ns() - begun[0]
            with self._lock:
                figures = self._of(optimizer)
                figures.steps += 1
                figures.total_ns += duration_ns
                figures.longest_ns = max(figures.longest_ns, duration_ns)
            if is_instrumentation_enabled():
                name = f"{type(optimizer).__name__}.step"
                span = self.tracer.start_span(name, start_time=begun[1])
                span.end(begun[1] + duration_ns)
        except Exception as error:
            report_failure("timing an optimizer step", error)

    def _of(self, optimizer: Any) -> _Figures:
        name = type(optimizer).__name__
        if name not in self._figures and len(self._figures) >= _MAX_NAMES:
            name = OTHER
        return self._figures.setdefault(name, _Figures())
