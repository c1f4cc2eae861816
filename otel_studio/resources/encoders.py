"""What video encoding says about itself, from whoever runs the encoders."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from otel_studio.guard import report_internal_error
from otel_studio.record import Record


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
    """

    encode_fps: float | None = None
    queue_length: int | None = None
    average_encode_time_ms: float | None = None
    failed_encodes: int | None = None
    hardware_acceleration_active: bool | None = None
    completed_encodes: int | None = None


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
        self._lock = threading.Lock()
        self._sources: tuple[EncodeSource, ...] = ()

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
            if not any(known is source for known in self._sources):
                self._sources = (*self._sources, source)

        def remove() -> None:
            with self._lock:
                self._sources = tuple(known for known in self._sources if known is not source)

        return remove

    def statistics(self) -> EncodeStatistics:
        """Return what all sources say together; a figure that none knows is `None`."""
        answers = [answer for source in self._sources for answer in _ask(source)]
        if len(answers) == 1:
            return answers[0]
        return EncodeStatistics(
            encode_fps=_total(answer.encode_fps for answer in answers),
            queue_length=_whole(answer.queue_length for answer in answers),
            average_encode_time_ms=_average(answers),
            failed_encodes=_whole(answer.failed_encodes for answer in answers),
            hardware_acceleration_active=_any(
                answer.hardware_acceleration_active for answer in answers
            ),
            completed_encodes=_whole(answer.completed_encodes for answer in answers),
        )


#: The sources of this process; the module-level function and the default monitor use them.
process_sources = EncodeSources()


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
        >>> process_sources.statistics().queue_length
        0
        >>> remove()
    """
    return process_sources.register(source)


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


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _whole(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _any(values: Iterable[bool | None]) -> bool | None:
    known = [value for value in values if value is not None]
    return any(known) if known else None


def _average(answers: Iterable[EncodeStatistics]) -> float | None:
    timed = [
        (answer.average_encode_time_ms, answer.completed_encodes or 0)
        for answer in answers
        if answer.average_encode_time_ms is not None
    ]
    encodes = sum(count for _, count in timed)
    if not encodes:
        return None
    return sum(average * count for average, count in timed) / encodes
