"""Notes what sampled runs of operations change in the process's memory, when asked."""

from __future__ import annotations

import dataclasses
import sys
from random import random
from weakref import WeakSet

from otel_studio.base.guard import report_internal_error
from otel_studio.base.locks import new_lock
from otel_studio.base.overflow import OTHER
from otel_studio.process.host_files import HostFiles
from otel_studio.process.watch_reading import AllocationSums

MAX_OPERATIONS = 1_000


@dataclasses.dataclass(slots=True, eq=False, weakref_slot=True)
class AllocationToken:
    """What `begin` saw; goes back to `end`."""

    blocks: int
    resident: int | None
    overlapped: bool = False


class OperationAllocationSampler:
    """Compares the process before and after one run in so many.

    The figures are of the whole process: what other threads did meanwhile is in them, so
    they mean something for long runs, or where few run at once. Runs that another sampled
    run overlaps are left out and counted. A sampled run costs some 0.1 ms, more in a large
    heap (the interpreter counts its blocks arena by arena); any other 0.14 µs.

    Args:
        every: on average one run in so many is sampled, drawn by chance.
        page_bytes: the size of a page.
        files: where `/proc` is.

    Example:
        >>> sampler = OperationAllocationSampler(every=1)
        >>> token = sampler.begin()
        >>> sampler.end(token, "cache-service", "clear_all")
        >>> sampler.sums()["cache-service", "clear_all"].runs
        1
    """

    def __init__(self, every: int, page_bytes: int = 4096, files: HostFiles | None = None) -> None:
        if every < 1:
            raise ValueError(f"cannot sample one run in {every}: give 1 or more")
        self.every = every
        self._page = page_bytes
        self._files = files or HostFiles()
        self._lock = new_lock()
        # An operation that is dropped never ends: its token leaves by itself.
        self._open: WeakSet[AllocationToken] = WeakSet()
        self._sums: dict[tuple[str, str], AllocationSums] = {}

    def begin(self) -> AllocationToken | None:
        """Return what `end` needs for a sampled run, `None` for any other."""
        if random() * self.every >= 1:
            return None
        try:
            token = AllocationToken(0, None)
            with self._lock:
                if self._open:
                    token.overlapped = True
                    for other in self._open:
                        other.overlapped = True
                self._open.add(token)
            token.resident = self._resident()
            token.blocks = sys.getallocatedblocks()
            return token
        except Exception as error:
            report_internal_error("the sampling of allocations", error)
            return None

    def end(self, token: AllocationToken | None, service: str, operation: str) -> None:
        """Note a run that ended.

        Args:
            token: what `begin` returned for the run; `None` does nothing.
            service: the service's name.
            operation: the operation's name.
        """
        if token is None:
            return
        try:
            blocks = sys.getallocatedblocks() - token.blocks
            resident = self._resident()
            one = self._change(token, blocks, resident)
            with self._lock:
                self._open.discard(token)
                key = (service, operation)
                if key not in self._sums and len(self._sums) >= MAX_OPERATIONS:
                    key = (OTHER, OTHER)
                # one store: what a signal handler interrupts is counted whole or not at all
                self._sums[key] = self._sums.get(key, AllocationSums()) + one
        except Exception as error:
            report_internal_error("the sampling of allocations", error)

    def sums(self) -> dict[tuple[str, str], AllocationSums]:
        """Return what was noted, by service and operation."""
        with self._lock:
            return dict(self._sums)

    def after_fork_in_child(self) -> None:
        """Begin from nothing in a child."""
        self._open = WeakSet()
        self._sums = {}

    def _change(self, token: AllocationToken, blocks: int, resident: int | None) -> AllocationSums:
        if token.overlapped:
            return AllocationSums(overlapped=1)
        known = resident is not None and token.resident is not None
        change = resident - token.resident if known else 0  # type: ignore[operator]
        return AllocationSums(
            runs=1,
            allocations=max(blocks, 0),
            deallocations=max(-blocks, 0),
            resident=change,
            largest=change if known else None,
        )

    def _resident(self) -> int | None:
        pages = (self._files.text("/proc/self/statm") or "").split()
        return int(pages[1]) * self._page if len(pages) > 1 else None
