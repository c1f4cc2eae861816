"""Reads the process and what surrounds it, for metrics and for queries alike."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from otel_studio.base import figures, guard
from otel_studio.base.clock import Clock
from otel_studio.base.locks import new_lock
from otel_studio.base.reading import new_epoch, process_epoch
from otel_studio.base.worker import Worker
from otel_studio.process.allocation_window import AllocationTracer
from otel_studio.process.event_loop import EventLoopWatch
from otel_studio.process.garbage_collection import GarbageCollectionWatch
from otel_studio.process.host_files import HostFiles
from otel_studio.process.host_reader import HostReader
from otel_studio.process.instruments import FIGURES
from otel_studio.process.memory_alerts import MemoryAlerts, MemoryThresholds
from otel_studio.process.memory_records import MemoryUsage
from otel_studio.process.memory_report import alerts_of, memory_usage, traced_services
from otel_studio.process.operation_allocations import OperationAllocationSampler
from otel_studio.process.psutil_source import load_psutil
from otel_studio.process.reading import ResourceReading
from otel_studio.process.service_memory import MemoryTracker
from otel_studio.process.watch_reading import WatchPart

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

#: Seconds for which one reading serves everyone who asks.
SHARED_SECONDS = 0.5
#: Seconds between two readings, for metrics, of what costs more (USS, allocators).
SLOW_SECONDS = 10.0
#: The same for a query about memory.
_QUERY_SECONDS = 1.0
_WINDOW_POLL_SECONDS = 0.5
#: A tick may come this much of the interval early without costing a window.
_EARLY = 0.8


class ProcessMonitor:
    """The figures of this process: one cached reading for all gauges, sampled by one thread.

    Without the thread (`start` was not called) whoever reads pays for the sampling.

    Args:
        clock: times readings and windows.
        interval: seconds between two samples of services, loops and processor use.
        root: what stands for `/`, for tests.
        psutil: returns psutil or `None`, for tests.
        sample_operations: sample allocations in one run in so many; 0 samples none.
        service_names: returns the services that exist, to which traced modules are attributed.

    Example:
        >>> from otel_studio.base.clock import SystemClock
        >>> ProcessMonitor(SystemClock()).memory_usage_metrics().total_memory_mb > 1
        True
    """

    def __init__(
        self,
        clock: Clock,
        *,
        interval: float = 5.0,
        root: str = "/",
        psutil: Callable[[], Any] = load_psutil,
        sample_operations: int = 0,
        service_names: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        files = HostFiles(root)
        self._clock = clock
        self._service_names = service_names
        self._interval = interval
        self._host = HostReader(clock, interval * _EARLY, files, psutil)
        self._collector = GarbageCollectionWatch()
        self._loops = EventLoopWatch()
        self._tracer = AllocationTracer(clock)
        self._alerts = MemoryAlerts(clock)
        self.memory = MemoryTracker(clock)
        self.operation_allocations = (
            OperationAllocationSampler(sample_operations, files=files)
            if sample_operations
            else None
        )
        self._lock = new_lock()
        self._epoch = new_epoch()
        #: When it was taken, by the monotonic clock, in which process, and what it is.
        self._latest: tuple[int, int, ResourceReading] | None = None
        self._sampled_ns: int | None = None
        self._started = False
        self._worker = Worker("otel-studio-process", self._work, interval=interval)
        self._read()  # the first windows of processor use count from here

    def __repr__(self) -> str:
        return f"<ProcessMonitor, {'reads' if self._started else 'does not read'} by itself>"

    def register_instruments(self, meter: Meter) -> None:
        """Create the instruments of the process, the system, the collector and the services.

        Args:
            meter: makes them; a figure without a source leaves no point.
        """
        figures.register(meter, FIGURES, self.reading)

    def start(self) -> None:
        """Begin to time collections and to sample on a thread; a second call does nothing."""
        if not self._started:
            self._started = True
            self._collector.start()
            self._worker.allow()
        self._worker.start()

    def stop(self, timeout: float = 1.0) -> None:
        """End the thread and take every hook out of the interpreter and its event loops.

        Args:
            timeout: seconds to wait for a sample that is under way.
        """
        self._started = False
        self._collector.stop()
        self._loops.stop()
        self._tracer.stop()
        self._worker.stop(timeout)

    def before_fork(self) -> None:
        """Nothing is held: every lock is free again in a child."""

    def after_fork_in_parent(self) -> None:
        """Nothing was held."""

    def after_fork_in_child(self) -> None:
        """Go on in a forked child: counts from zero, and figures of its own.

        The thread starts again when a figure is asked for.
        """
        self._worker.after_fork_in_child()
        self._epoch = new_epoch()
        self._latest = None
        self._sampled_ns = None
        for part in (self._host, self._collector, self._loops, self._tracer, self.memory):
            part.after_fork_in_child()
        if self.operation_allocations is not None:
            self.operation_allocations.after_fork_in_child()
        self._take(SLOW_SECONDS)  # the first windows of processor use count from here

    def reading(self) -> ResourceReading:
        """Return the present figures; for half a second everyone gets the same ones."""
        self._keep_working()
        latest = self._fresh()
        if latest is not None:
            return latest
        if not self._started and self._sample_is_due():
            self._sample()
        return self._fresh() or self._read()

    def tick(self) -> None:
        """Sample services and loops, and end what is due; the thread calls this."""
        if self._sample_is_due():
            self._sample()
        else:
            self._tracer.close_if_due()

    def memory_usage_metrics(self) -> MemoryUsage:
        """Return the memory of the process, by service where that was asked for."""
        self._keep_working()
        self.memory.sample()
        self._tracer.close_if_due()
        reading = self._read(_QUERY_SECONDS)
        return memory_usage(reading, alerts_of(reading, self._alerts))

    def set_memory_alert_thresholds(
        self, thresholds: Mapping[str, float | None]
    ) -> MemoryThresholds:
        """Change when memory alerts are raised.

        Args:
            thresholds: new values by name: `max_process_utilization`,
                `max_system_utilization` and `max_fragmentation` (0 to 1), `max_memory_mb` and
                `max_service_memory_mb`. `None` raises that alert never; what is not named stays.

        Returns:
            All thresholds as they are now.

        Raises:
            ValueError: for an unknown name or a value out of range.
        """
        return self._alerts.set(thresholds)

    def trace_allocations(self, seconds: float = 5.0) -> bool:
        """Attribute memory to packages over a short window; see `AllocationTracer` for its cost.

        Args:
            seconds: how long, from 0.1 to 60.

        Returns:
            False when such a window is open already.

        Raises:
            ValueError: for another length.
        """
        opened = self._tracer.open(seconds)
        if self._started:
            self._worker.wake()  # it looks more often while a window is open
        return opened

    def watch_event_loop(
        self, loop: asyncio.AbstractEventLoop | None = None, name: str = "main"
    ) -> None:
        """Measure how late an event loop runs what is due; see `EventLoopWatch.watch`."""
        self._loops.watch(loop, name)

    def _keep_working(self) -> None:
        """Have a thread that is gone started anew: after a fork, or where something killed it."""
        if self._started and not self._worker.is_running:
            self._worker.wake()

    def _work(self) -> float | None:
        self.tick()
        guard.write_notes()
        return _WINDOW_POLL_SECONDS if self._tracer.is_open else None

    def _fresh(self) -> ResourceReading | None:
        latest = self._latest
        if latest is None:
            return None
        taken_ns, pid, reading = latest
        age = self._clock.monotonic_ns() - taken_ns
        return reading if age < SHARED_SECONDS * 1e9 and pid == os.getpid() else None

    def _sample_is_due(self) -> bool:
        before = self._sampled_ns
        least = self._interval * _EARLY * 1e9
        return before is None or self._clock.monotonic_ns() - before >= least

    def _sample(self) -> None:
        # Without the lock: a probe is the program's own and may take its time.
        self._sampled_ns = self._clock.monotonic_ns()
        self._loops.close_window()
        self._tracer.close_if_due()
        self.memory.sample()
        alerts_of(self._fresh() or self._read(), self._alerts)

    def _read(self, oldest_seconds: float = SLOW_SECONDS) -> ResourceReading:
        reading = self._take(oldest_seconds)
        guard.write_notes()
        return reading

    def _take(self, oldest_seconds: float) -> ResourceReading:
        """Take a reading; a source that fails is noted, and `write_notes` is to say so."""
        window, sampler = self._tracer.last(), self.operation_allocations
        traced = traced_services(window, self._service_names)
        with self._lock:
            now_ns = self._clock.monotonic_ns()
            process, machine = self._host.read(
                self._collector.collections(), gc.isenabled(), oldest_seconds
            )
            watch = WatchPart(
                unix_ns=process.unix_ns,
                pauses=self._collector.pauses(),
                operations={} if sampler is None else sampler.sums(),
                services=self.memory.readings(),
                loops=self._loops.readings(),
                window=window,
                traced_services=traced,
            )
            reading = ResourceReading({process_epoch(): process}, {self._epoch: watch}, machine)
            self._latest = (now_ns, os.getpid(), reading)
        return reading
