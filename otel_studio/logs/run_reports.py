"""One log record for each ended run, by rule: failed, slow, or the rest where asked for."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from otel_studio.base import outcome
from otel_studio.base.locks import new_lock
from otel_studio.logs.runs import RunRecords
from otel_studio.spans.active import ThreadMark
from otel_studio.spans.buffer import Change
from otel_studio.spans.ended_run import (
    EndedRun,
    OpenRun,
    duration_of,
    keep_start_times,
    outcome_of,
)
from otel_studio.spans.light_run import cut_to
from otel_studio.spans.weight import weight_of

#: Operations whose rate is remembered at a time; past it the oldest are forgotten.
_MAX_RATES = 10_000
_SECOND = 1_000_000_000
#: Bytes of attributes and events that a run may hold while its report waits.
_MAX_BYTES = 4_096
_WORDS = {outcome.ERROR: "failed", outcome.CANCELLED: "was cancelled"}


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What one record is to say; `run` is `None` for the number that was held back."""

    level: int
    service: str
    operation: str
    run: EndedRun | None
    held_back: int


class Desk(Protocol):
    """Where reports are written."""

    @property
    def thread_id(self) -> int | None:
        """The thread that writes; its own runs are not reported."""

    def taking(self, reports: Sequence[Report]) -> Iterable[Change]:
        """Return what queues reports."""
        ...

    def wake_for_reports(self) -> None:
        """Have the reports that wait written soon."""

    def runs_waiting(self) -> Iterable[EndedRun]:
        """Return the runs whose reports wait."""
        ...


class RunRules:
    """Decides at the fold which ended runs keep their records, and which are reported.

    It stands behind the registry, which has the records of a run before they are settled.

    Args:
        slow_seconds: a longer run is slow, where the operation says nothing itself.
        rest_level: the level of runs that were neither failed nor slow; `None` reports none.
        rate: records an operation may make in one second.
        desk: takes what is to be reported; `None` reports nothing at all.
        slow_thresholds: what operations say themselves, in seconds, by service and name.
    """

    def __init__(
        self,
        slow_seconds: float,
        rest_level: int | None,
        rate: int,
        desk: Desk | None,
        slow_thresholds: Mapping[tuple[str, str], float],
    ) -> None:
        self._slow_ns = slow_seconds * _SECOND
        self._rest_level = rest_level
        self._desk = desk
        self._slow_thresholds = slow_thresholds
        self.rates = RateLimits(rate)

    def prepare(self, runs: Sequence[OpenRun]) -> Iterable[Change]:
        """Return what queues the reports of a batch of ended runs."""
        desk = self._desk
        skipped = None if desk is None else desk.thread_id
        reports: list[Report] = []
        for run in runs:
            how = outcome_of(run)
            if how == outcome.ABANDONED:
                continue  # it was warned of where it was dropped
            failed = how == outcome.ERROR
            slow = duration_of(run) > self._threshold(run)
            if run._records is not None:
                RunRecords.settle(run, failed or slow)
            if desk is None or (skipped is not None and _thread_of(run) == skipped):
                continue
            level = logging.ERROR if failed else logging.WARNING if slow else self._rest_level
            if level is not None:
                report = self.rates.admit(run, level)
                if report is not None:
                    reports.append(report)
        return () if desk is None or not reports else desk.taking(reports)

    def after(self) -> None:
        """Wake the thread that reports."""
        if self._desk is not None:
            self._desk.wake_for_reports()

    def keep_times(self) -> None:
        """Have the runs that wait to be reported keep their times."""
        if self._desk is not None:
            keep_start_times(self._desk.runs_waiting())

    def _threshold(self, run: EndedRun) -> float:
        if not self._slow_thresholds:
            return self._slow_ns
        seconds = self._slow_thresholds.get((run._tracer.name, run._name))
        return self._slow_ns if seconds is None else seconds * _SECOND


def _light(run: EndedRun) -> EndedRun:
    """Return what a report needs of a run: what holds much waits for no record."""
    return run if weight_of(run) <= _MAX_BYTES else cut_to(run, _MAX_BYTES)[0]


def _thread_of(run: EndedRun) -> int | None:
    mark = run._thread
    return mark.ident if isinstance(mark, ThreadMark) else None


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

    def admit(self, span: EndedRun, level: int) -> Report | None:
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
        return Report(level, *key, _light(span), held_back)

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
