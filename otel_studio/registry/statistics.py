"""The statistics of one operation, filled with batches of its ended spans."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

from opentelemetry.trace import StatusCode

from otel_studio.registry.errors import OTHER, ErrorGroups
from otel_studio.registry.series import Series
from otel_studio.registry.sketch import Sketch
from otel_studio.tracing.span import (
    OUTCOME_ABANDONED,
    OUTCOME_CANCELLED,
    OUTCOME_ERROR,
    OUTCOME_OK,
)

_UNSET = StatusCode.UNSET
_ERROR = StatusCode.ERROR
#: Error types that get a series of their own in one operation; more share `__other__`.
_MAX_ERROR_TYPES = 20
#: A bucket's sample is looked for again only after this long, in nanoseconds.
_SAMPLE_AGE_NS = 1_000_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """What one operation may hold.

    Attributes:
        buckets_ns: histogram bounds, nanoseconds, ascending.
        recent_runs: latest runs kept.
        slow_samples: slowest runs kept.
    """

    buckets_ns: tuple[int, ...]
    recent_runs: int
    slow_samples: int


def duration_of(span: Any) -> int:
    """Return a span's duration in nanoseconds, from the monotonic clock."""
    return int(span._end - span._start)


def outcome_of(span: Any) -> int:
    """Return a span's outcome: what was set explicitly, else what its status says."""
    outcome = span._outcome
    if outcome:
        return int(outcome)
    return OUTCOME_ERROR if span._status_code is _ERROR else OUTCOME_OK


class OperationStatistics:
    """Everything that is known of one operation; filled only inside a fold."""

    __slots__ = (
        "_bounds",
        "_next_sampling",
        "_slow_limit",
        "abandoned",
        "cancelled",
        "errors",
        "last_failed",
        "name",
        "pending",
        "recent",
        "series",
        "service",
        "sketch",
        "slowest",
    )

    def __init__(self, service: str, name: str, bounds: Bounds) -> None:
        self.service = service
        self.name = name
        self._bounds = bounds
        #: Spans of the batch in hand.
        self.pending: list[Any] = []
        self.abandoned = 0
        self.clear()

    def clear(self) -> None:
        """Forget every run."""
        self.errors = 0
        self.cancelled = 0
        self.abandoned = 0
        self.sketch = Sketch()
        #: By error type; `None` for runs that did not fail.
        self.series: dict[str | None, Series] = {}
        #: The latest runs, oldest first.
        self.recent: list[Any] = []
        #: The slowest runs, slowest first.
        self.slowest: list[Any] = []
        self._slow_limit = -1
        self._next_sampling = 0
        self.last_failed: Any = None

    # Sums over the series

    @property
    def count(self) -> int:
        """Runs that ended: ok, error and cancelled."""
        return sum(series.count for series in self.series.values())

    @property
    def total(self) -> int:
        """The sum of all durations, in nanoseconds."""
        return sum(series.total for series in self.series.values())

    @property
    def minimum(self) -> int | None:
        """The shortest duration in nanoseconds, `None` before the first run."""
        return min((s.minimum for s in self.series.values() if s.minimum is not None), default=None)

    @property
    def maximum(self) -> int | None:
        """The longest duration in nanoseconds, `None` before the first run."""
        return max((s.maximum for s in self.series.values() if s.maximum is not None), default=None)

    def kept_spans(self) -> list[Any]:
        """Return every span that is held as a sample."""
        kept = [*self.recent, *self.slowest]
        for series in self.series.values():
            kept += [span for span in series.exemplars if span is not None]
        if self.last_failed is not None:
            kept.append(self.last_failed)
        return kept

    # Folding

    def fold_pending(self, errors: ErrorGroups) -> int:
        """Fold the batch in hand; returns how many runs it held (abandoned ones left out)."""
        spans = self.pending
        self.pending = []
        plain = [s for s in spans if s._simple or (not s._outcome and s._status_code is _UNSET)]
        if len(plain) != len(spans):
            spans = self._fold_unusual(spans, plain, errors)
            if not spans:
                return 0
        elif plain:
            self._add(None, plain)
        latest = spans[-self._bounds.recent_runs :]
        _slim(latest)
        self.recent = (self.recent + latest)[-self._bounds.recent_runs :]
        return len(spans)

    def _fold_unusual(self, spans: list[Any], plain: list[Any], errors: ErrorGroups) -> list[Any]:
        """Fold a batch in which some run has an outcome or a status of its own."""
        kept: list[Any] = []
        failed: dict[str | None, list[Any]] = {}
        for span in spans:
            outcome = outcome_of(span)
            if outcome == OUTCOME_ABANDONED:
                self.abandoned += 1
                continue
            kept.append(span)
            if outcome == OUTCOME_ERROR:
                self.errors += 1
                error_type: str | None = errors.add(span, self.name)
                if error_type not in self.series and len(self.series) > _MAX_ERROR_TYPES:
                    error_type = OTHER
                failed.setdefault(error_type, []).append(span)
                self.last_failed = span
            elif span._outcome or span._status_code is not _UNSET:
                self.cancelled += outcome == OUTCOME_CANCELLED
                plain.append(span)
        if plain:
            self._add(None, plain)
        for error_type, batch in failed.items():
            self._add(error_type, batch)
        return kept

    def _add(self, error_type: str | None, spans: list[Any]) -> None:
        series = self.series.get(error_type)
        bounds = self._bounds.buckets_ns
        if series is None:
            series = self.series[error_type] = Series(len(bounds) + 1)
        if len(spans) == 1:
            span = spans[0]
            durations = [span._end - span._start]
            self.sketch.add(durations[0])
        else:
            durations = [s._end - s._start for s in spans]
            durations.sort()
            self.sketch.add_sorted(durations)
        lacks_exemplar = series.add_sorted(durations, bounds)
        if durations[-1] > self._slow_limit:
            self._keep_slowest(spans)
        last = spans[-1]._end
        if lacks_exemplar or last >= self._next_sampling:
            self._next_sampling = last + _SAMPLE_AGE_NS
            self._refresh_exemplars(series, spans)

    def _keep_slowest(self, spans: Sequence[Any]) -> None:
        room = self._bounds.slow_samples
        if not room:
            return
        limit = self._slow_limit
        candidates = self.slowest + [s for s in spans if s._end - s._start > limit]
        candidates.sort(key=duration_of, reverse=True)
        self.slowest = candidates[:room]
        _slim(self.slowest)
        if len(self.slowest) == room:
            self._slow_limit = duration_of(self.slowest[-1])

    def _refresh_exemplars(self, series: Series, spans: Sequence[Any]) -> None:
        """Keep the latest run of each latency bucket; one that was sampled goes before."""
        bounds = self._bounds.buckets_ns
        found: dict[int, Any] = {}
        for span in reversed(spans):
            index = bisect_left(bounds, span._end - span._start)
            known = found.get(index)
            if known is None or (span._flags & 1 and not known._flags & 1):
                found[index] = span
        _slim(found.values())
        exemplars = series.exemplars
        for index, span in found.items():
            known = exemplars[index]
            if span._flags & 1 or known is None or not known._flags & 1:
                exemplars[index] = span


def _slim(kept: Iterable[Any]) -> None:
    """Take from spans that are kept what only the list of running operations needs."""
    for span in kept:
        span._thread = 0
