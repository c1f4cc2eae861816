"""The rooms beside spans and metrics: caches, resources, GPUs and logs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from otel_studio import parts
from otel_studio.clock import Clock
from otel_studio.config import Settings
from otel_studio.redaction import Redactor
from otel_studio.registry.registry import Registry

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

    from otel_studio.caches.registry import CacheRegistry
    from otel_studio.logs.room import StudioLogs
    from otel_studio.resources.gpu import GpuMonitor
    from otel_studio.resources.monitor import ResourceMonitor


class Rooms:
    """Builds each room when it is first used, once, whatever threads ask for it.

    Args:
        settings: every setting, resolved.
        clock: wall and monotonic time.
        registry: names the services that memory is told apart by.
        meter: makes the rooms' instruments.
        redactor: takes secrets out of what the rooms keep.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        registry: Registry,
        meter: Meter,
        redactor: Redactor,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._registry = registry
        self._meter = meter
        self._redactor = redactor
        # Re-entrant: a signal handler may ask for a room while one is being built.
        self._building = threading.RLock()
        self._caches: CacheRegistry | None = None
        self._resources: ResourceMonitor | None = None
        self._gpu: GpuMonitor | None = None
        #: The logs, where the settings join them.
        self.logs: StudioLogs | None = None

    @property
    def caches(self) -> CacheRegistry:
        """The caches' statistics."""
        caches = self._caches
        if caches is None:
            with self._building:
                caches = self._caches
                if caches is None:
                    from otel_studio.caches.registry import CacheRegistry

                    caches = CacheRegistry(self._clock, **parts.cache_settings(self._settings))
                    self.use_caches(caches)
        return caches

    def use_caches(self, caches: CacheRegistry) -> None:
        """Report these caches."""
        with self._building:
            caches.redact_keys(None if self._redactor.is_idle else self._redactor.text)
            caches.register_instruments(self._meter)
            self._caches = caches

    @property
    def resources(self) -> ResourceMonitor:
        """The figures of the process."""
        resources = self._resources
        if resources is None:
            with self._building:
                resources = self._resources
                if resources is None:
                    from otel_studio.resources.monitor import ResourceMonitor

                    resources = ResourceMonitor(
                        self._clock,
                        sample_operations=self._settings.sample_allocations,
                        service_names=lambda: list(self._registry.services),
                    )
                    resources.register_instruments(self._meter)
                    self._resources = resources
        return resources

    @property
    def gpu(self) -> GpuMonitor:
        """The GPUs of the machine."""
        gpu = self._gpu
        if gpu is None:
            with self._building:
                gpu = self._gpu
                if gpu is None:
                    from otel_studio.resources.gpu import GpuMonitor

                    gpu = GpuMonitor(self._clock)
                    gpu.register_instruments(self._meter)
                    self._gpu = gpu
        return gpu

    def start(self) -> None:
        """Start the threads of the rooms that the settings name."""
        if self._caches is not None:
            self._caches.start()
        if self.logs is not None:
            self.logs.start()
        if self._settings.resources:
            self.resources.start()
        if self._settings.gpu:
            self.gpu.start()

    def stop(self, timeout: float) -> None:
        """Stop every room that was built.

        Args:
            timeout: seconds for each, at most.
        """
        for room in self._built():
            room.stop(timeout)

    def hold_for_fork(self) -> None:
        """Let a call into the GPU's driver end."""
        if self._gpu is not None:
            self._gpu.hold_for_fork()

    def release_after_fork(self) -> None:
        """Go on in the parent."""
        if self._gpu is not None:
            self._gpu.release_after_fork()

    def restart_after_fork(self) -> None:
        """Start anew in a forked child, with threads of its own."""
        self._building = threading.RLock()  # a thread of the parent may have held it
        for room in self._built():
            if room is not self._caches:
                room.restart_after_fork()
        if self._caches is not None:
            self._caches.after_fork_in_child()

    def _built(self) -> list[Any]:
        rooms = (self.logs, self._caches, self._resources, self._gpu)
        return [room for room in rooms if room is not None]
