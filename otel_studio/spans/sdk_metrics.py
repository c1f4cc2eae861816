"""OpenTelemetry's metrics of its own SDK, for our spans and queues, where its variable asks.

Names and attributes: https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/.
"""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections import Counter
from collections.abc import Iterator
from itertools import count as counter
from typing import TYPE_CHECKING, Final, cast

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace.sampling import Decision

from otel_studio.base import figures
from otel_studio.base.figures import Attributes, Figure, Point
from otel_studio.base.locks import new_lock
from otel_studio.spans.tally import SpanTally, Start
from otel_studio.version import __version__

if TYPE_CHECKING:
    from otel_studio.spans.export import ExportQueue
    from otel_studio.spans.provider import StudioTracerProvider

_VARIABLE: Final = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
_ORIGIN: Final = "otel.span.parent.origin"
_DECISION: Final = "otel.span.sampling_result"
#: Reasons of drops that OpenTelemetry's own processor knows, by its words for them.
_NEVER_HANDED_ON: Final = {
    "queue_full": "queue_full",
    "queue_bytes": "queue_full",
    "shutdown": "already_shutdown",
}
#: What a queue is by the conventions: what stands between a provider and one exporter.
_QUEUE_TYPE: Final = "batching_span_processor"
#: Apart from those of the SDK's own, which a program may have beside it.
_QUEUE_NAME: Final = "otel_studio.spans.export.ExportQueue"
_queue_numbers: Final = counter()


def are_wanted() -> bool:
    """Tell whether the environment asks for them."""
    return os.environ.get(_VARIABLE, "").strip().lower() == "true"


@dataclasses.dataclass(frozen=True, slots=True)
class QueueReading:
    """What one queue of spans has done, and holds.

    Attributes:
        component: the attributes that tell it from others.
        handed_on: spans that the exporter was given.
        refused: spans that it was not given, by OpenTelemetry's words for the reason.
        waiting: spans in the queue.
        capacity: the most that may wait.
    """

    component: Attributes
    handed_on: int
    refused: Counter[str]
    waiting: int
    capacity: int


@dataclasses.dataclass(frozen=True, slots=True)
class SpansReading:
    """What is known of the spans of the tracer providers of one meter provider.

    Attributes:
        started: spans started so far, by where the parent was and what was decided.
        live: those of them that go on.
        queues: of all the providers.
    """

    started: Counter[Start] = dataclasses.field(default_factory=Counter)
    live: Counter[Start] = dataclasses.field(default_factory=Counter)
    queues: tuple[QueueReading, ...] = ()


class ReportedSpans:
    """The tracer providers of one meter provider.

    They share its instruments: one that is made twice would lose the second's callbacks.
    """

    def __init__(self) -> None:
        self._providers: dict[SpanTally, weakref.ref[StudioTracerProvider]] = {}
        #: What providers had counted that are gone.
        self._gone: Counter[Start] = Counter()
        self._names: weakref.WeakKeyDictionary[ExportQueue, str] = weakref.WeakKeyDictionary()
        self._changing = new_lock()

    def add(self, provider: StudioTracerProvider, tally: SpanTally) -> None:
        """Report a provider from now on."""
        with self._changing:
            self._providers[tally] = weakref.ref(provider)

    def read(self) -> SpansReading:
        """Take a reading."""
        live: Counter[Start] = Counter()
        started: Counter[Start] = Counter()
        queues: list[QueueReading] = []
        for tally, provider in self._living():
            of_all, of_live = tally.read(provider.ended)
            started += of_all
            live += of_live
            queues += map(self._of_queue, cast("tuple[ExportQueue, ...]", provider.line.queues))
        return SpansReading(started + self._gone, live, tuple(queues))

    def _living(self) -> list[tuple[SpanTally, StudioTracerProvider]]:
        """Return the providers that are there; what others had counted stays counted."""
        living: list[tuple[SpanTally, StudioTracerProvider]] = []
        with self._changing:
            for tally, reference in list(self._providers.items()):
                provider = reference()
                if provider is not None:
                    living.append((tally, provider))
                else:
                    self._gone += tally.total()
                    del self._providers[tally]
        return living

    def _of_queue(self, queue: ExportQueue) -> QueueReading:
        name = self._names.get(queue)
        if name is None:
            name = self._names.setdefault(queue, f"{_QUEUE_NAME}/{next(_queue_numbers)}")
        handed_on, refused = queue.exported, Counter[str]()
        for reason, count in queue.dropped.copy().items():
            if reason in _NEVER_HANDED_ON:
                refused[_NEVER_HANDED_ON[reason]] += count
            else:
                handed_on += count
        component: Attributes = {"otel.component.type": _QUEUE_TYPE, "otel.component.name": name}
        return QueueReading(component, handed_on, refused, queue.waiting, queue.capacity)


