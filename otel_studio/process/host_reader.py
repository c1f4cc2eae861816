"""Reads the calling process and its machine together, and keeps the windows of processor use."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from otel_studio.base.clock import Clock
from otel_studio.base.guard import note_internal_error
from otel_studio.base.reading import process_epoch
from otel_studio.process.allocators import AllocatorReading, read_allocators
from otel_studio.process.host_files import HostFiles
from otel_studio.process.machine_reading import MachineReading
from otel_studio.process.process_reading import CollectionCounts, ProcessCounts, ProcessPart
from otel_studio.process.psutil_source import PsutilSource
from otel_studio.process.system import SystemReader, SystemReading
from otel_studio.process.usage import ProcessReader, ProcessReading
from otel_studio.process.utilization import UtilizationWindow

T = TypeVar("T")

_BOOT = "/proc/sys/kernel/random/boot_id"


class _Slow(NamedTuple):
    """What costs more to read, and is read less often."""

    taken_ns: int
    unique: int | None
    allocators: tuple[AllocatorReading, ...]


class HostReader:
    """Reads `/proc`, the control group and psutil; used under its owner's lock.

    A source that fails costs its own figures alone.

    Args:
        clock: times readings and windows.
        window: seconds that a window of processor use lasts at least.
        files: where `/proc` and `/sys` are.
        psutil: returns psutil or `None`.
    """

    def __init__(
        self, clock: Clock, window: float, files: HostFiles, psutil: Callable[[], Any]
    ) -> None:
        source = PsutilSource(psutil)
        self._clock = clock
        self._process = ProcessReader(files, source)
        self._system = SystemReader(files, source)
        self._process_cpu = UtilizationWindow(window)
        self._system_cpu = UtilizationWindow(window)
        self._boot = (files.text(_BOOT) or "").strip() or None
        self._slow: _Slow | None = None

    def read(
        self,
        collections: tuple[CollectionCounts, ...],
        gc_enabled: bool,
        oldest_seconds: float,
    ) -> tuple[ProcessPart, MachineReading]:
        """Return the process and its machine as they are now.

        Args:
            collections: what the collector did.
            gc_enabled: whether it runs by itself.
            oldest_seconds: how old may be what costs more to read (USS, allocators).
        """
        now_ns, unix_ns = self._clock.monotonic_ns(), self._clock.time_ns()
        process = _or_else("the figures of the process", self._process.read, _no_process)
        system = _or_else("the figures of the system", self._system.read, SystemReading)
        seconds = {"user": process.cpu_user, "system": process.cpu_system}
        self._process_cpu.update(now_ns, seconds, system.cpus_available)
        self._system_cpu.update(now_ns, system.cpu, system.cpu_count)
        slow = self._read_slow(now_ns, oldest_seconds)
        part = ProcessPart(
            unix_ns=unix_ns,
            counts=_counts(process),
            collections=collections,
            pid=process.pid,
            resident=process.resident,
            virtual=process.virtual,
            swapped=process.swapped,
            unique=slow.unique,
            peak_resident=process.peak_resident,
            threads=process.threads,
            descriptors=process.descriptors,
            uptime=process.uptime,
            cpu=self._process_cpu.fractions,
            allocators=slow.allocators,
            gc_enabled=gc_enabled,
        )
        machine = MachineReading(
            unix_ns, process_epoch(), self._boot, system, self._system_cpu.fractions
        )
        return part, machine

    def after_fork_in_child(self) -> None:
        """Begin the windows anew: the seconds of a child are its own."""
        self._slow = None
        self._process_cpu.forget()
        self._system_cpu.forget()

    def _read_slow(self, now_ns: int, oldest_seconds: float) -> _Slow:
        slow = self._slow
        if slow is None or now_ns - slow.taken_ns >= oldest_seconds * 1e9:
            slow = self._slow = _Slow(now_ns, self._process.unique_bytes(), read_allocators())
        return slow


def _counts(process: ProcessReading) -> ProcessCounts:
    return ProcessCounts(
        cpu_user_ns=_nanoseconds(process.cpu_user),
        cpu_system_ns=_nanoseconds(process.cpu_system),
        disk_read=process.disk_read,
        disk_written=process.disk_written,
        voluntary_switches=process.voluntary_switches,
        involuntary_switches=process.involuntary_switches,
        minor_faults=process.minor_faults,
        major_faults=process.major_faults,
    )


def _nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)


def _no_process() -> ProcessReading:
    return ProcessReading(pid=os.getpid())


def _or_else(place: str, read: Callable[[], T], instead: Callable[[], T]) -> T:
    try:
        return read()
    except Exception as error:
        note_internal_error(place, error)
        return instead()
