"""Makes plain data of recorded events: all code of the program's own, such as of keys, runs here.

What comes out holds no object of the program: whoever has it can count it under a lock, and no
method of a key is called again.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from otel_studio.base.guard import raised_by_signal_handler, warn_once
from otel_studio.caches.keys import KeyLabels, is_large, shown_text, text_of
from otel_studio.caches.slow_accesses import Access, floor_of, largest
from otel_studio.caches.windows import DAY, SECOND, TEN_MINUTES, Tally

HIT, MISS, SET, EVICT, CLEAR = range(5)

#: Kind, key, detail (the duration of an access in seconds, the size of an entry in bytes, the
#: reason of an eviction, the number of entries cleared), monotonic time in nanoseconds.
Event = tuple[int, Any, Any, int]

#: Stands for the key of an eviction that does not say which entry went.
UNKNOWN_KEY: Any = object()

#: Of the reason of an eviction.
_MAX_REASON = 64
#: A duration of more than a hundred years is a mistake.
_LONGEST_NS = 100 * 366 * DAY


@dataclasses.dataclass(slots=True)
class Batch:
    """Some events of one cache as plain data, in their order.

    Attributes:
        kinds: of each event.
        fingerprints: a hash of the key of each event.
        details: of each event: the bytes of what was stored, the reason of an eviction, the
            number of entries cleared; empty where there are reads only.
        unknown: the fingerprint that stands for no key.
        reads: how often each key was read, by what is kept of it.
        seconds: the reads of each second.
        durations: of the reads of each ten minutes, in nanoseconds.
        slow: the slowest of those.
        last_ns: the monotonic time of the last event.
    """

    kinds: Sequence[int]
    fingerprints: Sequence[int]
    details: Sequence[int | str | None]
    unknown: int
    reads: Mapping[str, int]
    seconds: dict[int, Tally]
    durations: dict[int, list[int]]
    slow: dict[int, tuple[Access, ...]]
    last_ns: int


class Preparation:
    """Prepares the events of one cache; keeps nothing of them.

    Args:
        cache: its name, for warnings.
        labels: what is kept of keys.
        salt: makes the fingerprints of keys differ from those of another process.
    """

    __slots__ = ("_cache", "_labels", "_salt")

    def __init__(self, cache: str, labels: KeyLabels, salt: int) -> None:
        self._cache = cache
        self._labels = labels
        self._salt = salt

    def batch(
        self,
        events: Sequence[Event],
        wall_offset_ns: int,
        slow: Mapping[int, tuple[Access, ...]],
    ) -> Batch:
        """Return a batch of events as plain data.

        Args:
            events: at least one, about in the order of their times.
            wall_offset_ns: what to add to a monotonic time for the time of day.
            slow: the slowest accesses so far: what is faster is not among them.
        """
        kinds, keys, given, times = zip(*events, strict=True)
        try:
            uses = Counter(keys)
            fingerprints = self._fingerprints(keys)
        except Exception as error:  # a key without a hash, or whose own methods fail
            _raise_if_foreign(error)
            keys = tuple(_hashable(key) for key in keys)
            uses = Counter(keys)
            fingerprints = self._fingerprints(keys)
        details: Sequence[int | str | None] = ()
        if max(kinds) > MISS:
            uses = Counter([key for kind, key in zip(kinds, keys, strict=True) if kind <= MISS])
            # A size that needs no check is the most frequent: it is spared a call.
            details = [
                None
                if kind <= MISS
                else detail
                if kind == SET and type(detail) is int and detail >= 0
                else self._detail(kind, detail)
                for kind, detail in zip(kinds, given, strict=True)
            ]
        seconds = _reads_by_second(kinds, times)
        batch = Batch(
            kinds=kinds,
            fingerprints=fingerprints,
            details=details,
            unknown=hash((self._salt, UNKNOWN_KEY)),
            reads=self._labels.counted(uses),
            seconds={},
            durations={},
            slow={},
            last_ns=times[-1],
        )
        if given.count(None) < len(given):
            self._note_durations(batch, events, seconds, wall_offset_ns, slow)
        batch.seconds = {second: _tally(row) for second, row in seconds.items()}
        return batch

    def _fingerprints(self, keys: Sequence[Any]) -> list[int]:
        # The hash of a pair mixes what the hash of a small number alone does not.
        return list(map(hash, zip(repeat(self._salt), keys, strict=False)))

    def _detail(self, kind: int, detail: Any) -> int | str | None:
        if kind == EVICT:
            return text_of(detail)[:_MAX_REASON]
        if kind == SET:
            return self._whole("size", "bytes, an integer that is not negative", detail)
        entries = self._whole("number of entries", "an integer that is not negative", detail)
        return entries or 0

    def _whole(self, what: str, expected: str, given: Any) -> int | None:
        if given is None or (type(given) is int and given >= 0):
            return given
        if isinstance(given, int) and int(given) >= 0:
            return int(given)
        self._warn(what, expected, given)
        return None

    def _note_durations(
        self,
        batch: Batch,
        events: Sequence[Event],
        seconds: dict[int, list[int]],
        wall_offset_ns: int,
        slow: Mapping[int, tuple[Access, ...]],
    ) -> None:
        timed, durations = self._timed(events)
        if not durations:
            return
        width = TEN_MINUTES.width_ns
        first, last = timed[0][3], timed[-1][3]
        by_slice: dict[int, list[tuple[int, int]]] = {}
        if first // SECOND == last // SECOND:
            row = seconds.setdefault(first // SECOND, [0, 0, 0, 0])
            row[2] += len(durations)
            row[3] += sum(durations)
            batch.durations[first // width] = durations
        else:
            for event, duration in zip(timed, durations, strict=True):
                row = seconds.setdefault(event[3] // SECOND, [0, 0, 0, 0])
                row[2] += 1
                row[3] += duration
                batch.durations.setdefault(event[3] // width, []).append(duration)
        floors = {number: floor_of(slow, number) for number in batch.durations}
        if max(durations) <= min(floors.values()):
            return
        for place, (event, duration) in enumerate(zip(timed, durations, strict=True)):
            number = event[3] // width
            if duration > floors.get(number, -1):
                by_slice.setdefault(number, []).append((duration, place))
        for number, candidates in by_slice.items():
            batch.slow[number] = tuple(
                (duration, kind, self._labels.of(key), time + wall_offset_ns)
                for duration, (kind, key, _, time) in (
                    (duration, timed[place]) for duration, place in largest(candidates)
                )
            )

    def _timed(self, events: Sequence[Event]) -> tuple[list[Event], list[int]]:
        """Return the accesses with a duration that can be one, and those in nanoseconds."""
        timed = [event for event in events if event[0] <= MISS and event[2] is not None]
        try:
            durations = [int(event[2] * 1e9 + 0.5) for event in timed]
            if min(durations, default=0) >= 0 and max(durations, default=0) < _LONGEST_NS:
                return timed, durations
        except Exception as error:  # no number, NaN, or infinity
            _raise_if_foreign(error)
        checked = [(event, self._nanoseconds(event[2])) for event in timed]
        sound = [(event, duration) for event, duration in checked if duration is not None]
        return [event for event, _ in sound], [duration for _, duration in sound]

    def _nanoseconds(self, seconds: Any) -> int | None:
        try:
            nanoseconds = round(seconds * 1e9)
        except Exception as error:  # no number, NaN, or infinity
            _raise_if_foreign(error)
            nanoseconds = -1
        if 0 <= nanoseconds < _LONGEST_NS:
            return int(nanoseconds)
        self._warn("duration", "seconds, from 0 to a hundred years", seconds)
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


def _reads_by_second(kinds: Sequence[int], times: Sequence[int]) -> dict[int, list[int]]:
    first, last = min(times) // SECOND, max(times) // SECOND
    hits_and_misses = [kinds.count(HIT), kinds.count(MISS)]
    if not any(hits_and_misses):
        return {}
    if first == last:
        return {first: [*hits_and_misses, 0, 0]}
    seconds: dict[int, list[int]] = {}
    by_second = Counter(zip(kinds, [time // SECOND for time in times], strict=True))
    for (kind, second), count in by_second.items():
        if kind <= MISS:
            seconds.setdefault(second, [0, 0, 0, 0])[kind] += count
    return seconds


def _tally(row: list[int]) -> Tally:
    hits, misses, timed, timed_ns = row
    return hits, misses, timed, timed_ns


def _raise_if_foreign(error: Exception) -> None:
    """Raise what the program's own signal handler raised: it is no failure of a key."""
    if raised_by_signal_handler(error):
        raise error


def _hashable(key: object) -> object:
    """Return the key, or where it cannot be looked up a text that stands for it."""
    try:
        hash(key)
        if key == key:  # noqa: PLR0124 - the key's own comparison may fail
            return key
    except Exception as error:
        _raise_if_foreign(error)
    try:
        text = shown_text(key) if is_large(key) else repr(key)
        return f"{type(key).__name__} {text}"
    except Exception as error:
        _raise_if_foreign(error)
        return type(key).__name__