def _started(spans: SpansReading) -> Iterator[Point]:
    for (origin, decision), count in spans.started.items():
        yield count, {_ORIGIN: origin, _DECISION: decision}


def _live(spans: SpansReading) -> Iterator[Point]:
    # None of them, too, where there were some.
    total = {decision: 0 for _, decision in spans.started if decision != Decision.DROP.name}
    for (_, decision), count in spans.live.items():
        total[decision] = total.get(decision, 0) + count
    for decision, count in total.items():
        yield count, {_DECISION: decision}


def _processed(spans: SpansReading) -> Iterator[Point]:
    for queue in spans.queues:
        yield queue.handed_on, queue.component
        for error, count in queue.refused.items():
            yield count, {**queue.component, "error.type": error}


#: The instruments, as the conventions describe them.
FIGURES: Final[tuple[Figure[SpansReading], ...]] = (
    Figure(
        "otel.sdk.span.started",
        "counter",
        "{span}",
        "The number of created spans.",
        _started,
    ),
    Figure(
        "otel.sdk.span.live",
        "up_down_counter",
        "{span}",
        "The number of created spans with `recording=true` for which the end operation has not "
        "been called yet.",
        _live,
    ),
    Figure(
        "otel.sdk.processor.span.processed",
        "counter",
        "{span}",
        "The number of spans for which the processing has finished, either successful or failed.",
        _processed,
    ),
    Figure(
        "otel.sdk.processor.span.queue.size",
        "up_down_counter",
        "{span}",
        "The number of spans in the queue of a given instance of an SDK span processor.",
        lambda spans: [(q.waiting, q.component) for q in spans.queues],
    ),
    Figure(
        "otel.sdk.processor.span.queue.capacity",
        "up_down_counter",
        "{span}",
        "The maximum number of spans the queue of a given instance of an SDK span processor can "
        "hold.",
        lambda spans: [(q.capacity, q.component) for q in spans.queues],
    ),
)

#: What each meter provider reports; its instruments hold the value.
_reported: weakref.WeakKeyDictionary[MeterProvider, ReportedSpans] = weakref.WeakKeyDictionary()
_reporting: Final = new_lock()


def report(provider: StudioTracerProvider, tally: SpanTally, meter_provider: MeterProvider) -> None:
    """Have a provider's spans among the metrics of a meter provider.

    Args:
        provider: one of ours.
        tally: counts its spans.
        meter_provider: gets the instruments, under the name of the scope that the SDK uses.
    """
    with _reporting:
        known = _reported.get(meter_provider)
        spans = known or _reported.setdefault(meter_provider, ReportedSpans())
        spans.add(provider, tally)
    if known is None:  # and with no lock held that a callback could wait for
        # Beside an instrument of one name and scope, the second's callbacks are lost: the SDK makes
        # its own under no version.
        meter = meter_provider.get_meter("opentelemetry-sdk", __version__)
        figures.register(meter, FIGURES, spans.read)
