"""Error groups: one exception type at one place in the code."""

from __future__ import annotations

from collections import deque
from typing import Any

#: The name that gathers what is past a bound.
OTHER = "__other__"
#: What OpenTelemetry's conventions call an error whose type is not known.
UNKNOWN_TYPE = "_OTHER"


class ErrorGroup:
    """One exception type at one place: how often, when first and last, and a sample.

    Args:
        error_type: canonical class name.
        place: file and function, without line numbers.
        operation: the operation that saw it first.
        trace_ids: how many trace ids are kept.
    """

    __slots__ = (
        "count",
        "error_type",
        "first_seen",
        "last_seen",
        "message",
        "operations",
        "place",
        "records",
        "stack_source",
        "trace_ids",
    )

    def __init__(self, error_type: str, place: str, operation: str, trace_ids: int) -> None:
        self.error_type = error_type
        self.place = place
        self.operations: dict[str, int] = {operation: 0}
        self.count = 0
        self.first_seen = 0
        self.last_seen = 0
        self.message: str | None = None
        self.stack_source: Any = None
        self.trace_ids: deque[int] = deque(maxlen=trace_ids)
        self.records: Any = None

    def add(self, span: Any, operation: str, message: str | None, stack_source: Any) -> None:
        """Count one failed run.

        Args:
            span: the ended span.
            operation: its operation's name in the registry.
            message: what the exception said.
            stack_source: something with a `stack()` method, or text, or `None`.
        """
        self.count += 1
        seen = span.end_time
        if not self.first_seen:
            self.first_seen = seen
        self.last_seen = max(seen, self.last_seen)
        self.message = message
        if len(self.operations) < 20 or operation in self.operations:
            self.operations[operation] = self.operations.get(operation, 0) + 1
        if stack_source is not None:
            self.stack_source = stack_source
        if span._records:
            self.records = span._records
        self.trace_ids.append(span._trace_id)

    def stack(self) -> str | None:
        """Return the stack text of the latest failure that had one."""
        source = self.stack_source
        if source is None or isinstance(source, str):
            return source
        return str(source.stack())


class ErrorGroups:
    """The error groups of one service, bounded.

    Args:
        limit: groups kept; further ones are counted together under `__other__`.
        trace_ids: trace ids kept per group.
    """

    def __init__(self, limit: int, trace_ids: int) -> None:
        self._limit = limit
        self._trace_ids = trace_ids
        self.groups: dict[tuple[str, str], ErrorGroup] = {}
        #: Failures counted in `__other__` for want of room.
        self.overflowed = 0

    def add(self, span: Any, operation: str) -> str:
        """Count a failed run; returns its error type."""
        error_type, place, message, source = describe_failure(span, operation)
        key = (error_type, place)
        group = self.groups.get(key)
        if group is None:
            if len(self.groups) >= self._limit:
                self.overflowed += 1
                key = (OTHER, OTHER)
            group = self.groups.get(key)
            if group is None:
                group = self.groups[key] = ErrorGroup(*key, operation, self._trace_ids)
        group.add(span, operation, message, source)
        return error_type


def describe_failure(span: Any, operation: str) -> tuple[str, str, str | None, Any]:
    """Return type, place, message and stack source of a failed span.

    From the exception we saw ourselves; else from its `exception` event, as any
    instrumentation records it; else from `error.type` and the status.
    """
    failure = span._failure
    if failure is not None:
        return failure.type_name, failure.place, failure.message, failure
    description = span._status_description
    for event in reversed(span._events or ()):
        if event.name == "exception" and event.attributes:
            attributes = event.attributes
            stack = attributes.get("exception.stacktrace")
            return (
                str(attributes.get("exception.type") or UNKNOWN_TYPE),
                _place_in_text(str(stack)) if stack else f"operation {operation}",
                str(attributes.get("exception.message") or "") or description,
                str(stack) if stack else None,
            )
    attributes = span._attributes or {}
    error_type = str(attributes.get("error.type") or UNKNOWN_TYPE)
    return error_type, f"operation {operation}", description, None


def _place_in_text(stack: str) -> str:
    """Return file and function of the last frame in a traceback's text."""
    for line in reversed(stack.splitlines()):
        text = line.strip()
        if text.startswith('File "') and '", line ' in text:
            filename, _, rest = text[6:].partition('", line ')
            _, _, function = rest.partition(", in ")
            return f"{filename} in {function or '<module>'}"
    return "unknown"
