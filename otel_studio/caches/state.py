"""All of a cache that changes, as one value: so that no step is ever done by half."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from otel_studio.caches.backend import Answer, Backend, Growth, summed
from otel_studio.caches.cache_records import CacheReading
from otel_studio.caches.events import Event
from otel_studio.caches.statistics import CacheStatistics


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CacheState:
    """All of a cache that changes: replaced as a whole, so that no step is ever done by half.

    Attributes:
        statistics: of what was folded.
        taken: events that wait to be folded; grows at its end.
        folded: how many events were.
        answers: what each backend said last.
        reported: the sizes in those, summed.
        reported_peak_bytes: the most memory in them, ever.
        reported_peak_entries: the most entries in them, ever.
    """

    statistics: CacheStatistics
    taken: list[Event] = dataclasses.field(default_factory=list)
    folded: int = 0
    answers: dict[Backend, Answer] = dataclasses.field(default_factory=dict)
    reported: CacheReading = dataclasses.field(default_factory=CacheReading)
    reported_peak_bytes: int | None = None
    reported_peak_entries: int | None = None

    def answered(self, fresh: Mapping[Backend, Answer], now_ns: int) -> CacheState:
        """Return the state after some answers.

        Args:
            fresh: by backend.
            now_ns: the time now, on the monotonic clock: what was counted happened until then.
        """
        growth = Growth()
        for backend, answer in fresh.items():
            if answer is not self.answers[backend]:
                self.answers[backend].add_growth(answer, growth)
        answers = {b: a for b, a in {**self.answers, **fresh}.items() if not a.gone}
        statistics = self.statistics
        if growth:
            statistics = statistics.counted_elsewhere(
                now_ns, growth.hits, growth.misses, growth.sets, growth.evictions
            )
        if not answers and self.answers:  # the entries went with what held them
            statistics = statistics.without_entries(keeps_ledger=statistics.keeps_ledger)
        reported = summed(answer.said for answer in answers.values() if answer.said is not None)
        return dataclasses.replace(
            self,
            statistics=statistics,
            answers=answers,
            reported=reported,
            reported_peak_bytes=_peak(self.reported_peak_bytes, reported.memory_bytes),
            reported_peak_entries=_peak(self.reported_peak_entries, reported.entries),
        )

    def attached(self, backend: Backend, beginning: Answer) -> CacheState:
        """Return the state with one more backend; a remote one knows the entries best.

        Args:
            backend: the new one.
            beginning: what is taken for its last answer.
        """
        statistics = self.statistics
        if backend.remote:
            statistics = statistics.without_entries(keeps_ledger=False)
        answers = {**self.answers, backend: beginning}
        return dataclasses.replace(self, statistics=statistics, answers=answers)


def _peak(before: int | None, now: int | None) -> int | None:
    return before if now is None else max(before or 0, now)
