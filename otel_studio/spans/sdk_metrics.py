"""OpenTelemetry's metrics of its own SDK, for our spans and queues, where its variable asks.

Names and attributes: https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/.
"""

from __future__ import annotations

import os
import weakref
from collections import Counter, deque
from collections.abc import Iterator
from itertools import count as counter
from itertools import repeat, starmap
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext

from otel_studio.base import figures
from otel_studio.base.figures import Attributes, Figure, Point
from otel_studio.base.locks import new_lock

if TYPE_CHECKING:
    from otel_studio.spans.export import ExportQueue
    from otel_studio.spans.provider import StudioTracerProvider

_VARIABLE: Final = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
_ORIGIN: Final = "otel.span.parent.origin"
_DECISION: Final = "otel.span.sampling_result"
#: Starts that wait to be counted, at most.
_MOST_WAITING: Final = 4_096
#: What a span that is recorded was decided to be, by its sampled flag.
_RECORDED: Final = (Decision.RECORD_ONLY.name, Decision.RECORD_AND_SAMPLE.name)
#: Reasons of drops that OpenTelemetry's own processor knows, by its words for them.
_NEVER_HANDED_ON: Final = {
    "queue_full": "queue_full",
    "queue_bytes": "queue_full",
    "shutdown": "already_shutdown",
}
#: The conventions keep their own names of types for what comes with the SDK.
_QUEUE_TYPE: Final = "otel_studio.spans.export.ExportQueue"
_queue_numbers: Final = counter()


def are_wanted() -> bool:
    """Tell whether the environment asks for them."""
    return os.environ.get(_VARIABLE, "").strip().lower() == "true"


class SpanStarts(SpanProcessor):
    """Counts the starts of spans by where the parent is and what the sampler decided.

    As a provider's processor it is told of every start that is recorded; of others the tracer
    tells it.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._counted: Counter[tuple[str, str]] = Counter()
        self._counting = new_lock()

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Count a span that is recorded."""
        origin = "none"
        if span._parent_id:
            origin = "remote" if span._parent_remote else "local"
        self._add(origin, _RECORDED[span._flags & 1])

    def unrecorded(self, parent: SpanContext | None) -> None:
        """Count a span that the sampler dropped.

        Args:
            parent: its parent's.
        """
        origin = "none" if parent is None else "remote" if parent.is_remote else "local"
        self._add(origin, Decision.DROP.name)

    def _add(self, origin: str, decision: str) -> None:
        # A finalizer or a signal handler may start a span inside the count: this is one step.
        self._waiting.append((origin, decision))
        if len(self._waiting) > _MOST_WAITING:
            self.counts()

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how many spans were started, by origin and decision."""
        with self._counting:
            taken = list(starmap(self._waiting.popleft, repeat((), len(self._waiting))))
            self._counted.update(taken)
            return self._counted.copy()

    def start_anew(self) -> None:
        """Count from zero."""
        self._waiting.clear()
        self._counted.clear()


class ReportedSpans:
    """The starts, the running spans and the queues of the tracer providers of one meter provider.

    Several share its instruments: one that is made twice would lose the second's callbacks.
    """

    def __init__(self) -> None:
        self._providers: weakref.WeakSet[StudioTracerProvider] = weakref.WeakSet()
        self._names: weakref.WeakKeyDictionary[ExportQueue, str] = weakref.WeakKeyDictionary()

    def add(self, provider: StudioTracerProvider) -> None:
        """Report a provider from now on."""
        self._providers.add(provider)

    def started(self) -> Iterator[Point]:
        """Yield the spans started so far."""
        total: Counter[tuple[str, str]] = Counter()
        for provider in self._providers:
            if provider.starts is not None:
                total += provider.starts.counts()
        for (origin, decision), count in total.items():
            yield count, {_ORIGIN: origin, _DECISION: decision}

    def live(self) -> Iterator[Point]:
        """Yield the spans that run now: none of them, too, where there were some."""
        total = {
            str(attributes[_DECISION]): 0
            for _, attributes in self.started()
            if attributes[_DECISION] in _RECORDED
        }
        for provider in self._providers:
            for span in provider.running():
                decision = _RECORDED[span._flags & 1]
                total[decision] = total.get(decision, 0) + 1
        for decision, count in total.items():
            yield count, {_DECISION: decision}

    def _queues(self) -> Iterator[tuple[ExportQueue, Attributes]]:
        for provider in self._providers:
            for queue in cast("tuple[ExportQueue, ...]", provider.line.queues):
                name = self._names.get(queue)
                if name is None:
                    name = self._names[queue] = f"{_QUEUE_TYPE}/{next(_queue_numbers)}"
                component: Attributes = {"otel.component.type": _QUEUE_TYPE}
                yield queue, {**component, "otel.component.name": name}

    def processed(self) -> Iterator[Point]:
        """Yield the spans that queues have handed on, and those that found no room there."""
        for queue, component in self._queues():
            lost: Counter[str] = Counter()
            handed_on = queue.exported
            for reason, count in queue.dropped.items():
                if reason in _NEVER_HANDED_ON:
                    lost[_NEVER_HANDED_ON[reason]] += count
                else:
                    handed_on += count
            yield handed_on, component
            for error, count in lost.items():
                yield count, {**component, "error.type": error}

    def waiting(self) -> Iterator[Point]:
        """Yield the spans that wait in each queue."""
        for queue, component in self._queues():
            yield queue.waiting, component

    def capacity(self) -> Iterator[Point]:
        """Yield how many may wait there."""
        for queue, component in self._queues():
            yield queue.capacity, component


#: The instruments, as the conventions describe them.
FIGURES: Final[tuple[Figure[ReportedSpans], ...]] = (
    Figure(
        "otel.sdk.span.started",
        "counter",
        "{span}",
        "The number of created spans.",
        ReportedSpans.started,
    ),
    Figure(
        "otel.sdk.span.live",
        "up_down_counter",
        "{span}",
        "The number of created spans with `recording=true` for which the end operation has not "
        "been called yet.",
        ReportedSpans.live,
    ),
    Figure(
        "otel.sdk.processor.span.processed",
        "counter",
        "{span}",
        "The number of spans for which the processing has finished, either successful or failed.",
        ReportedSpans.processed,
    ),
    Figure(
        "otel.sdk.processor.span.queue.size",
        "up_down_counter",
        "{span}",
        "The number of spans in the queue of a given instance of an SDK span processor.",
        ReportedSpans.waiting,
    ),
    Figure(
        "otel.sdk.processor.span.queue.capacity",
        "up_down_counter",
        "{span}",
        "The maximum number of spans the queue of a given instance of an SDK span processor can "
        "hold.",
        ReportedSpans.capacity,
    ),
)

_reported: weakref.WeakKeyDictionary[MeterProvider, ReportedSpans] = weakref.WeakKeyDictionary()
_reporting: Final = new_lock()


def report(provider: StudioTracerProvider, meter_provider: MeterProvider) -> None:
    """Have a provider's spans among the metrics of a meter provider.

    Args:
        provider: one of ours, whose `starts` are counted.
        meter_provider: gets the instruments, under the scope that the SDK uses.
    """
    with _reporting:
        spans = _reported.get(meter_provider)
        if spans is None:
            spans = _reported[meter_provider] = ReportedSpans()
            found = spans
            figures.register(meter_provider.get_meter("opentelemetry-sdk"), FIGURES, lambda: found)
        spans.add(provider)
