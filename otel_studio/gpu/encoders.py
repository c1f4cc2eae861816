"""What video encoding says about itself, from whoever runs the encoders."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from otel_studio.base.guard import report_internal_error
from otel_studio.base.locks import new_lock
from otel_studio.base.optional_sums import added, subtracted, total
from otel_studio.base.reading import process_epoch
from otel_studio.base.record import Record
from otel_studio.operations import seat
from otel_studio.operations.seat import Seat


@dataclasses.dataclass(frozen=True, slots=True)
class RunningEncode(Record):
    """One encode that runs now, as who follows it knows it; `None` is unknown.

    Attributes:
        pid: the process that encodes, as this process numbers it.
        bitrate_mbps: of its output so far, in megabits a second.
        duration_seconds: the length of its output so far.
    """

    pid: int
    bitrate_mbps: float | None = None
    duration_seconds: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class EncodeStatistics(Record):
    """The encodes of this process, as one source knows them; `None` is unknown.

    Attributes:
        encode_fps: frames encoded per second, all running encodes together.
        queue_length: encodes that wait to start.
        average_encode_time_ms: mean duration of the encodes that completed, in milliseconds.
        failed_encodes: encodes that failed since the source began.
        hardware_acceleration_active: whether a running encode uses a hardware encoder.
        completed_encodes: encodes that completed, the weight of the average.
        running: the encodes that run now in processes of their own.
    """

    encode_fps: float | None = None
    queue_length: int | None = None
    average_encode_time_ms: float | None = None
    failed_encodes: int | None = None
    hardware_acceleration_active: bool | None = None
    completed_encodes: int | None = None
    running: tuple[RunningEncode, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class EncodePart:
    """What one source has encoded since it began, or over a window, and how it does now.

    Attributes:
        unix_ns: when it was asked.
        completed: encodes that completed.
        failed: encodes that failed.
        spent_ns: what the completed ones took together.
        told: what the source itself said last.
    """

    unix_ns: int
    completed: int | None = None
    failed: int | None = None
    spent_ns: int | None = None
    told: EncodeStatistics = dataclasses.field(default_factory=EncodeStatistics)

    def __add__(self, other: EncodePart) -> EncodePart:
        """Return two windows of this source as one."""
        later = other if other.unix_ns >= self.unix_ns else self
        return dataclasses.replace(
            later,
            completed=added(self.completed, other.completed),
            failed=added(self.failed, other.failed),
            spent_ns=added(self.spent_ns, other.spent_ns),
        )

    def __sub__(self, earlier: EncodePart) -> EncodePart:
        """Return the window since this source was asked earlier."""
        return dataclasses.replace(
            self,
            completed=subtracted(self.completed, earlier.completed),
            failed=subtracted(self.failed, earlier.failed),
            spent_ns=subtracted(self.spent_ns, earlier.spent_ns),
        )

    def without_running(self) -> EncodePart:
        """Return the part without the encodes that run, which nobody could find by their ids."""
        return dataclasses.replace(self, told=dataclasses.replace(self.told, running=()))


class EncodeSource(Protocol):
    """Runs or watches encoders, and can say how they do."""

    def encode_statistics(self) -> EncodeStatistics:
        """Return the figures as they are now; called on the threads of queries."""
        ...


class EncodeSources:
    """The sources known, and their figures put together.

    Example:
        >>> sources = EncodeSources()
        >>> sources.statistics().queue_length is None
        True
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        #: Each with a number of its own: one that is added anew counts from zero.
        self._sources: tuple[tuple[int, EncodeSource], ...] = ()

    def register(self, source: EncodeSource) -> Callable[[], None]:
        """Add a source; one that is known already is not added twice.

        Args:
            source: an object with a method `encode_statistics`.

        Returns:
            A function that takes the source away again.

        Raises:
            TypeError: if `source` has no such method.
        """
        if not callable(getattr(source, "encode_statistics", None)):
            raise TypeError(
                f"{type(source).__name__} has no method encode_statistics(): "
                "give an object that returns EncodeStatistics from it"
            )
        with self._lock:
            if not any(known is source for _number, known in self._sources):
                self._sources = (*self._sources, (next(_numbers), source))

        def remove() -> None:
            with self._lock:
                self._sources = tuple(row for row in self._sources if row[1] is not source)

        return remove

    def parts(self, unix_ns: int) -> dict[str, EncodePart]:
        """Ask every source, and return what each says, by its epoch.

        Args:
            unix_ns: the wall clock, in nanoseconds.
        """
        return {
            f"{process_epoch()}-encodes-{number}": _part(unix_ns, answer)
            for number, source in self._sources
            for answer in _ask(source)
        }

    def statistics(self) -> EncodeStatistics:
        """Return what all sources say together; a figure that none knows is `None`."""
        return statistics_of(self.parts(0).values())


