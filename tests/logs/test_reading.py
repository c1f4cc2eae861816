"""Counting log records: the algebra of readings, and a fold that nothing can break in two."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.base import codec
from otel_studio.base.figures import points_of
from otel_studio.logs import level_counts
from otel_studio.logs.level_counts import LevelCounts, log_counts
from otel_studio.logs.reading import FIGURES, LogsPart, LogsReading
from plain_data import unplain_fields

KEYS = st.tuples(st.sampled_from(["", "a"]), st.sampled_from(["", "b"]), st.sampled_from("ID"))
PARTS = st.builds(LogsPart, st.dictionaries(KEYS, st.integers(1, 10**12), min_size=1, max_size=4))
READINGS = st.builds(LogsReading, st.dictionaries(st.sampled_from("xyz"), PARTS, max_size=3))


@given(READINGS, READINGS, READINGS)
def test_readings_are_a_group(a: LogsReading, b: LogsReading, c: LogsReading) -> None:
    """Order and grouping do not matter, and a difference takes back what a sum added."""
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert (a + b) - a == b
    assert a + LogsReading() == a
    assert a - a == LogsReading()


@given(READINGS, READINGS)
def test_every_record_is_in_a_sum(a: LogsReading, b: LogsReading) -> None:
    """Nothing is left out, and nothing counted twice."""
    assert Counter((a + b).counts) == Counter(a.counts) + Counter(b.counts)


@given(PARTS, PARTS)
def test_what_began_anew_counts_from_zero(old: LogsPart, new: LogsPart) -> None:
    """Across a restart a difference holds all that came since, and nothing below zero."""
    window = LogsReading({"new": new}) - LogsReading({"old": old})
    assert window == LogsReading({"new": new})


@given(READINGS)
def test_queries_and_points_are_functions_of_a_reading(reading: LogsReading) -> None:
    """Both say what the reading says."""
    points = {tuple(sorted(a.items())): value for _f, (value, a) in points_of(FIGURES, reading)}
    rows = log_counts(reading)
    assert [(row.service or "", row.operation or "") for row in rows] == sorted(
        (service, operation) for service, operation, _level in reading.counts
    )
    assert sum(row.count for row in rows) == sum(reading.counts.values())
    assert len(points) <= len(rows)


def test_a_reading_is_plain_data() -> None:
    """Nothing in it but numbers, text and mappings."""
    assert unplain_fields(LogsReading) == []


def test_counts_of_another_beginning_have_another_epoch() -> None:
    """Two that count in one process are not taken for one."""
    one, other = LevelCounts(), LevelCounts()
    one.add("a", "b", "INFO")
    other.add("a", "b", "INFO")
    assert len((one.reading() + other.reading()).parts) == 2
    assert (other.reading() - one.reading()).counts == {("a", "b", "INFO"): 1}


def test_a_thread_is_asked_to_fold_and_whoever_logs_does_where_none_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What waits is bounded, and a thread that logs does not fold while another can."""
    monkeypatch.setattr(level_counts, "_FOLD_AT", 10)
    monkeypatch.setattr(level_counts, "_FOLD_HERE_AT", 30)
    woken: list[int] = []
    counts = LevelCounts(lambda: woken.append(len(counts._waiting)))
    for _ in range(29):
        counts.add("a", "b", "INFO")
    assert woken == [10, 20]
    counts.add("a", "b", "INFO")
    assert len(counts._waiting) == 0
    assert counts.reading().counts == {("a", "b", "INFO"): 30}


class _Limit(Exception):
    """What a program's handler raises."""


def _set_off(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)


@contextmanager
def _signals(handler: Any) -> Iterator[Callable[[], None]]:
    """Give what sets off one signal, some time within the next 0.2 ms."""
    before, random = signal.signal(signal.SIGALRM, handler), Random(1)
    try:
        yield lambda: _set_off(random.uniform(1e-6, 2e-4))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_handler_that_raises_inside_the_fold_loses_and_doubles_nothing() -> None:
    """Whatever the fold was doing: what was taken is added once, by the next one."""
    counts, interrupted, added = LevelCounts(), [0], 0

    def raise_inside(_number: int, frame: Any) -> None:
        while frame is not None:
            if frame.f_code in (LevelCounts.fold.__code__, level_counts._folded.__code__):
                interrupted[0] += 1
                raise _Limit
            frame = frame.f_back

    with _signals(raise_inside) as soon:
        while interrupted[0] < 200:
            for _ in range(50):
                counts._waiting.append(("a", "b", "INFO"))
                added += 1
            soon()
            with suppress(_Limit):
                counts.fold()
    assert counts.reading().counts == {("a", "b", "INFO"): added}


def test_a_query_inside_the_fold_answers_and_nothing_is_counted_twice() -> None:
    """A signal handler that asks and logs, on the thread that folds, neither waits nor spoils."""
    counts, nested, added = LevelCounts(), [0], [0]

    def ask_inside(_number: int, frame: Any) -> None:
        while frame is not None:
            if frame.f_code in (LevelCounts.fold.__code__, level_counts._folded.__code__):
                nested[0] += 1
                counts.add("handler", "h", "INFO")
                assert counts.reading().counts[("handler", "h", "INFO")] == nested[0]
                return
            frame = frame.f_back

    with _signals(ask_inside) as soon:
        while nested[0] < 200:
            for _ in range(50):
                counts._waiting.append(("a", "b", "INFO"))
                added[0] += 1
            soon()
            counts.fold()
    assert counts.reading().counts == {
        ("a", "b", "INFO"): added[0],
        ("handler", "h", "INFO"): nested[0],
    }


def test_threads_that_log_and_one_that_asks_lose_nothing() -> None:
    """A reader that asks all the time sees counts that only grow, and in the end all of them."""
    counts, done, seen = LevelCounts(), threading.Event(), [0]

    def ask() -> None:
        while not done.is_set():
            now = sum(counts.reading().counts.values())
            assert now >= seen[0]
            seen[0] = now

    def log() -> None:
        for _ in range(5_000):
            counts.add("a", "b", "INFO")

    asking = threading.Thread(target=ask)
    asking.start()
    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    asking.join()
    assert counts.reading().counts == {("a", "b", "INFO"): 20_000}


@given(READINGS)
def test_the_codec_brings_a_reading_back(reading: LogsReading) -> None:
    """Another process reads exactly what this one wrote."""
    assert codec.decode(codec.encode(reading), LogsReading) == reading
