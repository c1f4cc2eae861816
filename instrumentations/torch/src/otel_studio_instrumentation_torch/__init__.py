"""Times PyTorch's optimizer steps and reads its CUDA allocator, as OpenTelemetry sees them.

Example:
    >>> from otel_studio_instrumentation_torch import TorchInstrumentor, cuda_memory, optimizers
    >>> TorchInstrumentor().instrument()  # doctest: +SKIP
    >>> [(each.name, each.steps) for each in optimizers()]  # doctest: +SKIP
    [('AdamW', 1000)]
    >>> cuda_memory()  # without CUDA
    []
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from typing import Any

import wrapt
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from .cuda import read_memory
from .package import _instruments
from .records import CudaMemory, OptimizerStatistics
from .steps import StepTimer
from .telemetry import SCOPE, Gauges
from .version import __version__

__all__ = [
    "CudaMemory",
    "OptimizerStatistics",
    "TorchInstrumentor",
    "__version__",
    "cuda_memory",
    "optimizers",
]

_HOOKED_MODULE = "torch.optim.optimizer"

_timer = StepTimer()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_timer.forget_all)


def optimizers() -> list[OptimizerStatistics]:
    """Return the step times of each class of optimizers.

    On a GPU a step returns before its kernels have run, so its time on the host is not the
    GPU's: a profiler tells that.
    """
    return _timer.statistics()


def cuda_memory() -> list[CudaMemory]:
    """Return the allocator's figures for each CUDA device that this process has used.

    Example:
        >>> cuda_memory()  # without CUDA
        []
    """
    return read_memory()


class TorchInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module is untyped
    """Times steps and reads the allocator while it is on; it never imports PyTorch itself."""

    _gauges: Gauges | None = None
    _is_on = False
    _waits_for_import = False

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what must be installed."""
        return _instruments

    def _instrument(self, **kwargs: Any) -> None:
        """Begin, now or as soon as the program imports PyTorch.

        Args:
            kwargs: `tracer_provider` and `meter_provider`; the global ones without.
        """
        self._is_on = True
        _timer.tracer = trace.get_tracer(SCOPE, __version__, kwargs.get("tracer_provider"))
        self._gauges = Gauges.of(kwargs.get("meter_provider"))
        self._gauges.timer = _timer
        if _HOOKED_MODULE in sys.modules:
            _timer.hook(sys.modules[_HOOKED_MODULE])
        elif not self._waits_for_import:
            self._waits_for_import = True
            wrapt.register_post_import_hook(self._imported, _HOOKED_MODULE)

    def _uninstrument(self, **kwargs: Any) -> None:
        """Take the hooks away."""
        self._is_on = False
        _timer.unhook()
        if self._gauges is not None:
            self._gauges.timer = None

    def _imported(self, module: Any) -> None:
        if self._is_on:
            _timer.hook(module)
