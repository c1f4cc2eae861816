"""Attributes memory to packages by tracing every allocation for a short window, when asked."""

from __future__ import annotations

import os
import sys
import sysconfig
import tracemalloc
from typing import NamedTuple

from otel_studio.base.clock import Clock
from otel_studio.base.guard import report_internal_error
from otel_studio.base.locks import new_lock
from otel_studio.base.record import MEGABYTE, iso_time
from otel_studio.process.memory_records import AllocationWindow, PackageMemory

MAX_SECONDS = 60.0
#: A window ends early once the tracing itself takes this much.
_MAX_OVERHEAD = 16 * 1024 * 1024
_MAX_PACKAGES = 50


class AllocationTracer:
    """Runs windows of `tracemalloc`, one at a time, and keeps the result of the last.

    The cost, measured on CPython 3.11 while a window is open: code that does nothing but make
    Python objects runs 7 to 16 times as long (lists of dicts 7, JSON encoding 12, a loop over
    large integers 16), code inside a C library no longer, and each live block takes some 50 bytes
    more. Ending a window takes some 2.5 µs a live block. Outside of a window it costs nothing.

    Where the program traces allocations itself, its trace is used and left running; the window
    then shows all that was traced since the program began to.

    Args:
        clock: times the window.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = new_lock()
        self._began_ns: int | None = None
        self._began_wall_ns = 0
        self._ends_ns = 0
        self._ours = False
        self._last: AllocationWindow | None = None

    def open(self, seconds: float) -> bool:
        """Begin a window; it ends at the first `close_if_due` after `seconds`.

        Args:
            seconds: how long, from 0.1 to 60.

        Returns:
            False when a window is open already; it then goes on as it was.

        Raises:
            ValueError: for another length.
        """
        if not 0.1 <= seconds <= MAX_SECONDS:
            raise ValueError(
                f"an allocation window of {seconds} s is not possible: "
                f"give 0.1 to {MAX_SECONDS:.0f} seconds, since every allocation is slower meanwhile"
            )
        with self._lock:
            if self._began_ns is not None:
                return False
            self._ours = not tracemalloc.is_tracing()
            if self._ours:
                tracemalloc.start(1)
            self._began_wall_ns = self._clock.time_ns()
            self._began_ns = self._clock.monotonic_ns()
            self._ends_ns = self._began_ns + round(seconds * 1e9)
            return True

    def close_if_due(self) -> None:
        """End the window when its time is over, or its cost too high; else do nothing."""
        with self._lock:
            if self._began_ns is None:
                return
            due = self._clock.monotonic_ns() >= self._ends_ns
            if not due and tracemalloc.get_tracemalloc_memory() <= _MAX_OVERHEAD:
                return
            ended = self._end(self._began_ns)
        # Without the lock: a module may be any object of the program's, and so may a log handler.
        if isinstance(ended, _Ended):
            self._last = _result(ended)
        else:
            report_internal_error("the allocation window", ended)

    @property
    def is_open(self) -> bool:
        """Whether a window is open."""
        return self._began_ns is not None

    def stop(self) -> None:
        """End an open window at once, without a result."""
        with self._lock:
            if self._began_ns is not None:
                self._began_ns = None
                if self._ours:
                    tracemalloc.stop()

    def after_fork_in_child(self) -> None:
        """End a window that the parent had open: the child pays for none it did not ask for."""
        self._last = None
        self.stop()

    def last(self) -> AllocationWindow | None:
        """Return the result of the last window, or `None` before the first."""
        return self._last

    def _end(self, began_ns: int) -> _Ended | RuntimeError:
        ours = self._ours
        try:
            self._began_ns = None
            return _Ended(
                self._began_wall_ns,
                (self._clock.monotonic_ns() - began_ns) / 1e9,
                tracemalloc.get_traced_memory()[0],
                tracemalloc.get_tracemalloc_memory(),
                tracemalloc.take_snapshot(),
            )
        except RuntimeError as error:  # the program stopped the tracing in between
            return error
        finally:
            if ours:
                tracemalloc.stop()


class _Ended(NamedTuple):
    """A window as the interpreter traced it."""

    began_wall_ns: int
    seconds: float
    traced: int
    overhead: int
    snapshot: tracemalloc.Snapshot


def _result(ended: _Ended) -> AllocationWindow:
    return AllocationWindow(
        started_at=iso_time(ended.began_wall_ns),
        duration_seconds=ended.seconds,
        traced_mb=ended.traced / MEGABYTE,
        overhead_mb=ended.overhead / MEGABYTE,
        packages=_by_package(ended.snapshot),
    )


def _by_package(snapshot: tracemalloc.Snapshot) -> list[PackageMemory]:
    modules = _modules_by_file()
    sums: dict[str, list[int]] = {}
    for statistic in snapshot.statistics("filename"):
        package = _package(statistic.traceback[0].filename, modules)
        row = sums.setdefault(package, [0, 0])
        row[0] += statistic.size
        row[1] += statistic.count
    largest = sorted(sums.items(), key=lambda item: -item[1][0])[:_MAX_PACKAGES]
    return [PackageMemory(name, size / MEGABYTE, count) for name, (size, count) in largest]


def _modules_by_file() -> dict[str, str]:
    files: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        # the program may put any object among its modules
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str):
            files.setdefault(file, name)
    return files


def _package(filename: str, modules: dict[str, str]) -> str:
    """Return the module of a program's own file, or the package of an installed one."""
    name = modules.get(filename)
    if filename.startswith(_INSTALLED):
        folder = next(folder for folder in _INSTALLED if filename.startswith(folder))
        return filename[len(folder) :].partition(os.sep)[0].removesuffix(".py")
    if filename.startswith((*_STANDARD, "<frozen")):
        return "python"
    if filename.startswith(_OWN):
        return "otel_studio"
    return name or filename


def _folders(*names: str) -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(dict.fromkeys(os.path.join(paths[name], "") for name in names))


_INSTALLED = _folders("purelib", "platlib")
_STANDARD = _folders("stdlib", "platstdlib")
_OWN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
