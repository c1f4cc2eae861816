"""How many spans were started and go on, counted where they end: a start pays nothing for it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import repeat, starmap
from typing import Any, Final

from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext

from otel_studio.base import guard
from otel_studio.base.locks import new_lock
from otel_studio.spans.active import AbandonedSpan
from otel_studio.spans.buffer import Change, EndedSpans
from otel_studio.spans.span import StudioSpan

#: Where a span's parent was ("none", "local", "remote"), and the name of what its sampler decided.
Start = tuple[str, str]

#: What a span that is recorded was decided to be, by its sampled flag.
_RECORDED: Final = (Decision.RECORD_ONLY.name, Decision.RECORD_AND_SAMPLE.name)
#: Starts of spans that the sampler dropped which wait to be counted, at most.
_MOST_WAITING: Final = 4_096


def start_of(span: StudioSpan) -> Start:
    """Return how a span of ours was started."""
    origin = "none"
    if span._parent_id:
        origin = "remote" if span._parent_remote else "local"
    return origin, _RECORDED[span._flags & 1]


class SpanTally:
    """Counts the spans of one provider by how they were started.

    Those that have ended are counted by the fold, in the step that takes them from the running
    ones; those that a sampler dropped, which never end, are told.
    """

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Count from zero."""
        #: Its one element: how those that were folded had been started.
        self._folded: deque[Counter[Start]] = deque([Counter()], maxlen=1)
        self._unrecorded: Counter[Start] = Counter()
        #: Not counted yet: a finalizer or a signal handler may start a span inside the count.
        self._waiting: deque[Start] = deque()
        self._counting = new_lock()
        self._most: Counter[Start] = Counter()

    def prepare(self, runs: Iterable[Any]) -> Change:
        """Return what counts a batch that ended; to be called inside a fold."""
        return self._folded.append, self._folded[0] + Counter(_starts_of(runs))

    def unrecorded(self, parent: SpanContext | None) -> None:
        """Count a span that the sampler dropped.

        Args:
            parent: its parent's.
        """
        origin = "none" if parent is None else "remote" if parent.is_remote else "local"
        self._waiting.append((origin, Decision.DROP.name))
        if len(self._waiting) > _MOST_WAITING:
            self._count_waiting()

    def _count_waiting(self) -> Counter[Start]:
        with self._counting:
            # In C: no signal handler interrupts it, which would lose what it has taken.
            self._unrecorded.update(starmap(self._waiting.popleft, repeat((), len(self._waiting))))
            return self._unrecorded

    def read(self, ended: EndedSpans) -> tuple[Counter[Start], Counter[Start]]:
        """Return how the spans so far were started, and those of them that go on.

        Args:
            ended: of the same provider.
        """
        if guard.is_ordinary_code():  # else what waits is looked at, and not folded
            ended.fold_ahead()
        with ended.lock:
            cut = ended.cut()
            folded = self._folded[0]
        ended.settle()
        live = Counter(_starts_of(cut.running))
        started = folded + live + Counter(_starts_of(cut.unfolded)) + self._count_waiting()
        # One that another thread is dropping is nowhere for a moment; a count never falls.
        self._most = started | self._most
        return self._most, live

    def total(self) -> Counter[Start]:
        """Return how the spans were started that nothing more can happen to."""
        return self._folded[0] + self._count_waiting()


def _starts_of(runs: Iterable[Any]) -> Iterator[Start]:
    """Yield how runs were started, of those that are spans of ours; others tell their own SDK."""
    for run in runs:
        kind = type(run)
        if kind is StudioSpan:
            yield start_of(run)
        elif kind is AbandonedSpan and run.start is not None:
            yield run.start
