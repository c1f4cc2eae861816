"""Runs that are kept as samples: their order, which all processes share, and their plain form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from opentelemetry.trace import StatusCode

from otel_studio.base import codec, outcome
from otel_studio.base.failure import safe_text
from otel_studio.registry.failures import describe_failure
from otel_studio.spans.ended_run import EndedRun, KeptLog, outcome_of

#: What an attribute of a kept run may be.
AttributeValue = str | bool | int | float | tuple[str | bool | int | float | None, ...]
#: A run that ended, as this process saw it or as another one told it.
Kept = EndedRun

#: Of a text; one attribute that is longer would make a whole reading too large to be written.
_MAX_TEXT: Final = 65_536
#: Of an integer: Python writes none that is much larger in decimal.
_MAX_BITS: Final = 14_000


def order_of(run: Kept) -> tuple[int, int, int]:
    """Return the place of a run among all: by its end, then by its ids."""
    return run.end_time or 0, run._trace_id, run._span_id


def later(one: Kept, other: Kept) -> Kept:
    """Return the one that ended later."""
    return one if one is other or order_of(one) >= order_of(other) else other


def latest(one: Kept | None, other: Kept | None) -> Kept | None:
    """Return the later of two, either of which may be missing."""
    if one is None or other is None:
        return one if other is None else other
    return later(one, other)


def identity_of(run: Kept) -> tuple[int, int]:
    """Return what tells a run from every other one."""
    return run._trace_id, run._span_id


def is_sampled(run: Kept) -> bool:
    """Tell whether a run's trace is exported."""
    return bool(run._flags & 1)


def without(runs: Iterable[Kept], others: Iterable[Kept | None]) -> tuple[Kept, ...]:
    """Return the runs that are not among others."""
    known = {identity_of(run) for run in others if run is not None}
    return tuple(run for run in runs if identity_of(run) not in known)


def last_of(one: Iterable[Kept], other: Iterable[Kept], limit: int) -> tuple[Kept, ...]:
    """Return the latest runs of both, oldest first, each once."""
    runs = {identity_of(run): run for run in (*one, *other)}
    return tuple(sorted(runs.values(), key=order_of)[-limit:]) if limit else ()


def slowest_of(one: Iterable[Kept], other: Iterable[Kept], limit: int) -> tuple[Kept, ...]:
    """Return the slowest runs of both, slowest first, each once."""
    runs = {identity_of(run): run for run in (*one, *other)}
    return tuple(sorted(runs.values(), key=lambda r: (r._start - r._end, order_of(r)))[:limit])


@dataclasses.dataclass(frozen=True, slots=True)
class KeptScope:
    """The service of a run that is kept as plain data."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class KeptFailure:
    """What made a kept run fail, as text."""

    type_name: str
    place: str
    message: str | None
    stack_text: str | None

    def stack(self) -> str | None:
        """Return its traceback."""
        return self.stack_text


@dataclasses.dataclass(frozen=True, slots=True)
class KeptRun:
    """A run that ended, as plain data: what the codec writes, and reads as an `EndedRun`.

    Attributes:
        start_ns: the monotonic clock of its host, in nanoseconds.
        end_ns: likewise.
        start_time: nanoseconds since the Unix epoch.
        children: service and operation of its parts, with their nanoseconds and number.
        attributes: text, numbers, booleans, and sequences of one of them.
    """

    service: str
    operation: str
    trace_id: int
    span_id: int
    flags: int
    start_ns: int
    end_ns: int
    start_time: int
    result: int
    attributes: Mapping[str, AttributeValue]
    children: Mapping[tuple[str, str], tuple[int, int]]
    failure: KeptFailure | None
    logs: tuple[KeptLog, ...]

    @classmethod
    def of(cls, run: EndedRun) -> KeptRun:
        """Return the plain form of a run; its stack text is made here, if there is any."""
        if isinstance(run, KeptRun):
            return run
        result = outcome_of(run)
        failure = None
        if result == outcome.ERROR:
            told = describe_failure(run)
            message, stack = told.message, told.stack()
            failure = KeptFailure(
                _cut(told.type_name),
                _cut(told.place),
                None if message is None else _cut(message),
                None if stack is None else _cut(stack),
            )
        return cls(
            run._tracer.name,
            run._name,
            run._trace_id,
            run._span_id,
            run._flags,
            run._start,
            run._end,
            run.start_time,
            result,
            {key: _plain(value) for key, value in (run._attributes or {}).items()},
            dict(run._children or {}),
            failure,
            tuple(run._records or ()),
        )

    # As an EndedRun

    @property
    def _tracer(self) -> KeptScope:
        return KeptScope(self.service)

    @property
    def _name(self) -> str:
        return self.operation

    @property
    def _trace_id(self) -> int:
        return self.trace_id

    @property
    def _span_id(self) -> int:
        return self.span_id

    @property
    def _flags(self) -> int:
        return self.flags

    @property
    def _start(self) -> int:
        return self.start_ns

    @property
    def _end(self) -> int:
        return self.end_ns

    @property
    def _outcome(self) -> int:
        return self.result

    @property
    def _simple(self) -> bool:
        return self.result == outcome.OK

    @property
    def _status_code(self) -> StatusCode:
        return StatusCode.ERROR if self.result == outcome.ERROR else StatusCode.UNSET

    @property
    def _status_description(self) -> str | None:
        return None if self.failure is None else self.failure.message

    @property
    def _attributes(self) -> Mapping[str, AttributeValue]:
        return self.attributes

    @property
    def _events(self) -> None:
        return None

    @property
    def _failure(self) -> KeptFailure | None:
        return self.failure

    @property
    def _children(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        return self.children

    @property
    def _records(self) -> tuple[KeptLog, ...]:
        return self.logs

    @property
    def _thread(self) -> None:
        return None

    @property
    def _parent_span(self) -> None:
        return None

    @property
    def end_time(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return self.start_time + self.end_ns - self.start_ns


def _plain(value: object) -> AttributeValue:
    """Return an attribute's value as the codec takes it."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return tuple(None if one is None else _scalar(one) for one in value)
    return _scalar(value)


def _scalar(value: object) -> str | bool | int | float:
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return _cut(hex(value))
    return value if isinstance(value, int | float) else _cut(safe_text(value))


def _cut(text: str) -> str:
    """Return a text that is no longer than the codec takes, however its characters are spelled."""
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"


codec.write_as(EndedRun, KeptRun, KeptRun.of)
