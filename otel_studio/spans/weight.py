"""How many bytes of a program's own a run holds, told quickly: by type and length, without a walk.

It runs no code of the program's, so a fold may ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from sys import getsizeof
from typing import Any, Final, TypeVar

from otel_studio.base.failure import Failure
from otel_studio.base.weight import FLAT, weight_of_value
from otel_studio.spans.constant_attributes import ConstantAttributes
from otel_studio.spans.ended_run import EndedRun
from otel_studio.spans.exception_event import ExceptionEvent

R = TypeVar("R", bound=EndedRun)

#: What a code place of a stack takes, and a log record beside its texts.
_FRAME_BYTES: Final = 72
_RECORD_BYTES: Final = 160
#: What a request takes of a span beside its texts, and of an event or a link.
_SPAN_BYTES: Final = 96
_EVENT_BYTES: Final = 64
#: The two lines of a code place in a stack's text, beside the file's name.
_LINE_BYTES: Final = 160
#: Every so many runs are looked at: a prime number, so that no pattern of theirs hides from it.
_SAMPLED: Final = 61


def weight_of_attributes(attributes: Mapping[str, Any] | None) -> int:
    """Return the bytes of attributes; those that all runs of an operation share are nobody's."""
    if not attributes or type(attributes) is ConstantAttributes:
        return 0
    values = attributes.values()
    if FLAT.issuperset(map(type, values)):  # as nearly always: all of it in C
        return sum(map(getsizeof, chain(attributes, values)))
    return sum(map(getsizeof, attributes)) + sum(map(weight_of_value, values))


def weight_of(run: EndedRun) -> int:
    """Return the bytes that a run holds beside its name, ids and times."""
    size = weight_of_attributes(run._attributes)
    if run._records:
        size += sum(
            _RECORD_BYTES + len(record.message) + len(record.exception or "")
            for record in list(run._records)
        )
    if run._simple:
        return size
    failure = run._failure
    size += weight_of_failure(failure) + getsizeof(run._status_description or "")
    for event in run._events or ():
        if isinstance(event, ExceptionEvent):
            if event.failure is not failure:
                size += weight_of_failure(event.failure)
            size += weight_of_attributes(event._extra)
        else:
            size += getsizeof(event.name) + weight_of_attributes(event.attributes)
    for link in getattr(run, "_links", None) or ():
        size += weight_of_attributes(link.attributes)
    return size


def weight_of_failure(failure: object) -> int:
    """Return the bytes of what is kept of an exception, and of those that led to it."""
    size = 0
    while isinstance(failure, Failure):
        size += getsizeof(failure.message) + _FRAME_BYTES * len(failure.frames)
        size += len(failure._text or "")
        failure = failure.chained
    return size


def weight_of_runs(runs: Sequence[EndedRun]) -> int:
    """Return the bytes that runs hold together, about: keys are mostly the program's constants."""
    found = [run._attributes for run in runs if run._simple and run._attributes]
    attributes = [one for one in found if type(one) is dict]
    values = list(chain.from_iterable(map(dict.values, attributes)))
    if FLAT.issuperset(map(type, values)):  # as nearly always: all of it in C
        size = sum(map(getsizeof, values))
    else:
        size = sum(map(weight_of_value, values))
    if len(attributes) < len(found):
        size += sum(weight_of_attributes(one) for one in found if type(one) is not dict)
    return size + sum(weight_of(run) for run in runs if not run._simple)


def first_within(runs: Sequence[R], room: int) -> tuple[list[R], int]:
    """Return the runs that find room, a small one behind a large one too, and what they hold."""
    fitting: list[R] = []
    held = 0
    for run in runs:
        weight = weight_of_runs((run,))
        if held + weight <= room:
            held += weight
            fitting.append(run)
    return fitting, held


def request_bytes(run: EndedRun) -> int:
    """Return about what a run takes when it is sent: half of it at least."""
    size = _SPAN_BYTES + len(run._name) + sum(map(len, run._attributes or ()))
    size += weight_of_attributes(run._attributes)
    if type(run._attributes) is ConstantAttributes:
        size += weight_of_attributes(dict(run._attributes))
    if run._simple:
        return size
    size += getsizeof(run._status_description or "")
    for event in run._events or ():
        size += _EVENT_BYTES
        if isinstance(event, ExceptionEvent):
            size += stack_bytes(event.failure) + weight_of_attributes(event._extra)
        else:
            size += getsizeof(event.name) + weight_of_attributes(event.attributes)
    for link in getattr(run, "_links", None) or ():
        size += _EVENT_BYTES + weight_of_attributes(link.attributes)
    return size


def stack_bytes(failure: Failure) -> int:
    """Return about what the text of an exception takes, with those that led to it."""
    if failure._text is not None:
        return len(failure.message) + len(failure._text)
    size = len(failure.message)
    several: list[Failure] = [failure]
    while several:
        one = several.pop()
        size += len(one.message) + sum(map(len, one.notes))
        size += sum(_LINE_BYTES + len(code.co_filename) for code, _ in one.frames)
        several += one.members
        if one.chained is not None:
            several.append(one.chained)
    return size


def is_more_than(room: int, runs: Sequence[EndedRun]) -> bool:
    """Tell whether a request of these runs takes more, by a sample of them."""
    sample = runs[::_SAMPLED]
    return sum(map(request_bytes, sample)) * len(runs) > room * len(sample)


def first_part(runs: Sequence[R], room: int) -> Sequence[R]:
    """Return the first runs, up to the one with which a request takes too much; at least one."""
    for place, run in enumerate(runs):
        room -= request_bytes(run)
        if room < 0:
            return runs[: max(place, 1)]
    return runs
