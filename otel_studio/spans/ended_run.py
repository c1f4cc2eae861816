"""What a run that ended tells: the protocol of our span, a foreign span and an abandoned one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from opentelemetry.trace import StatusCode

from otel_studio.base import outcome
from otel_studio.base.record import iso_time

#: Service and operation of children, with their time in nanoseconds and their number.
Children = Mapping[tuple[str, str], tuple[int, int]]


class Scope(Protocol):
    """Where a run belongs: its service."""

    @property
    def name(self) -> str:
        """The service: the name of the instrumentation scope."""
        ...


class RunEvent(Protocol):
    """Something that happened in a run."""

    @property
    def name(self) -> str:
        """What; `exception` for an exception."""
        ...

    @property
    def attributes(self) -> Any:
        """What is known of it: a mapping, or `None`."""


class RunFailure(Protocol):
    """What is kept of the exception that a run failed with."""

    @property
    def type_name(self) -> str:
        """The canonical name of its class."""
        ...

    @property
    def place(self) -> str:
        """File and function."""
        ...

    @property
    def message(self) -> str | None:
        """What it said."""

    def stack(self) -> str | None:
        """Return its traceback as text; reads source files."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeptLog:
    """One log record of a run: text only, without a secret, and no object of the program."""

    unix_ns: int
    level: str
    logger: str
    message: str
    exception: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as the queries give it."""
        return {
            "time": iso_time(self.unix_ns),
            "level": self.level,
            "logger": self.logger,
            "message": self.message,
            "exception": self.exception,
        }


class EndedRun(Protocol):
    """One run after its end, as registry, reports and queries read it.

    The names are those of the span's own fields: a fold reads several of each run, and a
    property would cost more than the rest of it. They are private to OTel Studio.

    Attributes:
        _tracer: its service.
        _name: its operation.
        _start: the monotonic clock at its start, in nanoseconds.
        _end: likewise at its end.
        _outcome: set explicitly, else `outcome.UNSET`: see `outcome_of`.
        _simple: whether it has nothing but name, ids, kind, times and attributes.
        _thread: who ran it; see `spans.active.ThreadMark`.
        _parent_span: the run that it is a part of, until the fold has given that one its time.
        _children: the time of its parts.
        _records: the log records made in it, where they are kept.
    """

    @property
    def _tracer(self) -> Scope: ...

    @property
    def _name(self) -> str: ...

    @property
    def _start(self) -> int: ...

    @property
    def _end(self) -> int: ...

    @property
    def _outcome(self) -> int: ...

    @property
    def _simple(self) -> bool: ...

    @property
    def _trace_id(self) -> int: ...

    @property
    def _span_id(self) -> int: ...

    @property
    def _flags(self) -> int: ...

    @property
    def _status_code(self) -> StatusCode: ...

    @property
    def _status_description(self) -> str | None: ...

    @property
    def _attributes(self) -> Mapping[str, Any] | None: ...

    @property
    def _events(self) -> Sequence[RunEvent] | None: ...

    @property
    def _failure(self) -> RunFailure | None: ...

    @property
    def _children(self) -> Children | None: ...

    @property
    def _records(self) -> Iterable[KeptLog] | None: ...

    @property
    def _thread(self) -> object: ...

    @property
    def _parent_span(self) -> EndedRun | None: ...

    @property
    def start_time(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...

    @property
    def end_time(self) -> int | None:
        """Nanoseconds since the Unix epoch."""


class OpenRun(EndedRun, Protocol):
    """A run of this process, which logs write to while it goes on, and redaction at its end."""

    _attributes: Any
    _events: Any
    _failure: Any
    _status_description: Any
    _records: Any

    @property
    def _parent_span(self) -> OpenRun | None: ...


def duration_of(run: EndedRun) -> int:
    """Return a run's duration in nanoseconds, from the monotonic clock."""
    return run._end - run._start


def outcome_of(run: EndedRun) -> int:
    """Return a run's outcome: what was set explicitly, else what its status says."""
    return run._outcome or (outcome.ERROR if run._status_code is StatusCode.ERROR else outcome.OK)


def keep_start_times(runs: Iterable[EndedRun]) -> None:
    """Have runs keep the times they tell now, whatever the wall clock does later."""
    for run in runs:
        # Computed when it is first read, then kept; a run that was dropped has none.
        getattr(run, "start_time", None)
