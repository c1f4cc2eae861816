"""Time slices: hit rates of the last minute, hour and day."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.caches.windows import DAY, HOUR, LAYOUTS, MINUTE, SECOND, Tallies, hit_rate

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
    windows = Tallies()
    now = 0
    times = []
    for gap in gaps:
        now += gap
        times.append(now)
        windows = windows.adding({now // SECOND: (1, 0, 0, 0)})
    now += later
    hits = windows.total(window, now)[0]
    assert sum(now - time <= length - width for time in times) <= hits
    assert hits <= sum(now - time < length for time in times)


def test_idle_gap_empties_the_windows_one_after_the_other() -> None:
    """After two minutes of idling the minute is empty; after two days, everything is."""
    windows = Tallies().adding({5: (3, 1, 0, 0)})
    assert hit_rate(windows.total("minute", 64 * SECOND)) == 0.75
    assert hit_rate(windows.total("minute", 65 * SECOND)) is None
    assert hit_rate(windows.total("hour", 65 * SECOND)) == 0.75
    assert hit_rate(windows.total("hour", 2 * HOUR)) is None
    assert hit_rate(windows.total("day", 2 * HOUR)) == 0.75
    assert hit_rate(windows.total("day", 2 * DAY)) is None


def test_late_event_counts_in_its_own_slice() -> None:
    """Events of several threads arrive out of order, and one of a past round changes nothing."""
    windows = Tallies().adding({100: (1, 0, 0, 0)}).adding({99: (0, 1, 0, 0)})
    windows = windows.adding({40: (0, 1, 0, 0)})
    assert windows.total("minute", 100 * SECOND)[:2] == (1, 1)
    assert windows.total("hour", 100 * SECOND)[:2] == (1, 2)


def test_adding_changes_nothing_that_was_there() -> None:
    """A reading holds what it was given, whatever is counted later."""
    before = Tallies().adding({1: (1, 0, 0, 0)})
    before.adding({1: (5, 5, 5, 5), 2: (1, 1, 1, 1)})
    assert before == Tallies().adding({1: (1, 0, 0, 0)})


def test_eight_hours_take_no_more_memory_than_one() -> None:
    """No more slices are kept than a window has, and eight hours neither lose nor drift."""
    windows = Tallies()
    for second in range(8 * 3600):
        windows = windows.adding({second: (1, second % 2, 0, 0)})
        if second and second % 3600 == 0:
            now = second * SECOND
            for name, layout in LAYOUTS.items():
                assert len(getattr(windows, name)) <= layout.slices
            # From the start of the first minute of the window up to this second.
            assert windows.total("hour", now)[0] == 59 * 60 + 1
            assert windows.total("minute", now)[0] == 60
            assert windows.total("day", now)[0] == second + 1
