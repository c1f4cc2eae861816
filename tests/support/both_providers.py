"""Runs a test on this package's TracerProvider and on a plain one of the SDK."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_studio.assembly.studio import Studio
from otel_studio.base import otel_private
from otel_studio.base.clock import Clock
from otel_studio.lifecycle import overriding
from otel_studio.settings.loading import load_settings
from otel_studio.testing.isolation import Isolated, isolated

#: The values of a `provider` parameter.
PROVIDERS = ("own", "sdk")


class Attached(Isolated):
    """What a test sees of a Studio that is attached to providers of the SDK."""

    def __init__(self, studio: Studio, reader: InMemoryMetricReader) -> None:
        self.studio = studio
        self.registry = studio.registry
        self.clock = studio.clock
        self.tracer_provider = studio.tracer_provider
        self.meter_provider = studio.meter_provider
        self.reader = reader
        self.exporter = InMemorySpanExporter()
        studio.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        """The sampled spans that ended, in the order of their ends."""
        return list(self.exporter.get_finished_spans())


@contextmanager
def attached(
    tracer_provider: TracerProvider | None = None, clock: Clock | None = None, **settings: Any
) -> Iterator[Attached]:
    """Run a block on a Studio that found the SDK's providers set when it started."""
    tracers, meters = otel_private.global_tracer_provider(), otel_private.global_meter_provider()
    reader = InMemoryMetricReader()
    own_tracers = tracer_provider or TracerProvider(shutdown_on_exit=False)
    own_meters = MeterProvider([reader], shutdown_on_exit=False)
    otel_private.replace_global_tracer_provider(own_tracers)
    otel_private.replace_global_meter_provider(own_meters)
    try:
        studio = Studio(load_settings({}, os.sep, **settings), clock=clock, attach=True)
        assert studio.tracer_provider is own_tracers
        with overriding(studio):
            yield Attached(studio, reader)
    finally:
        own_tracers.shutdown()
        own_meters.shutdown()
        otel_private.replace_global_tracer_provider(tracers)
        otel_private.replace_global_meter_provider(meters)


@contextmanager
def studio_on(provider: str, **settings: Any) -> Iterator[Isolated]:
    """Run a block on a Studio with its own provider, or attached to the SDK's.

    Args:
        provider: one of `PROVIDERS`.
        **settings: as for `configure`.
    """
    if provider == "own":
        with isolated(**settings) as studio:
            yield studio
    else:
        with attached(**settings) as other:
            yield other
