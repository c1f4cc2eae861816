"""One log record for each ended run, by rule: failed, slow, or the rest where asked for."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

from otel_studio.base.locks import new_lock
from otel_studio.logs.runs import RunRecords
from otel_studio.ports import slow_thresholds
from otel_studio.registry.statistics import duration_of, outcome_of
from otel_studio.tracing.span import OUTCOME_ABANDONED, OUTCOME_CANCELLED, OUTCOME_ERROR

#: Operations whose rate is remembered at a time; past it the oldest are forgotten.
_MAX_RATES = 10_000
_SECOND = 1_000_000_000
_WORDS = {OUTCOME_ERROR: "failed", OUTCOME_CANCELLED: "was cancelled"}


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What one record is to say; `run` is `None` for the number that was held back."""

    level: int
    service: str
    operation: str
    run: Any
    held_back: int


class RunRules:
    """Decides at the fold which ended runs keep their records, and which are reported.

    It stands before the registry among the consumers of ended spans, so that error groups
    and samples get the records in their last form.

    Args:
        slow_seconds: a longer run is slow, where the operation says nothing itself.
        rest_level: the level of runs that were neither failed nor slow; `None` reports none.
        rate: records an operation may make in one second.
        submit: takes what is to be reported; `None` reports nothing at all.
        skipped_thread: returns the thread whose runs are not reported: the one that reports.
    """

    def __init__(
        self,
        slow_seconds: float,
        rest_level: int | None,
        rate: int,
        submit: Callable[[Report], None] | None,
        skipped_thread: Callable[[], int | None],
    ) -> None:
        self._slow_ns = slow_seconds * _SECOND
        self._rest_level = rest_level
        self._submit = submit
        self._skipped_thread = skipped_thread
        self.rates = RateLimits(rate)

    def consume(self, spans: Sequence[Any]) -> None:
        """Take a batch of ended spans; called inside a fold."""
        submit, skipped = self._submit, self._skipped_thread()
        for span in spans:
            outcome = outcome_of(span) if hasattr(span, "_end") else OUTCOME_ABANDONED
            if outcome == OUTCOME_ABANDONED:
                continue  # it was warned of where it was dropped
            failed = outcome == OUTCOME_ERROR
            slow = duration_of(span) > self._threshold(span)
            if span._records is not None:
                RunRecords.settle(span, failed or slow)
            if submit is None or span._thread == skipped:
                continue
            level = logging.ERROR if failed else logging.WARNING if slow else self._rest_level
            if level is not None:
                report = self.rates.admit(span, level)
                if report is not None:
                    submit(report)

    def _threshold(self, span: Any) -> float:
        if not slow_thresholds:
            return self._slow_ns
        seconds = slow_thresholds.get((span._tracer.name, span._name))
        return self._slow_ns if seconds is None else seconds * _SECOND


@dataclasses.dataclass(slots=True)
class _Second:
    """One operation's present second: when it began, and what passed."""

    began: int
    passed: int = 0
    held_back: int = 0
    #: The highest level among those held back.
    level: int = logging.NOTSET


class RateLimits:
    """Lets so many runs of an operation through in a second, and counts those held back.

    Args:
        per_second: how many.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._lock = new_lock()
        self._seconds: dict[tuple[str, str], _Second] = {}

    def admit(self, span: Any, level: int) -> Report | None:
        """Return the report of a run, with the number held back before it, or `None`."""
        key = (span._tracer.name, span._name)
        with self._lock:
            known = self._seconds.get(key)
            held_back = 0
            # An end before the second's first (another thread's) belongs to that second.
            if known is None or span._end - known.began >= _SECOND:
                held_back = 0 if known is None else known.held_back
                if known is None and len(self._seconds) >= _MAX_RATES:
                    self._seconds.pop(next(iter(self._seconds)))
                known = self._seconds[key] = _Second(span._end)
            if known.passed >= self._per_second:
                known.held_back += 1
                known.level = max(known.level, level)
                return None
            known.passed += 1
        return Report(level, *key, span, held_back)

    def overdue(self, now: int) -> list[Report]:
        """Return what was held back in seconds that are over and that nothing followed.

        Args:
            now: the monotonic clock, in nanoseconds.
        """
        reports = []
        with self._lock:
            for key, known in list(self._seconds.items()):
                if now - known.began >= 2 * _SECOND:
                    del self._seconds[key]
                    if known.held_back:
                        reports.append(Report(known.level, *key, None, known.held_back))
        return reports

    def after_fork_in_child(self) -> None:
        """Begin from nothing in a child."""
        self._seconds = {}


def words_of(outcome: int, level: int) -> str:
    """Return what became of a run, in the words of a log record."""
    default = "was slow" if level == logging.WARNING else "ended"
    return _WORDS.get(outcome, default)
