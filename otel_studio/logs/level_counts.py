"""Counts log records by service, operation and level."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_studio.record import Record

#: Combinations that are counted apart; further ones count under `__other__`.
MAX_COMBINATIONS = 10_000
_OTHER = "__other__"
_FOLD_AT = 1_000

Key = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class LogCount(Record):
    """Log records of one level that were made in one operation; no service: outside of any."""

    service: str | None
    operation: str | None
    level: str
    count: int


class LevelCounts:
    """Counts without a lock in the thread that logs: it appends, and the sums are made later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Key] = deque()
        self._sums: Counter[Key] = Counter()

    def add(self, service: str, operation: str, level: str) -> None:
        """Count one record."""
        self._waiting.append((service, operation, level))
        if len(self._waiting) >= _FOLD_AT and self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def counts(self) -> list[LogCount]:
        """Return every sum, in the order of service, operation and level."""
        return [
            LogCount(service or None, operation or None, level, count)
            for (service, operation, level), count in sorted(self._folded().items())
        ]

    def register_instruments(self, meter: Meter) -> None:
        """Create the counter `otel_studio.log.records`.

        Args:
            meter: makes it.
        """
        meter.create_observable_counter(
            "otel_studio.log.records",
            callbacks=[self._observe],
            unit="{record}",
            description="Log records by the operation they were made in and by level.",
        )

    def restart_after_fork(self) -> None:
        """Count from zero in a child."""
        self._lock = threading.Lock()
        self._waiting = deque()
        self._sums = Counter()

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._observations()

    def _observations(self) -> Iterator[Observation]:
        for (service, operation, level), count in self._folded().items():
            attributes = {"studio.log.level": level.lower()}
            if service:
                attributes["studio.service"] = service
                attributes["studio.operation"] = operation
            yield Observation(count, attributes)

    def _folded(self) -> Counter[Key]:
        # Not re-entrant: a finalizer that logs while this is held only appends.
        with self._lock:
            self._fold()
            return self._sums.copy()

    def _fold(self) -> None:
        take = self._waiting.popleft
        for _ in range(len(self._waiting)):
            key = take()
            if key not in self._sums and len(self._sums) >= MAX_COMBINATIONS:
                key = (_OTHER, _OTHER, key[2])
            self._sums[key] += 1
