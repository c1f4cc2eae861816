"""The frozen records that `optimizers()` and `cuda_memory()` return."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class OptimizerStatistics:
    """All optimizers of one class together.

    Attributes:
        name: the class, such as `AdamW`.
        steps: steps that finished.
        unfinished_steps: steps that raised, as far as a later step of the same optimizer told.
        average_step_ms: mean time of a step on the host, in milliseconds; `None` before the first.
        max_step_ms: longest of these.
    """

    name: str
    steps: int
    unfinished_steps: int
    average_step_ms: float | None
    max_step_ms: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain dict."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class CudaMemory:
    """PyTorch's caching allocator on one CUDA device, for this process; sizes in bytes.

    Attributes:
        device: index of the device, as PyTorch numbers it.
        name: of the device.
        allocated_bytes: in tensors.
        peak_allocated_bytes: most of these since the start, or PyTorch's own reset.
        reserved_bytes: taken from the device, tensors and cache together.
        peak_reserved_bytes: most of these.
        inactive_split_bytes: reserved, not in tensors, and in blocks that cannot be given back.
        fragmentation: inactive split bytes by reserved bytes, 0 to 1; `None` when nothing is
            reserved.
        allocations: blocks handed out since the start.
        frees: blocks taken back since the start.
        retries: allocations that succeeded only after the cache was emptied.
        out_of_memory: allocations that failed.
    """

    device: int
    name: str | None
    allocated_bytes: int | None
    peak_allocated_bytes: int | None
    reserved_bytes: int | None
    peak_reserved_bytes: int | None
    inactive_split_bytes: int | None
    fragmentation: float | None
    allocations: int | None
    frees: int | None
    retries: int | None
    out_of_memory: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain dict."""
        return dataclasses.asdict(self)
