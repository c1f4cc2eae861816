"""What is kept of a run that holds much: the same facts, its largest values cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry.trace import StatusCode

from otel_studio.base.failure import safe_text
from otel_studio.base.weight import weight_of_value
from otel_studio.spans.ended_run import Children, EndedRun, RunFailure, Scope
from otel_studio.spans.exception_event import ExceptionEvent

#: What an attribute takes beside the characters of its name and value, about.
_OVERHEAD: Final = 128
#: Characters of a status's description; and where nothing else is left.
_TEXT: Final = 4_096
_BARE_TEXT: Final = 256
#: Events that are kept at most: the last ones.
_MAX_EVENTS: Final = 32


class LightEvent(NamedTuple):
    """Something that happened in a run, with its largest values cut."""

    name: str
    attributes: Mapping[str, Any]
    timestamp: int


class LightRun:
    """An ended run in place of a span that holds too much to be kept.

    What is learnt of the span after its end (the time of its parts, its log records) is told to
    this as well: the span refers to it as its `_light`.

    Args:
        run: that ended.
        attributes: of it, cut.
        events: likewise.
        failure: what is kept of its exception.
        is_bare: whether nothing is left of it that could be taken away.
    """

    __slots__ = (
        "_attributes",
        "_children",
        "_end",
        "_events",
        "_failure",
        "_flags",
        "_name",
        "_outcome",
        "_parent_span",
        "_records",
        "_simple",
        "_span_id",
        "_start",
        "_status_code",
        "_status_description",
        "_thread",
        "_trace_id",
        "_tracer",
        "end_time",
        "is_bare",
        "start_time",
    )

    def __init__(
        self,
        run: EndedRun,
        attributes: Mapping[str, Any] | None,
        events: tuple[LightEvent, ...],
        failure: RunFailure | None,
        *,
        is_bare: bool,
    ) -> None:
        self._tracer: Scope = run._tracer
        self._name: str = run._name
        self._trace_id: int = run._trace_id
        self._span_id: int = run._span_id
        self._flags: int = run._flags
        self._start: int = run._start
        self._end: int = run._end
        self._outcome: int = run._outcome
        self._simple: bool = run._simple
        self._status_code: StatusCode = run._status_code
        description = run._status_description
        self._status_description = (
            None
            if description is None
            else safe_text(description, _BARE_TEXT if is_bare else _TEXT)
        )
        self._thread: object = run._thread
        self._parent_span = None
        self._children: Children | None = run._children
        self._records: Any = None if is_bare else run._records
        self._attributes = attributes
        self._events = events
        self._failure = failure
        self.start_time = run.start_time
        self.end_time = run.end_time
        self.is_bare = is_bare


def cut_to(run: EndedRun, limit: int) -> tuple[LightRun, int]:
    """Return a run with its attributes and events cut to a size, and how many values that cost.

    Args:
        run: that ended.
        limit: bytes that its attributes and events may hold, about.
    """
    # The event of the failure itself says nothing more than that does.
    events = [event for event in run._events or () if not isinstance(event, ExceptionEvent)]
    cut = len(events) - _MAX_EVENTS if len(events) > _MAX_EVENTS else 0
    events = events[-_MAX_EVENTS:]
    parts: list[Mapping[str, Any]] = [run._attributes or {}, *(e.attributes or {} for e in events)]
    sizes = [
        _OVERHEAD + len(str(key)) + weight_of_value(value)
        for part in parts
        for key, value in part.items()
    ]
    most = _level(sizes, limit)
    kept: list[dict[str, Any]] = []
    for part in parts:
        kept.append({})
        for key, value in part.items():
            room = most - _OVERHEAD - len(str(key))
            if weight_of_value(value) > room:
                cut += 1
                value = _cut_value(value, room)  # noqa: PLW2901
            if value is not _NOTHING:
                kept[-1][key] = value
    light = tuple(
        LightEvent(safe_text(event.name, 256), attributes, getattr(event, "timestamp", 0))
        for event, attributes in zip(events, kept[1:], strict=True)
    )
    return LightRun(run, kept[0], light, run._failure, is_bare=False), cut


_NOTHING: Final = object()
#: Behind a text that was cut: an ellipsis of one character would double what each of it takes.
_END: Final = "..."


def _level(sizes: list[int], limit: int) -> int:
    """Return the size to which values are cut so that together they stay within a limit."""
    left = limit
    ascending = sorted(sizes)
    for place, size in enumerate(ascending):
        share = left // (len(ascending) - place)
        if size > share:
            return share
        left -= size
    return limit


def _cut_value(value: Any, room: int) -> Any:
    """Return as much of a value as there is room for, `_NOTHING` where that is nothing."""
    if room <= 0:
        return _NOTHING
    if isinstance(value, str):
        wide = weight_of_value(value) // max(len(value), 1)  # bytes of a character
        return value[: room // max(wide, 1)] + _END
    if isinstance(value, bytes):
        return value[:room]
    if isinstance(value, tuple | list):
        kept = []
        for item in value:
            room -= weight_of_value(item)
            if room < 0:
                break
            kept.append(item)
        return tuple(kept)
    return _NOTHING
