"""Time slices: hit rates of the last minute, hour and day."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.caches.windows import DAY, HOUR, MINUTE, SECOND, SliceRing, TallyWindows

#: Window: its length and the width of a slice.
WINDOWS = {"minute": (MINUTE, SECOND), "hour": (HOUR, MINUTE), "day": (DAY, 15 * MINUTE)}


@pytest.mark.parametrize("window", WINDOWS)
@given(
    gaps=st.lists(st.integers(0, 2 * HOUR), max_size=60),
    later=st.integers(0, 2 * DAY),
)
def test_window_is_the_last_slices_whatever_the_gaps(
    window: str, gaps: list[int], later: int
) -> None:
    """A window holds every event of its length but one slice, and none older than its length."""
    length, width = WINDOWS[window]
    windows = TallyWindows()
    now = 0
    times = []
    for gap in gaps:
        now += gap
        times.append(now)
        windows.add(now, hits=1)
    now += later
    hits = windows.total(window, now).hits
    assert sum(now - time <= length - width for time in times) <= hits
    assert hits <= sum(now - time < length for time in times)


def test_idle_gap_empties_the_windows_one_after_the_other() -> None:
    """After two minutes of idling the minute is empty; after two days, everything is."""
    windows = TallyWindows()
    windows.add(5 * SECOND, hits=3, misses=1)
    assert windows.total("minute", 64 * SECOND).hit_rate == 0.75
    assert windows.total("minute", 65 * SECOND).hit_rate is None
    assert windows.total("hour", 65 * SECOND).hit_rate == 0.75
    assert windows.total("hour", 2 * HOUR).hit_rate is None
    assert windows.total("day", 2 * HOUR).hit_rate == 0.75
    assert windows.total("day", 2 * DAY).hit_rate is None


def test_late_event_counts_in_its_own_slice() -> None:
    """Events of several threads arrive out of order, and one of a past round changes nothing."""
    windows = TallyWindows()
    windows.add(100 * SECOND, hits=1)
    windows.add(99 * SECOND, misses=1)
    windows.add(40 * SECOND, misses=1)
    minute = windows.total("minute", 100 * SECOND)
    assert (minute.hits, minute.misses) == (1, 1)
    assert windows.total("hour", 100 * SECOND).misses == 2


def test_eight_hours_take_no_more_memory_than_one() -> None:
    """A ring's size is fixed, and eight hours at one event a second neither lose nor drift."""

    def held(ring: SliceRing[object]) -> int:
        return sys.getsizeof(ring._aggregates) + sys.getsizeof(ring._numbers)

    windows = TallyWindows()
    sizes = set()
    for second in range(8 * 3600):
        windows.add(second * SECOND, hits=1, misses=second % 2)
        if second and second % 3600 == 0:
            sizes.add(sum(held(ring) for ring in windows._rings.values()))
            now = second * SECOND
            # From the start of the first minute of the window up to this second.
            assert windows.total("hour", now).hits == 59 * 60 + 1
            assert windows.total("minute", now).hits == 60
            assert windows.total("day", now).hits == second + 1
    assert len(sizes) == 1
