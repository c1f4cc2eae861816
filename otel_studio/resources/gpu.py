"""Watches the GPUs of the machine on a thread of its own, and answers from its last reading."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from otel_studio.clock import Clock
from otel_studio.guard import report_internal_error
from otel_studio.resources import gpu_records
from otel_studio.resources.encoders import EncodeSources, process_sources
from otel_studio.resources.gpu_nvml import Bindings, load_bindings
from otel_studio.resources.gpu_process import OwnProcess
from otel_studio.resources.gpu_reader import GpuReader
from otel_studio.resources.gpu_readings import DeviceSnapshot
from otel_studio.resources.gpu_records import GpuMetrics
from otel_studio.resources.gpu_schedule import Schedule, Tier

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

THREAD_NAME = "otel-studio-gpu"

NOT_STARTED = "GPUs are not watched: the monitor was not started"
NOT_READ_YET = "the GPUs have not been read yet"
STOPPED = "GPUs are not watched any more: the monitor was stopped"
FORKED_IN_A_CALL = (
    "this process was forked while its parent was inside the NVIDIA driver's library, which "
    "cannot be used after that: GPU figures come from the parent alone"
)

_SECOND = 1_000_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class GpuSnapshot:
    """What was read last; `reason` says why there are no devices."""

    devices: tuple[DeviceSnapshot, ...] = ()
    reason: str | None = None


class GpuMonitor:
    """Reads every GPU in three tiers, and shows the last reading to metrics and queries.

    The driver is called on the monitor's thread alone, never in a query or a collection: some of
    its calls take 20 ms, and a broken driver may not answer at all.

    Args:
        clock: for due times, ages and timestamps.
        load: returns the NVML bindings.
        process: tells this process in the driver's lists; made for the calling process if None.
        encode_sources: who fills `performance_metrics`.

    Example:
        >>> from otel_studio.clock import SystemClock
        >>> monitor = GpuMonitor(SystemClock())
        >>> monitor.utilization_metrics(), monitor.reason
        ([], 'GPUs are not watched: the monitor was not started')
    """

    def __init__(
        self,
        clock: Clock,
        *,
        load: Callable[[], Bindings] = load_bindings,
        process: OwnProcess | None = None,
        encode_sources: EncodeSources = process_sources,
    ) -> None:
        self.batches: Counter[Tier] = Counter()
        self._clock = clock
        self._load = load
        self._given_process = process
        self._encode_sources = encode_sources
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._reading = threading.Lock()
        self._forking: set[int] = set()
        self._begin(NOT_STARTED)

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._stop = threading.Event()
        self._begin(NOT_READ_YET)
        self._thread = threading.Thread(
            target=self._run, args=(self._reader, self._stop), name=THREAD_NAME, daemon=True
        )
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """End the thread and give the driver back; from then on there are no figures.

        Args:
            timeout: seconds to wait for a call that the driver does not return from. After that
                the thread is left behind, and ends by itself when the call returns.
        """
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout)  # it closes its reader itself
        elif self._reading.acquire(timeout=timeout):
            try:
                self._reader.close()
            finally:
                self._reading.release()
        self._begin(STOPPED)

    def hold_for_fork(self, timeout: float = 1.0) -> None:
        """Wait until no call is inside the driver, and let none begin: before a fork.

        Args:
            timeout: seconds to wait; a child that is forked later than that goes without GPU
                figures, since the library's locks stay held in it.
        """
        if self._reading.acquire(timeout=timeout):
            self._forking.add(threading.get_ident())

    def release_after_fork(self) -> None:
        """Let the thread go on, in the parent."""
        if threading.get_ident() in self._forking:
            self._forking.discard(threading.get_ident())
            self._reading.release()

    def restart_after_fork(self) -> None:
        """Begin anew in a forked child, where the thread is gone and the connection is another's.

        Nothing is shut down here: the connection that was inherited belongs to the parent.
        """
        was_running = self._thread is not None and not self._stop.is_set()
        was_inside_a_call = self._reading.locked() and threading.get_ident() not in self._forking
        self._thread = None
        self._forking = set()
        self._reading = threading.Lock()
        self._stop = threading.Event()
        self.batches = Counter()
        self._begin(FORKED_IN_A_CALL if was_inside_a_call else NOT_STARTED)
        if was_running and not was_inside_a_call:
            self.start()

    def sample(self, now_ns: int | None = None) -> float | None:
        """Read what is due now; what the thread does again and again, and tests step by step.

        Args:
            now_ns: the monotonic clock in nanoseconds; the monitor's own if None.

        Returns:
            Seconds until the next reading, or `None` when there will never be one.
        """
        return self._read_once(self._reader, now_ns)

    def snapshot(self) -> GpuSnapshot:
        """Return the devices with what is known of them now: old readings are left out."""
        now_ns = self._clock.monotonic_ns()
        shown = self._snapshot
        return GpuSnapshot(tuple(device.as_of(now_ns) for device in shown.devices), shown.reason)

    def register_instruments(self, meter: Meter) -> None:
        """Create the GPU instruments on a meter; once per meter.

        Args:
            meter: an OpenTelemetry meter.
        """
        from otel_studio.resources import gpu_instruments

        gpu_instruments.register(meter, lambda: self.snapshot().devices)

    def utilization_metrics(self) -> list[GpuMetrics]:
        """Return one record per GPU and MIG device; none, with a `reason`, where there is none.

        Example:
            >>> from otel_studio.clock import SystemClock
            >>> [gpu.temperature_celsius for gpu in GpuMonitor(SystemClock()).utilization_metrics()]
            []
        """
        encodes = self._encode_sources.statistics()
        return [gpu_records.describe(device, encodes) for device in self.snapshot().devices]

    @property
    def reason(self) -> str | None:
        """Why there are no devices, in words; `None` when there are."""
        shown = self._snapshot
        return None if shown.devices else shown.reason

    def _begin(self, reason: str) -> None:
        self._schedule = Schedule()
        self._reader = GpuReader(self._given_process or OwnProcess(), self._load)
        self._snapshot = GpuSnapshot(reason=reason)

    def _read_once(self, reader: GpuReader, now_ns: int | None = None) -> float | None:
        """Read what is due with a reader, as long as it is the monitor's: `stop` changes it."""
        with self._reading:
            if reader is not self._reader:
                return None
            return self._sample(reader, self._clock.monotonic_ns() if now_ns is None else now_ns)

    def _sample(self, reader: GpuReader, now_ns: int) -> float | None:
        due = self._schedule.due(now_ns)
        self.batches.update(due)
        try:
            devices = reader.read(due, now_ns, self._clock.time_ns())
        except Exception as error:
            report_internal_error("the GPU monitor", error)
        else:
            if reader is self._reader:  # else it was stopped while the driver took its time
                self._snapshot = GpuSnapshot(devices, reader.reason)
        if reader.is_hopeless:
            return None
        wait_ns = reader.wait_ns(now_ns)
        return (self._schedule.wait_ns(now_ns) if wait_ns is None else wait_ns) / _SECOND

    def _run(self, reader: GpuReader, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                wait = self._read_once(reader)
                if wait is None:
                    break
                stop.wait(wait)
        except Exception as error:
            report_internal_error("the GPU monitor's thread", error)
        finally:
            reader.close()
