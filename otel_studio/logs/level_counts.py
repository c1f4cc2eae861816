"""Counts log records by service, operation and level."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from otel_studio.base import figures
from otel_studio.base.limited import count_limited
from otel_studio.base.locks import new_lock
from otel_studio.base.overflow import OTHER
from otel_studio.base.reading import new_epoch
from otel_studio.base.record import Record
from otel_studio.base.text import safe_line
from otel_studio.logs.reading import FIGURES, Key, LogsPart, LogsReading

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

#: Combinations that are counted apart; further ones count under `__other__`.
MAX_COMBINATIONS = 10_000
#: Records that wait before a thread is asked to fold them; past the second, whoever logs does.
_FOLD_AT = 1_000
_FOLD_HERE_AT = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class LogCount(Record):
    """Log records of one level that were made in one operation; no service: outside of any."""

    service: str | None
    operation: str | None
    level: str
    count: int


class LevelCounts:
    """Counts without a lock in the thread that logs: it appends, and the sums are made later.

    Args:
        wake: has `fold` called soon by another thread; takes no lock.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._lock = new_lock()
        self._waiting: deque[Key] = deque()
        #: The sums, and what was taken to be added to them.
        self._state: tuple[dict[Key, int], list[Key]] = ({}, [])
        self._epoch = new_epoch()

    def add(self, service: str, operation: str, level: str) -> None:
        """Count one record; may be called from anywhere.

        Args:
            service: the service's name, empty outside of any operation.
            operation: the operation's name, likewise.
            level: the level's name.
        """
        # what cannot be a key must not get among what waits to be one
        if type(level) is not str or not level.isprintable():
            level = safe_line(str(level))
        self._waiting.append((service, operation, level))
        waiting = len(self._waiting)
        if waiting >= _FOLD_HERE_AT:  # nobody else folds
            self.fold()
        elif not waiting % _FOLD_AT:
            self._wake()

    def fold(self) -> dict[Key, int]:
        """Add what waits to the sums, and return them; the result is never changed.

        Between any two steps of this a signal handler or a finalizer may raise, log, or ask for
        the sums itself. What is taken stands beside the sums until both change in one step: it is
        never lost, and never counted twice.
        """
        with self._lock:
            while True:
                waiting = self._waiting
                batch = islice(iter(waiting.popleft, None), len(waiting))
                # From here nothing can come between until the next call has ended: it takes each
                # record out and puts it beside the sums of this very moment, all in C.
                state = self._state
                try:
                    state[1].extend(batch)
                except IndexError:  # what had waited was folded before, on this very thread
                    pass
                sums, taken = state
                if not taken:
                    return sums
                folded = _folded(sums, taken)
                if self._state is state:
                    self._state = (folded, [])
                    return folded

    def reading(self) -> LogsReading:
        """Return the counts as they are now."""
        counts = self.fold()
        return LogsReading({self._epoch: LogsPart(counts)} if counts else {})

    def register_instruments(self, meter: Meter) -> None:
        """Create the counter `otel_studio.log.records`.

        Args:
            meter: makes it.
        """
        figures.register(meter, FIGURES, self.reading)

    def after_fork_in_child(self) -> None:
        """Count from zero in a child."""
        self._waiting = deque()
        self._state = ({}, [])
        self._epoch = new_epoch()


def log_counts(reading: LogsReading) -> list[LogCount]:
    """Return every count, in the order of service, operation and level.

    Args:
        reading: of one process, or of several.
    """
    return [
        LogCount(service or None, operation or None, level, count)
        for (service, operation, level), count in sorted(reading.counts.items())
    ]


def _folded(sums: dict[Key, int], taken: list[Key]) -> dict[Key, int]:
    folded = dict(sums)
    for key in taken:
        if key not in folded and len(folded) >= MAX_COMBINATIONS:
            count_limited("log_counts")
            # Levels may have any name: past as many again, they count together too.
            level = key[2] if len(folded) < 2 * MAX_COMBINATIONS else OTHER
            key = (OTHER, OTHER, level)  # noqa: PLW2901
        folded[key] = folded.get(key, 0) + 1
    return folded
