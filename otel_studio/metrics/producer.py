"""Hands the registry's points to metric readers, next to what the SDK collects for them.

The SDK has no MetricProducer yet and no asynchronous histogram, so the narrowest hook is the
callback that a reader collects through. An operation then costs no `histogram.record`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from otel_studio import otel_sdk_private
from otel_studio.clock import Clock
from otel_studio.guard import report_internal_error
from otel_studio.metrics.points import PointMaker, merged
from otel_studio.registry.registry import Registry


class MetricProducer:
    """Adds the registry's metrics to readers.

    Args:
        registry: the source of every number.
        clock: wall-clock times of the points.
        bounds: histogram bounds in seconds.
        resource: gives the resource of the points.
        version: of the instrumentation scope.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        bounds: tuple[float, ...],
        resource: Callable[[], Any],
        version: str,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._bounds = bounds
        self._resource = resource
        self._version = version
        self._attached: list[tuple[Any, Callable[..., Any]]] = []
        #: Held during a collection, so that a fork can wait for its end.
        self._collecting = threading.Lock()
        self._held = False

    def attach(self, reader: Any) -> bool:
        """Add the registry's points to what a reader collects.

        Args:
            reader: registered with a MeterProvider already.

        Returns:
            whether the reader has the hook; `False` is reported and harms nothing.
        """
        original = otel_sdk_private.collect_callback(reader)
        if original is None:
            report_internal_error(
                "adding operations to a metric reader",
                TypeError(f"{type(reader).__name__} has no collect callback of the SDK's form"),
            )
            return False
        maker = self._maker(reader)

        def collect(metric_reader: Any, *args: Any, **kwargs: Any) -> Any:
            with self._collecting:
                data = original(metric_reader, *args, **kwargs)
            try:
                return merged(data, maker.scope_metrics(), self._resource)
            except Exception as error:
                report_internal_error("collecting the registry's metrics", error)
                return data

        otel_sdk_private.set_collect_callback(reader, collect)
        self._attached.append((reader, original))
        return True

    def detach(self) -> None:
        """Leave every reader as it was found."""
        for reader, original in self._attached:
            otel_sdk_private.set_collect_callback(reader, original)
        self._attached.clear()

    def hold(self) -> None:
        """Wait for a collection in progress before a fork, at most a second."""
        self._held = self._collecting.acquire(timeout=1.0)

    def release(self) -> None:
        """Let collections go on after a fork."""
        if self._held:
            self._held = False
            self._collecting.release()

    def renew_after_fork(self) -> None:
        """Start the points of every reader anew in a forked child."""
        self._collecting = threading.Lock()
        readers = [reader for reader, _ in self._attached]
        self.detach()
        for reader in readers:
            self.attach(reader)

    def _maker(self, reader: Any) -> PointMaker:
        return PointMaker(
            self._registry,
            self._clock,
            self._bounds,
            otel_sdk_private.histogram_temporality(reader),
            otel_sdk_private.counter_temporality(reader),
            self._version,
        )
