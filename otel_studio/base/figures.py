"""One table of figures makes the instruments of a room; one collection reads each room once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Literal, TypeVar

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_studio.base.guard import report_internal_error

R = TypeVar("R")

Attributes = dict[str, "str | int | bool"]
#: A value, `None` where it has no source, and what tells it from others of the same figure.
Point = tuple["int | float | None", Attributes]
Kind = Literal["counter", "up_down_counter", "gauge"]


@dataclasses.dataclass(frozen=True, slots=True)
class Figure(Generic[R]):
    """One instrument of a room, and how its points are taken from the room's reading.

    Attributes:
        name: of the instrument, by OpenTelemetry's conventions where they have one.
        kind: a counter only grows, an up-down counter adds up over processes, a gauge does not.
        unit: in UCUM, as OpenTelemetry writes it.
        description: one sentence.
        points: takes the points from a reading; one whose value is `None` is left out.
        machine: whether it describes the machine and not the process, and so is never added up
            over the processes of one host.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    points: Callable[[R], Iterable[Point]]
    machine: bool = False


class _Collections(threading.local):
    """The readings of the collection that goes on in this thread."""

    readings: dict[Any, Any] | None = None


_collections = _Collections()


@contextmanager
def one_collection() -> Iterator[None]:
    """Let every room be read once, at most, inside the block; on this thread.

    A collection inside another one is a part of it.
    """
    if _collections.readings is not None:
        yield
        return
    _collections.readings = {}
    try:
        yield
    finally:
        _collections.readings = None


def once_in_a_collection(read: Callable[[], R]) -> Callable[[], R]:
    """Return what gives the same reading throughout one collection, and a new one elsewhere.

    Args:
        read: takes a reading.
    """
    key = object()

    def reading() -> R:
        readings = _collections.readings
        if readings is None:
            return read()
        if key not in readings:
            readings[key] = read()
        found: R = readings[key]
        return found

    return reading


def register(meter: Meter, figures: Sequence[Figure[R]], read: Callable[[], R]) -> None:
    """Create the instruments of a room.

    Args:
        meter: makes them.
        figures: the room's table.
        read: takes the room's reading; called once in a collection.
    """
    reading = once_in_a_collection(read)
    for figure in figures:
        create = getattr(meter, f"create_observable_{figure.kind}")
        create(
            figure.name,
            callbacks=[_callback(figure, reading)],
            unit=figure.unit,
            description=figure.description,
        )


def points_of(figures: Iterable[Figure[R]], reading: R) -> Iterator[tuple[Figure[R], Point]]:
    """Yield each figure of a reading with its points; one that fails is reported and left out.

    Args:
        figures: the room's table.
        reading: the room's.
    """
    for figure in figures:
        try:
            points = [point for point in figure.points(reading) if point[0] is not None]
        except Exception as error:
            report_internal_error(f"the figure {figure.name}", error)
            continue
        for point in points:
            yield figure, point


def _callback(
    figure: Figure[R], reading: Callable[[], R]
) -> Callable[[CallbackOptions], Iterator[Observation]]:
    def observe(_options: CallbackOptions) -> Iterator[Observation]:
        try:
            now = reading()
        except Exception as error:
            report_internal_error(f"reading for the figure {figure.name}", error)
            return
        for _figure, (value, attributes) in points_of((figure,), now):
            assert value is not None
            yield Observation(value, attributes)

    return observe


def one(get: Callable[[R], int | float | None]) -> Callable[[R], Iterable[Point]]:
    """Return what makes one point, without attributes."""
    return lambda reading: [(get(reading), {})]


def split(
    attribute: str, get: Callable[[R], dict[str, int] | dict[str, float]]
) -> Callable[[R], Iterable[Point]]:
    """Return what makes one point of each entry of a mapping, its key as an attribute."""
    return lambda reading: [(value, {attribute: key}) for key, value in get(reading).items()]
