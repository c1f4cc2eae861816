"""The slowest accesses of the last hour, a bounded number."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping

from otel_studio.caches.windows import TEN_MINUTES, add_slices, subtract_slices

#: Duration in nanoseconds, kind, what is kept of the key, Unix time in nanoseconds.
Access = tuple[int, int, str | None, int]
#: The slowest of each ten minutes, the slowest first; by the slice's number.
SlowAccesses = dict[int, tuple[Access, ...]]

_KEPT = 20


def floor_of(slow: Mapping[int, tuple[Access, ...]], number: int) -> int:
    """Return the duration above which an access is among the slowest of its slice.

    Args:
        slow: those so far.
        number: the slice's.
    """
    kept = slow.get(number, ())
    return -1 if len(kept) < _KEPT else kept[-1][0]


def largest(durations: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return as many of the longest durations as are kept of a slice.

    Args:
        durations: each with what tells it from the others.
    """
    return heapq.nlargest(_KEPT, durations)


def keeping(slow: SlowAccesses, more: Mapping[int, tuple[Access, ...]]) -> SlowAccesses:
    """Return the slowest of both, as far back as is kept.

    Args:
        slow: those so far; left as they are.
        more: others, likewise by slice.
    """
    return TEN_MINUTES.kept(add(slow, more)) if more else slow


def slowest(slow: Mapping[int, tuple[Access, ...]], now_ns: int) -> list[Access]:
    """Return the slowest accesses of the last hour, the slowest first.

    Args:
        slow: those of each slice.
        now_ns: the time now, on the monotonic clock.
    """
    recent = TEN_MINUTES.recent(slow, now_ns)
    return list(_slowest_of([access for accesses in recent for access in accesses]))


def add(
    one: Mapping[int, tuple[Access, ...]], other: Mapping[int, tuple[Access, ...]]
) -> SlowAccesses:
    """Return the slowest of both, by one order: the same whichever comes first.

    Args:
        one: by slice.
        other: likewise.
    """
    return add_slices(one, other, lambda some, more: _slowest_of((*some, *more)))


def subtract(
    now: Mapping[int, tuple[Access, ...]], then: Mapping[int, tuple[Access, ...]]
) -> SlowAccesses:
    """Return those of now that were not there then.

    Args:
        now: by slice.
        then: likewise.
    """
    left = subtract_slices(now, then, _without)
    return {number: accesses for number, accesses in left.items() if accesses}


def _without(accesses: tuple[Access, ...], gone: tuple[Access, ...]) -> tuple[Access, ...]:
    return _slowest_of((Counter(accesses) - Counter(gone)).elements())


def _slowest_of(accesses: Iterable[Access]) -> tuple[Access, ...]:
    return tuple(sorted(accesses, key=_order, reverse=True)[:_KEPT])


def _order(access: Access) -> tuple[int, int, int, bool, str]:
    duration, kind, key, unix_ns = access
    return duration, unix_ns, kind, key is not None, key or ""
