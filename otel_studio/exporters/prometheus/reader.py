"""OpenTelemetry's Prometheus reader on a registry of its own, one collection at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk import metrics
from prometheus_client import CollectorRegistry

from otel_studio.base.figures import one_collection
from otel_studio.base.guard import report_internal_error
from otel_studio.base.locks import new_lock
from otel_studio.base.stack import run_elsewhere
from otel_studio.exporters.prometheus.families import agreeing
from otel_studio.exporters.prometheus.names import FamilyNames
from otel_studio.exporters.prometheus.text import FAMILIES
from otel_studio.metrics.safe_points import with_safe_text

#: Seconds that a query from inside an instrument waits for the instruments.
_PATIENCE = 1.0
#: The SDK's metrics, whose locks are not re-entrant.
_SDK_FOLDER = os.path.dirname(metrics.__file__) + os.sep


class StudioPrometheusReader(PrometheusMetricReader):
    """OpenTelemetry's reader, given only what it can write rightly."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry=registry)
        self._names = FamilyNames(FAMILIES)

    def _receive_metrics(self, metrics_data: Any, *args: Any, **kwargs: Any) -> None:
        try:
            metrics_data = agreeing(with_safe_text(metrics_data), self._names)
        except Exception as error:
            report_internal_error("making instruments fit for Prometheus", error)
        super()._receive_metrics(metrics_data, *args, **kwargs)


class InstrumentText:
    """The text of every instrument of a meter provider."""

    def __init__(self) -> None:
        self._collectors = CollectorRegistry()
        #: To be added to the provider.
        self.reader = StudioPrometheusReader(registry=self._collectors)
        #: One collection at a time: the reader hands one's points to another that comes beside
        #: it. A fork waits for the end of one, whose locks are the SDK's.
        self._collecting = new_lock(hold_for_fork=True)
        #: What was collected last, in either format.
        self._last: dict[bool, str] = {}

    def text(self, openmetrics: bool) -> str:
        """Return what the instruments say now.

        Args:
            openmetrics: in the OpenMetrics format, with its closing line.
        """
        if self._collecting.is_held_here():
            # A signal handler has interrupted a collection of its own thread, whose locks, the
            # SDK's, are not re-entrant: the instruments say what they said last.
            return self._last.get(openmetrics, "")
        if _is_inside_an_instrument():
            # A signal handler, a finalizer, or the callback of a weak reference: the instrument
            # may hold its lock.
            run_elsewhere(lambda: self._collect(openmetrics), _PATIENCE)
            return self._last.get(openmetrics, "")
        return self._collect(openmetrics)

    def _collect(self, openmetrics: bool) -> str:
        module = "prometheus_client.openmetrics" if openmetrics else "prometheus_client"
        encode: Callable[[Any], bytes] = import_module(f"{module}.exposition").generate_latest
        with self._collecting, one_collection():
            text = encode(self._collectors).decode()
        self._last[openmetrics] = text
        return text


def _is_inside_an_instrument() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_SDK_FOLDER):
            return True
        frame = frame.f_back
    return False
