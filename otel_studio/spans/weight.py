"""How many bytes of a program's own a run holds, told quickly: by type and length, without a walk.

It runs no code of the program's, so a fold may ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from sys import getsizeof
from typing import Any, Final

from otel_studio.base.failure import Failure
from otel_studio.base.weight import FLAT, weight_of_value
from otel_studio.spans.constant_attributes import ConstantAttributes
from otel_studio.spans.ended_run import EndedRun
from otel_studio.spans.exception_event import ExceptionEvent

#: What a code place of a stack takes, and a log record beside its texts.
_FRAME_BYTES: Final = 72
_RECORD_BYTES: Final = 160


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
            size += weight_of_attributes(event._extra) + weight_of_attributes(event._made)
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


def weight_of_runs(runs: Iterable[EndedRun]) -> int:
    """Return the bytes that runs hold together; a run without attributes is passed over in C."""
    return sum(weight_of(run) for run in runs if run._attributes or not run._simple)
