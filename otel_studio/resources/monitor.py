"""Reads the process and what surrounds it, for metrics and for queries alike."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from otel_studio.clock import Clock
from otel_studio.guard import report_internal_error
from otel_studio.resources import instruments
from otel_studio.resources.allocation_window import AllocationTracer
from otel_studio.resources.allocators import read_allocators
from otel_studio.resources.collector_watch import CollectorWatch
from otel_studio.resources.event_loop import EventLoopWatch
from otel_studio.resources.host_files import HostFiles
from otel_studio.resources.memory_alerts import MemoryAlerts, MemoryThresholds
from otel_studio.resources.memory_records import MemoryUsage
from otel_studio.resources.memory_report import alerts_of, memory_usage
from otel_studio.resources.operation_allocations import OperationAllocationSampler
from otel_studio.resources.process import ProcessReader, ProcessReading
from otel_studio.resources.psutil_source import PsutilSource, load_psutil
from otel_studio.resources.reading import ResourceReading, SlowReading
from otel_studio.resources.service_memory import MemoryTracker
from otel_studio.resources.system import SystemReader, SystemReading
from otel_studio.resources.utilization import UtilizationWindow

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

T = TypeVar("T")

#: Seconds for which one reading serves everyone who asks.
SHARED_SECONDS = 0.5
#: Seconds between two readings, for metrics, of what costs more (USS, allocators).
SLOW_SECONDS = 10.0
_WINDOW_POLL_SECONDS = 0.5
#: A tick may come this much of the interval early without costing a window.
_EARLY = 0.8


class ResourceMonitor:
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
        >>> from otel_studio.clock import SystemClock
        >>> ResourceMonitor(SystemClock()).memory_usage_metrics().total_memory_mb > 1
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
        source = PsutilSource(psutil)
        self._clock = clock
        self._service_names = service_names
        self._interval = interval
        self._process = ProcessReader(files, source)
        self._system = SystemReader(files, source)
        self._process_cpu = UtilizationWindow(interval * _EARLY)
        self._system_cpu = UtilizationWindow(interval * _EARLY)
        self._collector = CollectorWatch()
        self._loops = EventLoopWatch()
        self._tracer = AllocationTracer(clock)
        self._alerts = MemoryAlerts(clock)
        self.memory = MemoryTracker(clock)
        self.operation_allocations = (
            OperationAllocationSampler(sample_operations, files=files)
            if sample_operations
            else None
        )
        # A collection that starts while it is held may run a finalizer that asks for figures.
        self._lock = threading.RLock()
        self._latest: ResourceReading | None = None
        self._slow: SlowReading | None = None
        self._sampled_ns: int | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._read()  # the first windows of processor use count from here

    def register_instruments(self, meter: Meter) -> None:
        """Create the instruments of the process, the system, the collector and the services.

        Args:
            meter: makes them; a figure without a source leaves no point.
        """
        instruments.register(meter, self.reading)

    def start(self) -> None:
        """Begin to time collections and to sample on a thread; a second call does nothing."""
        with self._lock:
            if self._thread is not None:
                return
            self._collector.start()
            self._start_thread()

    def stop(self, timeout: float = 1.0) -> None:
        """End the thread and take every hook out of the interpreter and its event loops.

        Args:
            timeout: seconds to wait for a sample that is under way.
        """
        with self._lock:
            thread, self._thread = self._thread, None
        self._stop.set()
        self._collector.stop()
        self._loops.stop()
        self._tracer.stop()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def restart_after_fork(self) -> None:
        """Go on in a forked child: counts from zero, its own figures, a thread of its own."""
        running = self._thread is not None
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = None
        self._latest = self._slow = None
        self._sampled_ns = None
        self._process_cpu.forget()
        self._system_cpu.forget()
        for part in (self._collector, self._loops, self._tracer, self.memory):
            part.restart_after_fork()
        if self.operation_allocations is not None:
            self.operation_allocations.restart_after_fork()
        self._read()  # the first windows of processor use count from here
        if running:
            self._start_thread()

    def reading(self) -> ResourceReading:
        """Return the present figures; for half a second everyone gets the same ones."""
        latest = self._latest
        if latest is not None and self._is_fresh(latest):
            return latest
        if self._thread is None and self._sample_is_due():
            self._sample()
        with self._lock:
            latest = self._latest
            return latest if latest is not None and self._is_fresh(latest) else self._read()

    def tick(self) -> None:
        """Sample services and loops, and end what is due; the thread calls this."""
        if self._sample_is_due():
            self._sample()
        else:
            self._tracer.close_if_due()

    def memory_usage_metrics(self) -> MemoryUsage:
        """Return the memory of the process, by service where that was asked for."""
        self.memory.sample()
        self._tracer.close_if_due()
        reading = dataclasses.replace(
            self.reading(), slow=self._slow_reading(1.0), generations=self._collector.read()
        )
        sampler = self.operation_allocations
        return memory_usage(
            reading,
            # sampled just now, where the reading may be half a second old
            services=self.memory.readings(),
            known_services=self._service_names(),
            now_ns=self._clock.time_ns(),
            window=self._tracer.last(),
            operations=[] if sampler is None else sampler.records(),
            alerts=self._alerts,
            gc_enabled=gc.isenabled(),
        )

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
        return self._tracer.open(seconds)

    def watch_event_loop(
        self, loop: asyncio.AbstractEventLoop | None = None, name: str = "main"
    ) -> None:
        """Measure how late an event loop runs what is due; see `EventLoopWatch.watch`."""
        self._loops.watch(loop, name)

    def _start_thread(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name="otel-studio-resources", daemon=True
        )
        self._thread.start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(_WINDOW_POLL_SECONDS if self._tracer.is_open else self._interval):
            try:
                self.tick()
            except Exception as error:
                report_internal_error("the sampling of resources", error)

    def _is_fresh(self, latest: ResourceReading) -> bool:
        age = self._clock.monotonic_ns() - latest.taken_ns
        return age < SHARED_SECONDS * 1e9 and latest.process.pid == os.getpid()

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
        alerts_of(self.reading(), self.memory.readings(), self._alerts)

    def _read(self) -> ResourceReading:
        now = self._clock.monotonic_ns()
        process = _or_else("the figures of the process", self._process.read, _no_process)
        system = _or_else("the figures of the system", self._system.read, SystemReading)
        seconds = {"user": process.cpu_user, "system": process.cpu_system}
        self._process_cpu.update(now, seconds, system.cpus_available)
        self._system_cpu.update(now, system.cpu, system.cpu_count)
        reading = ResourceReading(
            taken_ns=now,
            process=process,
            system=system,
            process_cpu=self._process_cpu.fractions,
            system_cpu=self._system_cpu.fractions,
            generations=self._collector.read(),
            loops=self._loops.readings(),
            services=self.memory.readings(),
            slow=self._slow_reading(SLOW_SECONDS),
        )
        self._latest = reading
        return reading

    def _slow_reading(self, oldest_seconds: float) -> SlowReading:
        now, slow = self._clock.monotonic_ns(), self._slow
        if slow is None or now - slow.taken_ns >= oldest_seconds * 1e9:
            slow = SlowReading(now, self._process.unique_bytes(), read_allocators())
            self._slow = slow
        return slow


def _no_process() -> ProcessReading:
    return ProcessReading(pid=os.getpid())


def _or_else(place: str, read: Callable[[], T], instead: Callable[[], T]) -> T:
    """Return a reading, or an empty one when it fails: one source costs only its own figures."""
    try:
        return read()
    except Exception as error:
        report_internal_error(place, error)
        return instead()
