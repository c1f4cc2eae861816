"""Type, place, message and stack of a failed run, whoever recorded them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

from otel_studio.base.failure import is_library_file, place_of, safe_text
from otel_studio.spans.ended_run import EndedRun, RunFailure

#: In a traceback's text, the line above the frames of an exception. Those of an exception inside
#: a group stand further in, behind more than one bar or blank.
_HEAD: Final = re.compile(r"(?:  [|+] )?(?:Exception Group )?Traceback \(most recent call last\):$")
_FRAME_TEXT: Final = r'  File "(?P<file>[^"]+)", line \d+, in (?P<function>.+)'
_FRAME: Final = re.compile(rf"(?:  \| )?{_FRAME_TEXT}$")
_FRAME_ANYWHERE: Final = re.compile(_FRAME_TEXT.strip())
#: What OpenTelemetry's conventions call an error whose type is not known.
UNKNOWN_TYPE = "_OTHER"


@dataclasses.dataclass(frozen=True, slots=True)
class ToldFailure:
    """A failure that somebody else recorded, as its texts tell it."""

    type_name: str
    place: str
    message: str | None
    text: str | None

    def stack(self) -> str | None:
        """Return the traceback that was recorded."""
        return self.text


def describe_failure(run: EndedRun) -> RunFailure:
    """Return what is known of a failed run's error.

    From the exception we saw ourselves; else from its `exception` event, as any
    instrumentation records it; else from `error.type` and the status.
    """
    failure = run._failure
    if failure is not None:
        return failure
    description = run._status_description
    for event in reversed(run._events or ()):
        if event.name == "exception" and event.attributes:
            attributes = event.attributes
            stack = attributes.get("exception.stacktrace")
            return ToldFailure(
                str(attributes.get("exception.type") or UNKNOWN_TYPE),
                _place_in_text(str(stack)) if stack else f"operation {run._name}",
                safe_text(attributes.get("exception.message") or "") or description,
                str(stack) if stack else None,
            )
    found: Any = run._attributes or {}
    error_type = str(found.get("error.type") or UNKNOWN_TYPE)
    return ToldFailure(error_type, f"operation {run._name}", description, None)


def error_text(run: EndedRun | None) -> str | None:
    """Return what a failed run's error said, with its type where that is known."""
    if run is None:
        return None
    failure = describe_failure(run)
    if failure.type_name == UNKNOWN_TYPE:
        return failure.message or "failed"
    if not failure.message:
        return failure.type_name
    return f"{failure.type_name}: {safe_text(failure.message)}"


def _place_in_text(stack: str) -> str:
    """Return the place that a traceback's text tells, as `Failure.place` is one.

    Of the last exception of a chain, and of a group itself, whose exceptions follow it further in.
    """
    frames: list[tuple[str, str]] = []
    for line in stack.splitlines():
        if _HEAD.match(line):
            frames = []
        elif found := _FRAME.match(line):
            frames.append((found["file"], found["function"]))
    if not frames:  # a part of a traceback, or one that something else has written
        frames = [(found["file"], found["function"]) for found in _FRAME_ANYWHERE.finditer(stack)]
    for filename, function in reversed(frames):
        if not is_library_file(filename):
            return place_of(filename, function)
    return place_of(*frames[-1]) if frames else "unknown"
