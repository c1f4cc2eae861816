"""Everything that is known of one cache, filled with batches of its events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from otel_studio.caches.entries import EntryLedger
from otel_studio.caches.heavy_hitters import HeavyHitters
from otel_studio.caches.keys import KeyLabels
from otel_studio.caches.miss_ratio import READ, REMOVED, STORED, MissRatioCurve
from otel_studio.caches.slow_accesses import SlowAccesses
from otel_studio.caches.windows import DAY, HOUR, MINUTE, SECOND, SliceRing, TallyWindows
from otel_studio.guard import warn_once
from otel_studio.registry.sketch import Sketch

HIT, MISS, SET, EVICT, CLEAR = range(5)

#: Kind, key, detail (the duration of an access in seconds, the size of an entry in bytes, the
#: reason of an eviction, the number of entries cleared), monotonic time in nanoseconds.
Event = tuple[int, Any, Any, int]

#: Stands for the key of an eviction that does not say which entry went.
UNKNOWN_KEY: Any = object()

#: Reasons of evictions that make room; any other means that the entry became invalid.
_TO_MAKE_ROOM = frozenset({"size"})

#: What each kind of event means to an order of last uses.
_ROLES = (READ, READ, STORED, REMOVED, REMOVED)

_MAX_REASONS = 16
_OTHER = "__other__"
_HOT_KEYS_KEPT = 200
#: A duration of more than a hundred years is a mistake.
_LONGEST_NS = 100 * 366 * DAY
#: Weights halved this often are as good as zero.
_FADINGS_AT_MOST = 64


class CacheStatistics:
    """The counts, windows, sketches and sizes of one cache; not safe for threads.

    Args:
        cache: its name, for warnings.
        labels: what is kept of keys.
        salt: makes the fingerprints of keys differ from those of another process.
    """

    def __init__(self, cache: str, labels: KeyLabels, salt: int) -> None:
        self._cache = cache
        self._labels = labels
        self._salt = salt
        self.ledger = EntryLedger()
        #: Off where a backend knows the entries better than what is recorded here.
        self.keeps_ledger = True
        self.start()

    def start(self) -> None:
        """Begin at zero; what is known of the entries stays, for they are still there."""
        self.counts = [0, 0, 0, 0]
        self.evictions: Counter[str] = Counter()
        self.windows = TallyWindows()
        self.durations: SliceRing[Sketch] = SliceRing(10 * MINUTE, 6, Sketch)
        self.forget_keys()
        self.curve = MissRatioCurve()
        self._fade_at: int | None = None

    def forget_keys(self) -> None:
        """Drop what is kept of keys; the counts stay."""
        self.slow_accesses = SlowAccesses()
        self.hot_keys = HeavyHitters(_HOT_KEYS_KEPT)

    def fold(self, events: Sequence[Event], wall_offset_ns: int) -> None:
        """Take in a batch of events, about in the order of their times.

        Args:
            events: at least one.
            wall_offset_ns: what to add to a monotonic time for the time of day.
        """
        kinds, keys, details, times = zip(*events, strict=True)
        seconds = (min(times) // SECOND, max(times) // SECOND)
        if seconds[0] == seconds[1]:
            for kind in (HIT, MISS, SET):
                self._count(kind, kinds.count(kind), times[0])
        else:
            by_second = Counter(zip(kinds, [time // SECOND for time in times], strict=True))
            for (kind, second), count in by_second.items():
                self._count(kind, count, second * SECOND)
        try:
            uses = Counter(keys)
            fingerprints = self._fingerprints(keys)
        except Exception:  # a key without a hash, or whose own methods fail
            keys = tuple(_hashable(key) for key in keys)
            uses = Counter(keys)
            fingerprints = self._fingerprints(keys)
        self._fade(times[-1])
        if max(kinds) <= MISS:
            self.hot_keys.add(self._labels.counted(uses))
            self.curve.observe([READ] * len(kinds), fingerprints)
            if MISS in kinds and self.ledger.entries:
                self._note_changes(events, fingerprints)
        else:
            reads = Counter([key for kind, key in zip(kinds, keys, strict=True) if kind <= MISS])
            self.hot_keys.add(self._labels.counted(reads))
            self._note_uses(kinds, details, fingerprints)
            self._note_changes(events, fingerprints)
        if details.count(None) < len(details):
            self._note_durations(events, wall_offset_ns)

    def count_elsewhere(
        self, now_ns: int, hits: int, misses: int, sets: int, evictions: dict[str, int]
    ) -> None:
        """Add what a backend counted itself since it was last asked.

        Args:
            now_ns: the time now, on the monotonic clock.
            hits: reads that found an entry.
            misses: reads that did not.
            sets: entries stored.
            evictions: entries evicted, by reason.
        """
        for kind, count in ((HIT, hits), (MISS, misses), (SET, sets)):
            if count:
                self._count(kind, count, now_ns)
        for reason, count in evictions.items():
            if count:
                self._count_evictions(reason, count)

    def _count(self, kind: int, count: int, time_ns: int) -> None:
        if kind <= SET:
            self.counts[kind] += count
        if kind == HIT:
            self.windows.add(time_ns, hits=count)
        elif kind == MISS:
            self.windows.add(time_ns, misses=count)

    def _count_evictions(self, reason: str, count: int) -> None:
        self.counts[EVICT] += count
        if reason not in self.evictions and len(self.evictions) >= _MAX_REASONS:
            reason = _OTHER
        self.evictions[reason] += count

    def _fingerprints(self, keys: Sequence[Any]) -> list[int]:
        # The hash of a pair mixes what the hash of a small number alone does not.
        return list(map(hash, zip(repeat(self._salt), keys, strict=False)))

    def _fade(self, now_ns: int) -> None:
        if self._fade_at is None:
            self._fade_at = now_ns + HOUR
        hours = 1 + (now_ns - self._fade_at) // HOUR
        if hours > 0:
            self._fade_at += hours * HOUR
            for _ in range(min(hours, _FADINGS_AT_MOST)):
                self.curve.fade()

    def _note_uses(
        self, kinds: Sequence[int], details: Sequence[Any], fingerprints: Sequence[int]
    ) -> None:
        """Tell the curve of reads, stores and invalidations among the events, in order."""
        if CLEAR in kinds:
            self.curve.forget_keys()
            last = len(kinds) - 1 - kinds[::-1].index(CLEAR)
            kinds, details = kinds[last + 1 :], details[last + 1 :]
            fingerprints = fingerprints[last + 1 :]
        changes = [
            (_ROLES[kind], fingerprint)
            for kind, detail, fingerprint in zip(kinds, details, fingerprints, strict=True)
            if kind != EVICT or detail not in _TO_MAKE_ROOM
        ]
        if changes:
            self.curve.observe(*zip(*changes, strict=True))

    def _note_changes(self, events: Sequence[Event], fingerprints: Sequence[int]) -> None:
        """Keep the ledger of entries, and count evictions by reason."""
        ledger = self.ledger if self.keeps_ledger else EntryLedger()
        for (kind, key, detail, _), fingerprint in zip(events, fingerprints, strict=True):
            if kind == SET:
                ledger.store(fingerprint, self._bytes(detail))
            elif kind == MISS:  # it went without a word: it expired, or another process removed it
                ledger.remove(fingerprint)
            elif kind == EVICT:
                self._count_evictions(str(detail), 1)
                if key is UNKNOWN_KEY:
                    ledger.remove_unknown()
                else:
                    ledger.remove(fingerprint)
            elif kind == CLEAR:
                self._count_evictions("cleared", detail)
                ledger.clear()

    def _note_durations(self, events: Sequence[Event], wall_offset_ns: int) -> None:
        timed = [event for event in events if event[0] <= MISS and event[2] is not None]
        durations: list[int] = []
        try:
            durations = [int(event[2] * 1e9 + 0.5) for event in timed]
            sound = min(durations, default=0) >= 0 and max(durations, default=0) < _LONGEST_NS
        except Exception:  # no number, NaN, or infinity
            sound = False
        if not sound:
            checked = [(event, self._nanoseconds(event[2])) for event in timed]
            timed = [event for event, duration in checked if duration is not None]
            durations = [duration for _, duration in checked if duration is not None]
        if not durations:
            return
        by_second: dict[int, list[int]] = {}
        if timed[0][3] // SECOND == timed[-1][3] // SECOND:
            by_second[timed[0][3] // SECOND] = durations
        else:
            for event, duration in zip(timed, durations, strict=True):
                by_second.setdefault(event[3] // SECOND, []).append(duration)
        for second, group in by_second.items():
            self.windows.add(second * SECOND, timed=len(group), timed_ns=sum(group))
            sketch = self.durations.at(second * SECOND)
            if sketch is not None:
                sketch.add_many(group)
        slow = self.slow_accesses.floor(timed[-1][3])
        if max(durations) > slow:
            for (kind, key, _, time), duration in zip(timed, durations, strict=True):
                if duration > slow:
                    access = (duration, kind, self._labels.of(key), time + wall_offset_ns)
                    self.slow_accesses.keep(time, access)
                    slow = self.slow_accesses.floor(time)

    def _nanoseconds(self, seconds: Any) -> int | None:
        try:
            nanoseconds = round(seconds * 1e9)
        except Exception:  # no number, NaN, or infinity
            nanoseconds = -1
        if 0 <= nanoseconds < _LONGEST_NS:
            return int(nanoseconds)
        self._warn("duration", "seconds, from 0 to a hundred years", seconds)
        return None

    def _bytes(self, size: Any) -> int | None:
        if size is None or (isinstance(size, int) and size >= 0):
            return size
        self._warn("size", "bytes, an integer that is not negative", size)
        return None

    def _warn(self, what: str, expected: str, given: object) -> None:
        warn_once(
            f"cache {what}",
            self._cache,
            "Cache %s was given the %s %.80r, which is left out: give %s",
            self._cache,
            what,
            given,
            expected,
        )


def _hashable(key: object) -> object:
    """Return the key, or where it cannot be looked up a text that stands for it."""
    try:
        hash(key)
        if key == key:  # noqa: PLR0124 - the key's own comparison may fail
            return key
    except Exception:
        pass
    try:
        return f"{type(key).__name__} {key!r}"
    except Exception:
        return type(key).__name__
