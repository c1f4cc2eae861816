"""Watches the GPUs of the machine on a thread of its own, and answers from its last reading."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from otel_studio.base import figures
from otel_studio.base.clock import Clock
from otel_studio.base.guard import note_internal_error, write_notes
from otel_studio.base.locks import new_lock, was_held_at_fork
from otel_studio.base.reading import process_epoch
from otel_studio.base.worker import Worker
from otel_studio.gpu import gpu_records
from otel_studio.gpu.encoders import EncodePart, EncodeSources, sources_of
from otel_studio.gpu.gpu_records import EncodePerformance, GpuMetrics
from otel_studio.gpu.nvml import Bindings, load_bindings
from otel_studio.gpu.own_process import OwnProcess
from otel_studio.gpu.reader import GpuReader
from otel_studio.gpu.reading import GpuReading, reading_of
from otel_studio.gpu.schedule import Schedule, Tier
from otel_studio.gpu.tiers import DeviceSnapshot
from otel_studio.operations import seat

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
class _Shown:
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
        encode_sources: who fills `performance_metrics`; by default those of the seat that is
            taken.

    Example:
        >>> from otel_studio.base.clock import SystemClock
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
        encode_sources: EncodeSources | None = None,
    ) -> None:
        self.batches: Counter[Tier] = Counter()
        self._clock = clock
        self._load = load
        self._given_process = process
        self._encode_sources = encode_sources or sources_of(seat.current())
        #: Held while the driver is called. A fork waits for it: a child that is forked inside of a
        #: call inherits the library's own locks as they are then.
        self._driver = new_lock(hold_for_fork=True)
        self._started = False
        self._begin(NOT_STARTED)

    def __repr__(self) -> str:
        shown = self._shown
        return f"<GpuMonitor of {len(shown.devices)} devices: {self.reason or 'read'}>"

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._started and self._worker.is_running:
            return
        self._started = True
        self._begin(NOT_READ_YET)
        self._worker.start()
        self._worker.wake()  # the first reading is due at once

    def stop(self, timeout: float = 1.0) -> None:
        """End the thread and give the driver back; from then on there are no figures.

        Args:
            timeout: seconds to wait for a call that the driver does not return from. After that
                the thread is left behind, and ends by itself when the call returns.
        """
        self._started = False
        reader, worker = self._reader, self._worker
        self._begin(STOPPED)
        ended = worker.stop(timeout)
        # A thread that is inside a call closes its reader itself, once it finds another one here.
        if self._driver.acquire(timeout=timeout if ended else 0):
            try:
                reader.close()
            finally:
                self._driver.release()

    def before_fork(self) -> None:
        """The driver's lock is waited for and held by the fork protocol."""

    def after_fork_in_parent(self) -> None:
        """The fork protocol has let go of the driver's lock."""

    def after_fork_in_child(self) -> None:
        """Begin anew in a forked child, where the thread is gone and the connection is another's.

        Nothing is shut down here: the connection that was inherited belongs to the parent. The
        thread starts again when a figure is asked for.
        """
        self.batches = Counter()
        if was_held_at_fork(self._driver):
            self._begin(NOT_READ_YET if self._started else NOT_STARTED)
        else:
            self._started = False
            self._begin(FORKED_IN_A_CALL)

    def sample(self, now_ns: int | None = None) -> float | None:
        """Read what is due now; what the thread does again and again, and tests step by step.

        Args:
            now_ns: the monotonic clock in nanoseconds; the monitor's own if None.

        Returns:
            Seconds until the next reading, or `None` when there will never be one.
        """
        reader = self._reader
        try:
            return self._read_once(reader, now_ns)
        finally:
            reader.write_said()
            write_notes()

    def reading(self) -> GpuReading:
        """Return the devices with what is known of them now, and what encoders say of themselves.

        The driver is not called; old readings are left out.
        """
        return self._take(with_encodes=True)

    def register_instruments(self, meter: Meter) -> None:
        """Create the GPU instruments on a meter; once per meter.

        Args:
            meter: an OpenTelemetry meter.
        """
        from otel_studio.gpu.instruments import FIGURES

        # No instrument shows encodes, so a collection does not run the program's sources either.
        figures.register(meter, FIGURES, functools.partial(self._take, with_encodes=False))

    def utilization_metrics(self) -> list[GpuMetrics]:
        """Return one record per GPU and MIG device; none, with a `reason`, where there is none.

        Example:
            >>> from otel_studio.base.clock import SystemClock
            >>> [gpu.temperature_celsius for gpu in GpuMonitor(SystemClock()).utilization_metrics()]
            []
        """
        return gpu_records.utilization_metrics(self.reading())

    def encode_performance(self) -> EncodePerformance:
        """Return how the encodes of this process do, also where there is no GPU."""
        return gpu_records.performance_of(self._encode_sources.statistics())

    @property
    def reason(self) -> str | None:
        """Why there are no devices, in words; `None` when there are."""
        shown = self._shown
        return None if shown.devices else shown.reason

    def _begin(self, reason: str) -> None:
        """Forget everything; what still reads with an earlier reader finds another one here."""
        self._schedule = Schedule()
        self._process = self._given_process or OwnProcess()
        reader = self._reader = GpuReader(self._process, self._load)
        self._shown = _Shown(reason=reason)
        worker = self._worker = Worker(
            THREAD_NAME, lambda: self._look(worker, reader), interval=Tier.FAST.value
        )

    def _take(self, *, with_encodes: bool) -> GpuReading:
        if self._started and not self._worker.is_running and not self._reader.is_hopeless:
            self._worker.wake()  # after a fork, or where something killed the thread
        now_ns, unix_ns, shown = self._clock.monotonic_ns(), self._clock.time_ns(), self._shown
        return reading_of(
            unix_ns,
            process_epoch(),
            shown.reason,
            [device.as_of(now_ns) for device in shown.devices],
            self._encodes(unix_ns, shown) if with_encodes else {},
        )

    def _encodes(self, unix_ns: int, shown: _Shown) -> dict[str, EncodePart]:
        """Return what sources say; without the running ones where the driver counts otherwise."""
        parts = self._encode_sources.parts(unix_ns)
        listed = {
            session.pid
            for device in shown.devices
            if device.medium is not None
            for session in device.medium.sessions or ()
        }
        if self._process.numbers_as_driver(listed):
            return parts
        return {epoch: part.without_running() for epoch, part in parts.items()}

    def _read_once(self, reader: GpuReader, now_ns: int | None = None) -> float | None:
        """Read what is due with a reader, as long as it is the monitor's: `stop` changes it."""
        with self._driver:
            if reader is not self._reader:
                return None
            return self._sample(reader, self._clock.monotonic_ns() if now_ns is None else now_ns)

    def _sample(self, reader: GpuReader, now_ns: int) -> float | None:
        due = self._schedule.due(now_ns)
        self.batches.update(due)
        try:
            devices = reader.read(due, now_ns, self._clock.time_ns())
        except Exception as error:
            note_internal_error("the GPU monitor", error)
        else:
            if reader is self._reader:  # else it was stopped while the driver took its time
                self._shown = _Shown(devices, reader.reason)
        if reader.is_hopeless:
            return None
        wait_ns = reader.wait_ns(now_ns)
        return (self._schedule.wait_ns(now_ns) if wait_ns is None else wait_ns) / _SECOND

    def _look(self, worker: Worker, reader: GpuReader) -> float | None:
        """Read once on the thread; end it where no reading is to follow."""
        wait = self._read_once(reader)
        reader.write_said()
        write_notes()
        if wait is None or reader is not self._reader:
            with self._driver:
                reader.close()
            worker.stop(0)
        return wait
