"""Hands the registry's points to metric readers, next to what the SDK collects for them.

The SDK has no MetricProducer yet and no asynchronous histogram, so the narrowest hook is the
callback that a reader collects through. An operation then costs no `histogram.record`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics import MetricsTimeoutError

from otel_studio.base import otel_sdk_private
from otel_studio.base.delivery import is_own_thread
from otel_studio.base.figures import one_collection
from otel_studio.base.guard import report_internal_error
from otel_studio.base.locks import new_lock
from otel_studio.metrics.merging import merged, together
from otel_studio.metrics.points import PointMaker
from otel_studio.metrics.safe_points import with_safe_text
from otel_studio.metrics.streams import DURATION, Streams, streams_for
from otel_studio.registry.reading import RegistryReading

#: A reader, what it collected by, what it gets, and what more.
_Attached = tuple[Any, Callable[..., Any], Streams, "Callable[[], Any] | None"]


class MetricProducer:
    """Adds the registry's metrics to readers.

    Args:
        read: takes a reading of the registry, the source of every number.
        bounds: histogram bounds in seconds.
        resource: gives the resource of the points.
        version: of the instrumentation scope.
        wants_sketches: called when a reader wants durations in buckets of another kind.
    """

    def __init__(
        self,
        read: Callable[[], RegistryReading],
        bounds: tuple[float, ...],
        resource: Callable[[], Any],
        version: str,
        wants_sketches: Callable[[], None],
    ) -> None:
        self._read = read
        self._bounds = bounds
        self._resource = resource
        self._version = version
        self._wants_sketches = wants_sketches
        self._attached: list[_Attached] = []
        #: One collection at a time; a fork waits for its end, whose locks are the SDK's.
        self._collecting = new_lock(hold_for_fork=True)

    def attach(self, reader: Any, provider: Any, more: Callable[[], Any] | None = None) -> bool:
        """Add the registry's points to what a reader collects.

        Args:
            reader: registered with a MeterProvider already.
            provider: that MeterProvider, whose Views hold.
            more: gives further metrics data for it, in the form that it wants.

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
        streams = streams_for(reader, provider, self._version)
        if any(stream.needs_sketches(self._bounds) for stream in streams[DURATION]):
            self._wants_sketches()
        self._follow(reader, original, streams, more)
        return True

    def _follow(
        self,
        reader: Any,
        original: Callable[..., Any],
        streams: Streams,
        more: Callable[[], Any] | None,
    ) -> None:
        maker = self._maker(reader, streams)

        def collected(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            except MetricsTimeoutError:  # the reader says it itself
                raise
            except BaseException as error:
                # A callback's SystemExit, say, would end the reader's thread for good.
                if not is_own_thread():
                    raise
                report_internal_error("collecting metrics", error)
                return None

        def collect(metric_reader: Any, *args: Any, **kwargs: Any) -> Any:
            with self._collecting, one_collection():
                data = collected(metric_reader, *args, **kwargs)
                try:
                    if more is not None:
                        data = together(data, more())
                    if data is not None:
                        data = with_safe_text(data)
                    return merged(data, maker.scope_metrics(self._read()), self._resource)
                except Exception as error:
                    report_internal_error("collecting the registry's metrics", error)
                    return data

        otel_sdk_private.set_collect_callback(reader, collect)
        self._attached.append((reader, original, streams, more))

    def detach(self) -> None:
        """Leave every reader as it was found."""
        for reader, original, *_ in self._attached:
            otel_sdk_private.set_collect_callback(reader, original)
        self._attached.clear()

    def after_fork_in_child(self) -> None:
        """Start the points of every reader anew in a forked child."""
        attached = list(self._attached)
        self.detach()
        for one in attached:
            self._follow(*one)

    def _maker(self, reader: Any, streams: Streams) -> PointMaker:
        return PointMaker(
            self._bounds,
            otel_sdk_private.histogram_temporality(reader),
            otel_sdk_private.counter_temporality(reader),
            self._version,
            streams,
        )
