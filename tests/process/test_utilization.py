"""Fractions of processor time over windows that all readers share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.process.utilization import UtilizationWindow

SECOND = 1_000_000_000


def test_before_the_first_window_there_is_no_figure() -> None:
    """A first sample of 0 would be invented."""
    window = UtilizationWindow(5)
    window.update(0, {"user": 10.0}, 2)
    window.update(4 * SECOND, {"user": 12.0}, 2)
    assert window.fractions == {}


def test_a_window_is_the_growth_by_time_and_processors() -> None:
    """Four seconds in a window of five on two processors are 0.4."""
    window = UtilizationWindow(5)
    window.update(0, {"user": 10.0, "system": None}, 2)
    window.update(5 * SECOND, {"user": 14.0, "system": None}, 2)
    assert window.fractions == {"user": pytest.approx(0.4)}


def test_a_second_reader_does_not_shorten_the_window() -> None:
    """Whoever asks in between sees the last closed window, not the time since someone asked."""
    window = UtilizationWindow(5)
    window.update(0, {"user": 0.0}, 1)
    window.update(5 * SECOND, {"user": 2.5}, 1)
    for instant in (5.1, 5.2, 7.0, 9.9):
        window.update(round(instant * SECOND), {"user": 2.5}, 1)
        assert window.fractions == {"user": 0.5}
    window.update(10 * SECOND, {"user": 2.5}, 1)
    assert window.fractions == {"user": 0.0}


def test_seconds_that_go_back_give_no_figure() -> None:
    """Another process, or another control group: the difference means nothing."""
    window = UtilizationWindow(5)
    window.update(0, {"user": 100.0}, 1)
    window.update(5 * SECOND, {"user": 1.0}, 1)
    assert window.fractions == {}
    window.update(10 * SECOND, {"user": 2.0}, 1)
    assert window.fractions == {"user": 0.2}


def test_without_a_number_of_processors_there_is_no_figure() -> None:
    """What to divide by is not guessed."""
    window = UtilizationWindow(1)
    window.update(0, {"user": 0.0}, None)
    window.update(SECOND, {"user": 1.0}, None)
    assert window.fractions == {}


@given(
    st.lists(st.tuples(st.floats(0.01, 30), st.floats(0, 1)), min_size=1, max_size=50),
    st.floats(0.5, 10),
)
def test_a_fraction_lies_between_none_and_all(
    steps: list[tuple[float, float]], seconds: float
) -> None:
    """However often it is read, one processor is used between 0 and 1."""
    window = UtilizationWindow(seconds)
    now, used = 0, 0.0
    for step, share in steps:
        window.update(now, {"user": used}, 1)
        assert all(-1e-6 <= value <= 1 + 1e-6 for value in window.fractions.values())
        now += round(step * SECOND)
        used += step * share
