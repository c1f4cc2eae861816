"""OpenTelemetry metrics of pools and queues."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import ClassVar

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from .pools import PoolFigures
from .queues import QueueBook
from .records import PoolStatistics
from .spans import SCOPE
from .version import __version__


class Source:
    """What the gauges read.

    Args:
        figures: returns the figures of every pool, up to date.
        pools: returns their records.
        queues: the watched queues.
    """

    def __init__(
        self,
        figures: Callable[[], list[PoolFigures]],
        pools: Callable[[], list[PoolStatistics]],
        queues: QueueBook,
    ) -> None:
        self.figures = figures
        self.pools = pools
        self.queues = queues


class Gauges:
    """The observable instruments.

    An SDK keeps the first callbacks of an instrument for ever, so there is one such object for
    each provider: it reads whichever source is set, and reports nothing while there is none.
    """

    _by_provider: ClassVar[weakref.WeakKeyDictionary[metrics.MeterProvider, Gauges]] = (
        weakref.WeakKeyDictionary()
    )

    @classmethod
    def of(cls, meter_provider: metrics.MeterProvider | None) -> Gauges:
        """Return the gauges of a provider.

        Args:
            meter_provider: `None` for the global one.
        """
        provider = meter_provider if meter_provider is not None else metrics.get_meter_provider()
        gauges = cls._by_provider.get(provider)
        if gauges is None:
            gauges = cls(metrics.get_meter(SCOPE, __version__, provider))
            cls._by_provider[provider] = gauges
        return gauges

    def __init__(self, meter: metrics.Meter) -> None:
        self.source: Source | None = None
        for name, unit, description, read in (
            ("queued", "{task}", "Tasks waiting to start.", _queued),
            ("running", "{task}", "Tasks running.", _running),
            ("workers", "{worker}", "The most tasks that run at a time.", _workers),
        ):
            meter.create_observable_up_down_counter(
                f"otel_studio.executor.{name}", [self._reader(read)], unit, description
            )
        meter.create_observable_gauge(
            "otel_studio.executor.saturation",
            [self._reader(_saturation)],
            "1",
            "Running tasks by workers.",
        )
        meter.create_observable_counter(
            "otel_studio.executor.task.count", [self._ended], "{task}", "Tasks ended, by outcome."
        )
        meter.create_observable_counter(
            "otel_studio.executor.task.wait_time",
            [self._waited],
            "s",
            "Time that all tasks have waited to start.",
        )
        meter.create_observable_counter(
            "otel_studio.executor.task.run_time",
            [self._ran],
            "s",
            "Time that all tasks have run.",
        )
        meter.create_observable_up_down_counter(
            "otel_studio.queue.length", [self._queue_lengths], "{item}", "Items in the queue."
        )
        meter.create_observable_gauge(
            "otel_studio.queue.saturation",
            [self._queue_saturations],
            "1",
            "Items in the queue by its capacity.",
        )
        meter.create_observable_counter(
            "otel_studio.queue.wait_time",
            [self._queue_waits],
            "s",
            "Time that all items taken have waited.",
        )

    def _reader(
        self, read: Callable[[PoolStatistics], float | None]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for pool in self.source.pools() if self.source is not None else ():
                value = read(pool)
                if value is not None:
                    yield Observation(value, _pool_attributes(pool.name, pool.kind))

        return observe

    def _ended(self, _: CallbackOptions) -> Iterable[Observation]:
        for figures in self.source.figures() if self.source is not None else ():
            attributes = _pool_attributes(figures.name, figures.kind)
            for outcome, count in figures.outcomes().items():
                yield Observation(count, {**attributes, "executor.outcome": outcome})

    def _waited(self, _: CallbackOptions) -> Iterable[Observation]:
        for figures in self.source.figures() if self.source is not None else ():
            yield Observation(
                figures.waited_and_ran_seconds()[0], _pool_attributes(figures.name, figures.kind)
            )

    def _ran(self, _: CallbackOptions) -> Iterable[Observation]:
        for figures in self.source.figures() if self.source is not None else ():
            yield Observation(
                figures.waited_and_ran_seconds()[1], _pool_attributes(figures.name, figures.kind)
            )

    def _queue_lengths(self, _: CallbackOptions) -> Iterable[Observation]:
        for each in self.source.queues.statistics() if self.source is not None else ():
            if each.length is not None:
                yield Observation(each.length, {"queue.name": each.name})

    def _queue_saturations(self, _: CallbackOptions) -> Iterable[Observation]:
        for each in self.source.queues.statistics() if self.source is not None else ():
            if each.saturation is not None:
                yield Observation(each.saturation, {"queue.name": each.name})

    def _queue_waits(self, _: CallbackOptions) -> Iterable[Observation]:
        for entry in self.source.queues.entries() if self.source is not None else ():
            if entry.taken:
                yield Observation(entry.waited_seconds(), {"queue.name": entry.name})


def _pool_attributes(name: str, kind: str) -> dict[str, str]:
    return {"executor.name": name, "executor.kind": kind}


def _queued(pool: PoolStatistics) -> float | None:
    return pool.queued


def _running(pool: PoolStatistics) -> float | None:
    return pool.running


def _workers(pool: PoolStatistics) -> float | None:
    return pool.workers


def _saturation(pool: PoolStatistics) -> float | None:
    return pool.saturation
