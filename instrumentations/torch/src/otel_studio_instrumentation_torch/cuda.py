"""Reads the statistics of PyTorch's CUDA allocator, without ever starting CUDA itself."""

from __future__ import annotations

import sys
from typing import Any

from .records import CudaMemory
from .safety import report_failure


def read_memory() -> list[CudaMemory]:
    """Return the allocator's figures for each device that this process has used.

    Empty without PyTorch, without CUDA, before the program first uses CUDA, and in a forked
    child, where PyTorch cannot use it.
    """
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    try:
        if cuda is None or not cuda.is_initialized():
            return []
        return [
            memory
            for device in range(cuda.device_count())
            if (memory := _read_device(cuda, device)) is not None
        ]
    except Exception as error:
        report_failure("reading the CUDA allocator", error)
        return []


def _read_device(cuda: Any, device: int) -> CudaMemory | None:
    figures = cuda.memory_stats(device)
    if not figures.get("segment.all.allocated"):  # this process never used the device
        return None

    def figure(name: str) -> int | None:
        value = figures.get(name)
        return int(value) if value is not None else None

    reserved = figure("reserved_bytes.all.current")
    inactive = figure("inactive_split_bytes.all.current")
    return CudaMemory(
        device=device,
        name=cuda.get_device_name(device),
        allocated_bytes=figure("allocated_bytes.all.current"),
        peak_allocated_bytes=figure("allocated_bytes.all.peak"),
        reserved_bytes=reserved,
        peak_reserved_bytes=figure("reserved_bytes.all.peak"),
        inactive_split_bytes=inactive,
        fragmentation=inactive / reserved if reserved and inactive is not None else None,
        allocations=figure("allocation.all.allocated"),
        frees=figure("allocation.all.freed"),
        retries=figure("num_alloc_retries"),
        out_of_memory=figure("num_ooms"),
    )
