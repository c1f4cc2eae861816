"""The rooms beside spans and metrics: caches, the process, GPUs and logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from otel_studio.assembly import from_settings
from otel_studio.base.clock import Clock
from otel_studio.base.forking import Room
from otel_studio.base.guard import note_internal_error
from otel_studio.base.locks import new_lock
from otel_studio.operations.seat import Seat
from otel_studio.registry.registry import Registry
from otel_studio.settings.loading import Settings
from otel_studio.spans.redaction import Redactor

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

    from otel_studio.caches.registry import CacheRegistry
    from otel_studio.gpu.monitor import GpuMonitor
    from otel_studio.process.monitor import ProcessMonitor


class FigureRooms:
    """Builds each room when it is first used, once, whatever threads ask for it.

    Args:
        settings: every setting, resolved.
        clock: wall and monotonic time.
        registry: names the services that memory is told apart by.
        meter: makes the rooms' instruments.
        redactor: takes secrets out of what the rooms keep.
        taken: returns the seat that the Studio sits in.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        registry: Registry,
        meter: Meter,
        redactor: Redactor,
        taken: Callable[[], Seat],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._registry = registry
        self._meter = meter
        self._redactor = redactor
        self._seat = taken
        self._building = new_lock()
        self._caches: CacheRegistry | None = None
        self._process: ProcessMonitor | None = None
        self._gpu: GpuMonitor | None = None
        self._added: list[Room] = []

    def add(self, room: Room) -> None:
        """Start, stop and tell of forks a room that is built with the Studio.

        Args:
            room: started by the next `start`.
        """
        self._added.append(room)

    @property
    def caches(self) -> CacheRegistry:
        """The caches' statistics."""
        caches = self._caches
        if caches is None:
            with self._building:
                caches = self._caches
                if caches is None:
                    from otel_studio.caches.registry import CacheRegistry

                    caches = CacheRegistry(
                        self._clock, **from_settings.cache_settings(self._settings)
                    )
                    self.use_caches(caches)
        return caches

    def use_caches(self, caches: CacheRegistry) -> None:
        """Report these caches."""
        with self._building:
            caches.redact_keys(None if self._redactor.is_idle else self._redactor.text)
            caches.register_instruments(self._meter)
            self._caches = caches

    @property
    def process(self) -> ProcessMonitor:
        """The figures of the process."""
        process = self._process
        if process is None:
            with self._building:
                process = self._process
                if process is None:
                    from otel_studio.process.monitor import ProcessMonitor

                    process = ProcessMonitor(
                        self._clock,
                        sample_operations=self._settings.sample_allocations,
                        service_names=self._registry.service_names,
                    )
                    process.register_instruments(self._meter)
                    self._process = process
        return process

    @property
    def gpu(self) -> GpuMonitor:
        """The GPUs of the machine."""
        gpu = self._gpu
        if gpu is None:
            with self._building:
                gpu = self._gpu
                if gpu is None:
                    from otel_studio.gpu.encoders import sources_of
                    from otel_studio.gpu.monitor import GpuMonitor

                    gpu = GpuMonitor(self._clock, encode_sources=sources_of(self._seat()))
                    gpu.register_instruments(self._meter)
                    self._gpu = gpu
        return gpu

    def start(self) -> None:
        """Start the threads of the rooms that were added, and of those that the settings name."""
        if self._caches is not None:
            self._caches.start()
        for room in self._added:
            room.start()
        if self._settings.process:
            self.process.start()
        if self._settings.gpu:
            self.gpu.start()

    def stop(self, timeout: float) -> None:
        """Stop every room that was built.

        Args:
            timeout: seconds for each, at most.
        """
        for room in self._built():
            room.stop(timeout)

    def before_fork(self) -> None:
        """Let every room hold still."""
        self._tell("before_fork")

    def after_fork_in_parent(self) -> None:
        """Go on in the parent."""
        self._tell("after_fork_in_parent")

    def after_fork_in_child(self) -> None:
        """Start anew in a forked child; the threads start when they are first needed."""
        self._tell("after_fork_in_child")

    def _tell(self, event: str) -> None:
        for room in self._built():
            try:
                getattr(room, event)()
            except Exception as error:  # the other rooms are told all the same
                note_internal_error(f"{event} of {type(room).__name__}", error)

    def _built(self) -> list[Room]:
        rooms = (self._caches, self._process, self._gpu)
        return [*self._added, *(room for room in rooms if room is not None)]
