"""Everything that is known of one cache; a batch of its events gives the next of these.

A statistics is never changed: adding a batch returns another one that shares what is the same.
So a reading shares its parts at no cost, and a fold that is broken off in the middle, by an
exception of a signal handler, has done nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from otel_studio.base.overflow import OTHER
from otel_studio.base.reading import new_epoch
from otel_studio.base.sketch import Sketch
from otel_studio.caches.entries import EntryLedger
from otel_studio.caches.events import CLEAR, EVICT, HIT, MISS, SET, Batch
from otel_studio.caches.heavy_hitters import HotKeys
from otel_studio.caches.miss_ratio import READ, REMOVED, STORED, MissRatioCurve
from otel_studio.caches.slow_accesses import SlowAccesses, keeping
from otel_studio.caches.windows import HOUR, SECOND, TEN_MINUTES, Tallies

#: Reasons of evictions that make room; any other means that the entry became invalid.
_TO_MAKE_ROOM = frozenset({"size"})

#: What each kind of event means to an order of last uses.
_ROLES = (READ, READ, STORED, REMOVED, REMOVED)

_MAX_REASONS = 16
#: Weights halved this often are as good as zero.
_FADINGS_AT_MOST = 64


@dataclasses.dataclass(frozen=True, slots=True)
class CacheStatistics:
    """The counts, windows, sketches and sizes of one cache.

    Attributes:
        epoch: names the beginning of these counts.
        hits: reads that found an entry.
        misses: reads that did not.
        sets: entries stored.
        evictions: entries that went, by reason.
        windows: the reads of the last minute, hour and day.
        durations: of the reads of each ten minutes: counts by bucket of a `Sketch`.
        slow: the slowest of those.
        hot_keys: the keys read most.
        curve: what hit rates at other sizes are predicted from.
        ledger: the entries by fingerprint, as far as they are known from what was recorded.
        keeps_ledger: off where a backend knows the entries better.
        fade_at_ns: the monotonic time of the curve's next fading; `None` before the first event.
    """

    epoch: str = dataclasses.field(default_factory=new_epoch)
    hits: int = 0
    misses: int = 0
    sets: int = 0
    evictions: dict[str, int] = dataclasses.field(default_factory=dict)
    windows: Tallies = dataclasses.field(default_factory=Tallies)
    durations: dict[int, dict[int, int]] = dataclasses.field(default_factory=dict)
    slow: SlowAccesses = dataclasses.field(default_factory=dict)
    hot_keys: HotKeys = dataclasses.field(default_factory=HotKeys)
    curve: MissRatioCurve = dataclasses.field(default_factory=MissRatioCurve)
    ledger: EntryLedger = dataclasses.field(default_factory=EntryLedger)
    keeps_ledger: bool = True
    fade_at_ns: int | None = None

    def begun_anew(self) -> CacheStatistics:
        """Return one at zero; what is known of the entries stays, for they are still there."""
        return CacheStatistics(ledger=self.ledger, keeps_ledger=self.keeps_ledger)

    def without_keys(self) -> CacheStatistics:
        """Return one without what is kept of keys; the counts stay."""
        return dataclasses.replace(self, slow={}, hot_keys=HotKeys())

    def without_entries(self, *, keeps_ledger: bool) -> CacheStatistics:
        """Return one that knows of no entries.

        Args:
            keeps_ledger: whether it notes those to come.
        """
        return dataclasses.replace(self, ledger=EntryLedger(), keeps_ledger=keeps_ledger)

    def folded(self, batch: Batch) -> CacheStatistics:
        """Return this with a batch of events.

        Args:
            batch: prepared, so that nothing here runs code of the program's own.
        """
        kinds = batch.kinds
        curve = self.curve.copy()
        fade_at = self._fade(curve, batch.last_ns)
        ledger, evictions = self.ledger, self.evictions
        if max(kinds) <= MISS:
            curve.observe([READ] * len(kinds), batch.fingerprints)
            if MISS in kinds and ledger.entries:
                ledger = ledger.copy()
                for kind, fingerprint in zip(kinds, batch.fingerprints, strict=True):
                    if kind == MISS:
                        ledger.remove(fingerprint)
        else:
            _note_uses(curve, batch)
            ledger = ledger.copy()
            evictions = dict(evictions)
            _note_changes(ledger if self.keeps_ledger else EntryLedger(), evictions, batch)
        return CacheStatistics(
            epoch=self.epoch,
            hits=self.hits + kinds.count(HIT),
            misses=self.misses + kinds.count(MISS),
            sets=self.sets + kinds.count(SET),
            evictions=evictions,
            windows=self.windows.adding(batch.seconds),
            durations=_sketched(self.durations, batch.durations),
            slow=keeping(self.slow, batch.slow),
            hot_keys=self.hot_keys.counting(batch.reads),
            curve=curve,
            ledger=ledger,
            keeps_ledger=self.keeps_ledger,
            fade_at_ns=fade_at,
        )

    def counted_elsewhere(
        self, now_ns: int, hits: int, misses: int, sets: int, evictions: Mapping[str, int]
    ) -> CacheStatistics:
        """Return this with what a backend counted itself since it was last asked.

        Args:
            now_ns: the time now, on the monotonic clock.
            hits: reads that found an entry.
            misses: reads that did not.
            sets: entries stored.
            evictions: entries evicted, by reason.
        """
        by_reason = dict(self.evictions)
        for reason, count in evictions.items():
            _count_evictions(by_reason, reason, count)
        windows = self.windows
        if hits or misses:
            windows = windows.adding({now_ns // SECOND: (hits, misses, 0, 0)})
        return dataclasses.replace(
            self,
            hits=self.hits + hits,
            misses=self.misses + misses,
            sets=self.sets + sets,
            evictions=by_reason,
            windows=windows,
        )

    def _fade(self, curve: MissRatioCurve, now_ns: int) -> int:
        if self.fade_at_ns is None:
            return now_ns + HOUR
        hours = max(0, 1 + (now_ns - self.fade_at_ns) // HOUR)
        for _ in range(min(hours, _FADINGS_AT_MOST)):
            curve.fade()
        return self.fade_at_ns + hours * HOUR


def _sketched(
    durations: dict[int, dict[int, int]], more: Mapping[int, Sequence[int]]
) -> dict[int, dict[int, int]]:
    if not more:
        return durations
    found = dict(durations)
    for number, added in more.items():
        sketch = Sketch(found.get(number))
        sketch.add_many(added)
        found[number] = dict(sketch.counts)
    return TEN_MINUTES.kept(found)


def _count_evictions(evictions: dict[str, int], reason: str, count: int) -> None:
    if not count:
        return
    if reason not in evictions and len(evictions) >= _MAX_REASONS:
        reason = OTHER
    evictions[reason] = evictions.get(reason, 0) + count


def _note_uses(curve: MissRatioCurve, batch: Batch) -> None:
    """Tell the curve of reads, stores and invalidations among the events, in order."""
    changes: list[tuple[int, int]] = []
    for kind, detail, fingerprint in zip(
        batch.kinds, batch.details, batch.fingerprints, strict=True
    ):
        if kind == CLEAR:
            if changes:
                curve.observe(*zip(*changes, strict=True))
                changes = []
            curve.forget_keys()
        elif kind != EVICT or detail not in _TO_MAKE_ROOM:
            changes.append((_ROLES[kind], fingerprint))
    if changes:
        curve.observe(*zip(*changes, strict=True))


def _note_changes(ledger: EntryLedger, evictions: dict[str, int], batch: Batch) -> None:
    """Keep the ledger of entries, and count evictions by reason."""
    for kind, detail, fingerprint in zip(
        batch.kinds, batch.details, batch.fingerprints, strict=True
    ):
        if kind == SET:
            ledger.store(fingerprint, detail if isinstance(detail, int) else None)
        elif kind == MISS:  # it went without a word: it expired, or another process removed it
            ledger.remove(fingerprint)
        elif kind == EVICT:
            _count_evictions(evictions, str(detail), 1)
            if fingerprint == batch.unknown:
                ledger.remove_unknown()
            else:
                ledger.remove(fingerprint, makes_room=detail in _TO_MAKE_ROOM)
        elif kind == CLEAR:
            _count_evictions(evictions, "cleared", detail if isinstance(detail, int) else 0)
            ledger.clear()
