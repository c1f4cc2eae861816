"""One table makes the instruments; one collection reads a room once."""

from __future__ import annotations

import threading

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_studio.base import guard
from otel_studio.base.figures import (
    Figure,
    Point,
    once_in_a_collection,
    one,
    one_collection,
    points_of,
    register,
    split,
)


def broken(_reading: int) -> list[Point]:
    raise OSError("no")


FIGURES = (
    Figure("a", "counter", "1", "A.", one(lambda reading: reading)),
    Figure("b", "gauge", "s", "B.", split("key", lambda reading: {"x": reading, "y": -reading})),
    Figure("c", "up_down_counter", "By", "C.", one(lambda _reading: None)),
    Figure("d", "gauge", "1", "D.", broken),
)


def collected(reader: InMemoryMetricReader) -> dict[str, list[tuple[object, ...]]]:
    data = reader.get_metrics_data()
    return {
        metric.name: [
            (point.value, *point.attributes.values()) for point in metric.data.data_points
        ]
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_a_table_makes_the_instruments() -> None:
    """Points come from the reading; what has no source, or fails, leaves none and harms none."""
    reader = InMemoryMetricReader()
    register(MeterProvider([reader]).get_meter("test"), FIGURES, lambda: 7)
    assert collected(reader) == {"a": [(7,)], "b": [(7, "x"), (-7, "y")]}
    assert guard.internal_errors == {"the figure d": 1}


def test_one_collection_reads_a_room_once() -> None:
    """However many instruments it has; the next collection reads it anew."""
    taken: list[int] = []

    def read() -> int:
        taken.append(len(taken))
        return taken[-1]

    reader = InMemoryMetricReader()
    register(MeterProvider([reader]).get_meter("test"), FIGURES, read)
    with one_collection():
        assert collected(reader) == {"a": [(0,)], "b": [(0, "x"), (0, "y")]}
        with one_collection():  # a part of the other
            assert collected(reader)["a"] == [(0,)]
    assert taken == [0]
    with one_collection():
        assert collected(reader)["a"] == [(1,)]


def test_collections_of_two_threads_have_a_reading_each() -> None:
    """What one collects does not answer for the other."""
    taken: list[int] = []

    def read() -> int:
        taken.append(threading.get_ident())
        return taken[-1]

    reading = once_in_a_collection(read)
    seen: list[int] = []

    def collect() -> None:
        with one_collection():
            seen.extend([reading(), reading()])

    with one_collection():
        first = reading()
        thread = threading.Thread(target=collect)
        thread.start()
        thread.join()
        assert reading() == first
    assert len(taken) == 2
    assert seen == [taken[1]] * 2


def test_outside_of_a_collection_each_question_is_answered_anew() -> None:
    """Nothing is kept from an earlier one."""
    numbers = iter(range(10))
    reading = once_in_a_collection(lambda: next(numbers))
    assert [reading(), reading()] == [0, 1]
    with one_collection():
        assert [reading(), reading()] == [2, 2]
    assert reading() == 3


def test_a_reading_that_fails_leaves_no_point() -> None:
    """It is counted for every figure that asked."""

    def fail() -> int:
        raise OSError("no")

    reader = InMemoryMetricReader()
    register(MeterProvider([reader]).get_meter("test"), FIGURES[:1], fail)
    assert collected(reader) == {}
    assert guard.internal_errors == {"reading for the figure a": 1}


def test_points_can_be_had_without_a_meter() -> None:
    """Whoever answers a scrape by itself takes them from the table."""
    found = [(figure.name, value) for figure, (value, _) in points_of(FIGURES, 5)]
    assert found == [("a", 5), ("b", 5), ("b", -5)]