def statistics_of(parts: Collection[EncodePart]) -> EncodeStatistics:
    """Return what several sources say together; a figure that none knows is `None`.

    Args:
        parts: what each said.
    """
    return EncodeStatistics(
        encode_fps=_sum(part.told.encode_fps for part in parts),
        queue_length=total(part.told.queue_length for part in parts),
        average_encode_time_ms=_average(parts),
        failed_encodes=total(part.failed for part in parts),
        hardware_acceleration_active=_any(part.told.hardware_acceleration_active for part in parts),
        completed_encodes=total(part.completed for part in parts),
        running=tuple(encode for part in parts for encode in part.told.running),
    )


_numbers = itertools.count(1)


def sources_of(taken: Seat) -> EncodeSources:
    """Return the sources that are registered in a seat.

    Args:
        taken: the process's own seat, or an isolated one, which starts without any.
    """
    if taken.encode_sources is None:
        taken.encode_sources = EncodeSources()
    sources: EncodeSources = taken.encode_sources
    return sources


def register_encode_source(source: EncodeSource) -> Callable[[], None]:
    """Let a source's figures appear as `performance_metrics` beside every GPU.

    Args:
        source: an object whose `encode_statistics()` returns EncodeStatistics.

    Returns:
        A function that takes the source away again.

    Raises:
        TypeError: if `source` has no such method.

    Example:
        >>> class Idle:
        ...     def encode_statistics(self):
        ...         return EncodeStatistics(queue_length=0)
        >>> remove = register_encode_source(Idle())
        >>> sources_of(seat.current()).statistics().queue_length
        0
        >>> remove()
    """
    return sources_of(seat.current()).register(source)


def _ask(source: EncodeSource) -> list[EncodeStatistics]:
    """Return the source's answer, and nothing when it fails."""
    place = f"the encode statistics of {type(source).__name__}"
    try:
        answer: object = source.encode_statistics()
    except Exception as error:
        report_internal_error(place, error)
        return []
    if isinstance(answer, EncodeStatistics):
        return [answer]
    report_internal_error(place, TypeError(f"it returned {type(answer).__name__}"))
    return []


def _part(unix_ns: int, told: EncodeStatistics) -> EncodePart:
    average, completed = told.average_encode_time_ms, told.completed_encodes
    known = average is not None and completed is not None
    return EncodePart(
        unix_ns,
        completed,
        told.failed_encodes,
        round(average * 1e6 * completed) if known else None,  # type: ignore[operator]
        told,
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _any(values: Iterable[bool | None]) -> bool | None:
    known = [value for value in values if value is not None]
    return any(known) if known else None


def _average(parts: Collection[EncodePart]) -> float | None:
    timed = [part for part in parts if part.spent_ns is not None]
    encodes = total(part.completed for part in timed)
    if encodes:
        return (total(part.spent_ns for part in timed) or 0) / encodes / 1e6
    untimed = [part.told.average_encode_time_ms for part in parts if part.completed is None]
    # without its weight an average goes with no other
    return untimed[0] if len(parts) == len(untimed) == 1 else None
