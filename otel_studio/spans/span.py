"""The span: OpenTelemetry's whole span contract, with nothing allocated until it is used."""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util import types

from otel_studio.base import outcome
from otel_studio.base.exceptions import is_cancellation
from otel_studio.base.failure import Failure, safe_text
from otel_studio.base.locks import new_lock
from otel_studio.base.text import safe_line
from otel_studio.spans.constant_attributes import ConstantAttributes
from otel_studio.spans.ended_run import Children
from otel_studio.spans.exception_event import ExceptionEvent

if TYPE_CHECKING:
    from otel_studio.spans.active import ThreadMark
    from otel_studio.spans.tracer import StudioTracer

logger = logging.getLogger("otel_studio.spans")

#: The last time that fits in 63 bits: in the year 2262.
_MAX_TIME = 2**63 - 1
_PLAIN_TYPES = frozenset((str, bool, int, float))
_NO_ATTRIBUTES: Mapping[str, types.AnyValue] = MappingProxyType({})
_UNSET_STATUS = Status(StatusCode.UNSET)
#: Held where several threads could change the same attributes in more than one step.
_changing = new_lock()
#: So far below the limit, threads that add attributes at once cannot pass it together.
_MARGIN = 64


class StudioSpan(Span, ReadableSpan):
    """A span that costs what it uses.

    Rare parts (attributes, events, links, status, explicit times) are class-level
    defaults until they are set. Identity is kept as plain integers; a `SpanContext` is
    made when somebody asks for it. Both clock readings are monotonic.
    """

    _events: list[Event] | None = None  # type: ignore[assignment]
    _links: tuple[Link, ...] | None = None  # type: ignore[assignment]
    _status_code: StatusCode = StatusCode.UNSET
    _status_description: str | None = None
    _trace_state: TraceState | None = None
    _parent_id: int = 0
    _parent_remote: bool = False
    _parent_context: SpanContext | None = None
    _context: SpanContext | None = None
    _record_exception: bool = True
    _set_status_on_exception: bool = True
    _start_unix: int = 0
    _explicit_start: bool = False
    #: An end that was given and lies before the start: it is sent as it is, as the SDK does.
    _end_unix: int | None = None
    _outcome: int = outcome.UNSET
    _failure: Failure | None = None
    _children: Children | None = None
    #: What the registry keeps in its place, where it holds too much.
    _light: Any = None
    #: A weak reference to the asyncio task that runs it.
    _task: weakref.ref[Any] | None = None
    _dropped_attributes: int = 0
    _dropped_events: int = 0
    _dropped_links: int = 0
    #: Log records made in it, while it runs and after it.
    _records: Any = None
    #: What the watcher of runs gave at its start.
    _watched: Any = None
    #: The exception that left no room on the stack to end it.
    _lost: BaseException | None = None

    # Every span has these; `new_span` and the prepared starts of `spans.fast_port` set them. One
    # that the class had a default for would take ten times as long to read.
    _tracer: StudioTracer
    _name: str
    _trace_id: int
    _span_id: int
    _flags: int
    _parent_span: StudioSpan | None
    _start: int
    _end: int
    _thread: ThreadMark
    _kind: SpanKind
    _attributes: dict[str, Any] | None
    #: Whether there is nothing to it but name, ids, kind, times and attributes.
    _simple: bool
    #: What its end gives back: a context's token, or the reference that it is active by.
    _token: Any

    # That of the SDK would allocate every rare part, and one in Python takes longer than all else.
    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    else:
        __init__ = object.__init__

    def _make_unusual(self, **rare: Any) -> None:
        """Give the span something besides name, ids, kind, times and attributes.

        The one way to set what `_simple` stands for: folds and encoders look at nothing else
        of a span that is simple. The mark first: at the recursion limit the rest may fail.
        """
        self._simple = False
        for name, value in rare.items():
            # Not `__dict__`, whose first use makes a dict of what the object keeps in itself.
            setattr(self, name, value)

    # Identity

    @property
    def _scope(self) -> InstrumentationScope:
        return self._tracer.scope

    @property
    def _resource(self) -> Resource:  # type: ignore[override]  # the SDK's is a plain attribute
        return self._tracer.resource

    @property
    def resource(self) -> Resource:
        return self._tracer.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        return self._tracer.scope

    @property
    def instrumentation_info(self) -> Any:
        return self._tracer.instrumentation_info

    def get_span_context(self) -> SpanContext:
        context = self._context
        if context is None:
            context = self._context = SpanContext(
                self._trace_id,
                self._span_id,
                is_remote=False,
                trace_flags=TraceFlags(self._flags),
                trace_state=self._trace_state,
            )
        return context

    @property
    def context(self) -> SpanContext:
        return self.get_span_context()

    @property
    def parent(self) -> SpanContext | None:
        if self._parent_context is None and self._parent_id:
            # A parent made by this provider shares the flags: other cases set _parent_context.
            self._parent_context = SpanContext(
                self._trace_id,
                self._parent_id,
                is_remote=self._parent_remote,
                trace_flags=TraceFlags(self._flags),
                trace_state=self._trace_state,
            )
        return self._parent_context

    @property
    def name(self) -> str:
        return self._name

    @property
    def kind(self) -> SpanKind:
        return self._kind

    # Time

    @property
    def start_time(self) -> int:
        start = self._start_unix
        if not start and not self._explicit_start:
            start = self._start_unix = self._start + self._tracer.timebase.offset
        return start

    @property
    def end_time(self) -> int | None:
        if not self._end:
            return None
        given = self._end_unix
        return self.start_time + self._end - self._start if given is None else given

    # What a reader sees

    @property
    def attributes(self) -> Mapping[str, types.AnyValue]:
        return MappingProxyType(self._attributes) if self._attributes else _NO_ATTRIBUTES

    @property
    def events(self) -> Sequence[Event]:
        return tuple(self._events) if self._events else ()

    @property
    def links(self) -> Sequence[Link]:
        return self._links or ()

    @property
    def status(self) -> Status:
        if self._status_code is StatusCode.UNSET:
            return _UNSET_STATUS
        return Status(self._status_code, self._status_description)

    @property
    def _status(self) -> Status:  # type: ignore[override]  # ReadableSpan.to_json reads it
        return self.status

    @property
    def dropped_attributes(self) -> int:
        return self._dropped_attributes

    @property
    def dropped_events(self) -> int:
        return self._dropped_events

    @property
    def dropped_links(self) -> int:
        return self._dropped_links

    def to_json(self, indent: int | None = 4) -> str:
        """Return the span as JSON text, as the SDK's console exporter prints it."""
        text: str = self._readable_span().to_json(indent=indent)
        return text

    def _readable_span(self) -> ReadableSpan:
        """Return what the span says now, apart from it; the SDK's spans call it so."""
        # A copy first, in one step: another thread may write to them.
        attributes = BoundedAttributes(attributes=dict(self._attributes or ()))
        attributes.dropped = self._dropped_attributes
        # Plain ones: that of an exception makes its text when it is read.
        plain = (Event(each.name, each.attributes, each.timestamp) for each in self.events)
        events = BoundedList.from_seq(None, plain)
        events.dropped = self._dropped_events
        links = BoundedList.from_seq(None, self.links)
        links.dropped = self._dropped_links
        return ReadableSpan(
            name=self._name,
            context=self.get_span_context(),
            parent=self.parent,
            resource=self.resource,
            attributes=attributes,
            events=events,
            links=links,
            kind=self._kind,
            status=self.status,
            start_time=self.start_time,
            end_time=self.end_time,
            instrumentation_scope=self._tracer.scope,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> ReadableSpan:
        # Of its tracer, its thread and its place among the running ones there is no copy.
        return copy.deepcopy(self._readable_span(), memo)

    def __repr__(self) -> str:
        return f'StudioSpan(name="{self._name}", context={self.get_span_context()!r})'

    # What a writer does

    def start(self, start_time: int | None = None, parent_context: Context | None = None) -> None:
        """Warn: a span has started when a tracer gives it."""
        logger.warning("Calling start() on the started span %r is ignored.", self._name)

    def is_recording(self) -> bool:
        return not self._end

    def set_attribute(self, key: str, value: types.AnyValue) -> None:
        if self._end:
            logger.warning("Setting attribute %r on the ended span %r is ignored.", key, self._name)
            return
        limits = self._tracer.span_limits
        length = limits.max_span_attribute_length
        if type(value) not in _PLAIN_TYPES or type(key) is not str or not key or length is not None:
            cleaned = _cleaned(key, value, length)
            if cleaned is None:
                self._drop_attributes(1)
                return
            key, value = cleaned
        attributes = self._attributes
        if attributes is None or type(attributes) is ConstantAttributes:
            attributes = self._own_attributes(key)
        elif key in attributes:
            attributes.pop(key, None)  # another thread may have taken it
        maximum = limits.max_span_attributes
        if maximum is None or len(attributes) < maximum - _MARGIN:
            attributes[key] = value
        else:
            self._set_within(attributes, maximum, key, value)

    def _own_attributes(self, key: str) -> dict[str, Any]:
        """Return the span's own attributes, making them at the first call; without a key."""
        with _changing:
            attributes = self._attributes
            if attributes is None:
                attributes = self._attributes = {}
            elif type(attributes) is ConstantAttributes:
                own = dict(attributes)
                own.pop(key, None)
                attributes = self._attributes = own
            return attributes

    def _set_within(
        self, attributes: dict[str, Any], maximum: int, key: str, value: types.AnyValue
    ) -> None:
        """Set an attribute near the limit; past it, the oldest goes."""
        if maximum == 0:
            self._drop_attributes(1)
            return
        dropped = 0
        with _changing:
            attributes[key] = value
            while len(attributes) > maximum:
                _drop_oldest(attributes)
                dropped += 1
        if dropped:
            self._drop_attributes(dropped)

    def _drop_attributes(self, count: int) -> None:
        with _changing:
            self._make_unusual(_dropped_attributes=self._dropped_attributes + count)

    def set_first_attributes(self, attributes: Mapping[str, types.AnyValue]) -> None:
        """Set the attributes that a span starts with; plain ones in one step."""
        limits = self._tracer.span_limits
        maximum = limits.max_span_attributes
        if limits.max_span_attribute_length is None and (
            maximum is None or len(attributes) <= maximum
        ):
            for key, value in attributes.items():
                if type(value) not in _PLAIN_TYPES or type(key) is not str or not key:
                    break
            else:
                self._attributes = dict(attributes)
                return
        self.set_attributes(attributes)

    def set_attributes(self, attributes: Mapping[str, types.AnyValue]) -> None:
        for key, value in (attributes or {}).items():  # programs pass `None`, too
            self.set_attribute(key, value)

    def add_event(
        self, name: str, attributes: types.Attributes = None, timestamp: int | None = None
    ) -> None:
        limits = self._tracer.span_limits
        self._add_event(
            Event(
                name=name,
                attributes=BoundedAttributes(
                    limits.max_event_attributes,
                    attributes,
                    max_value_len=limits.max_attribute_length,
                ),
                timestamp=self._now_unix() if timestamp is None else timestamp,
            )
        )

    def _add_event(self, event: Event) -> None:
        if self._end:
            logger.warning("Adding an event to the ended span %r is ignored.", self._name)
            return
        maximum = self._tracer.span_limits.max_events
        with _changing:
            events = self._events
            if events is None:
                events = []
            dropped = self._dropped_events
            if maximum != 0:
                events.append(event)
            if maximum is not None and (maximum == 0 or len(events) > maximum):
                dropped += 1
                del events[:1]
            self._make_unusual(_events=events, _dropped_events=dropped)

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        if self._end:
            logger.warning("Adding a link to the ended span %r is ignored.", self._name)
            return
        with _changing:
            self._set_links((*(self._links or ()), Link(context, attributes)))

    def _set_links(self, links: Sequence[Link]) -> None:
        limits = self._tracer.span_limits
        kept: list[Link] = []
        for link in links:
            # The API's types promise a context; programs pass None all the same.
            context: SpanContext | None = getattr(link, "context", None)
            if context is None or not (context.is_valid or link.attributes or context.trace_state):
                continue
            if isinstance(link.attributes, BoundedAttributes):
                kept.append(link)
                continue
            attributes = BoundedAttributes(
                limits.max_link_attributes,
                link.attributes,
                max_value_len=limits.max_attribute_length,
            )
            kept.append(Link(context, attributes))
        dropped = self._dropped_links
        if limits.max_links is not None and len(kept) > limits.max_links:
            dropped += len(kept) - limits.max_links
            kept = kept[len(kept) - limits.max_links :] if limits.max_links else []
        self._make_unusual(_links=tuple(kept), _dropped_links=dropped)

    def update_name(self, name: str) -> None:
        if self._end:
            logger.warning("Renaming the ended span %r is ignored.", self._name)
            return
        self._name = span_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if self._end:
            logger.warning("Setting the status of the ended span %r is ignored.", self._name)
            return
        given: object = status  # programs pass others, too
        if isinstance(given, Status):
            if description is not None:
                logger.warning(
                    "Description %s ignored: give a Status, or a StatusCode and a description.",
                    description,
                )
            code, description = given.status_code, given.description
        elif isinstance(given, StatusCode):
            code = given
        else:
            return
        if self._status_code is StatusCode.OK or code is StatusCode.UNSET:
            return
        self._make_unusual(
            _status_code=code,
            _status_description=description if code is StatusCode.ERROR else None,
        )

    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        if self._end:
            logger.warning("Recording an exception on the ended span %r is ignored.", self._name)
            return
        given: object = exception  # programs pass others, too
        if not isinstance(given, BaseException):
            logger.warning("Recording a %s is ignored: no exception.", type(given).__name__)
            return
        failure = Failure.of(given)
        self._make_unusual(_failure=failure)
        limits = self._tracer.span_limits
        self._add_event(
            ExceptionEvent(
                failure,
                self._now_unix() if timestamp is None else timestamp,
                escaped,
                attributes,
                (limits.max_event_attributes, limits.max_attribute_length),
            )
        )

    def take_outcome(self, value: str) -> None:
        """Set the outcome: `cancelled` or `abandoned`."""
        self._make_unusual(_outcome=outcome.outcome_named(value))

    def _now_unix(self) -> int:
        tracer = self._tracer
        return tracer.now() + tracer.timebase.offset

    # Its end

    def end(self, end_time: int | None = None) -> None:
        if self._end:
            logger.warning("Calling end() on the ended span %r is ignored.", self._name)
            return
        tracer = self._tracer
        if end_time is not None or self._explicit_start:
            unix = self._now_unix() if end_time is None else unix_time(end_time)
            start = self.start_time
            if unix < start:
                self._make_unusual(_end_unix=unix)
            # Never before its start: a duration is not negative whatever the caller's clock did.
            last = max(unix, start)
            end = max(last - tracer.timebase.offset, 1)
            self._start = end - (last - start)
        else:
            end = tracer.now()
        tracer.finish(self, end)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_val is not None and not self._end:
            self._mark_exception(
                exc_val, self._record_exception, self._set_status_on_exception, escaped=True
            )
        if not self._end:
            self.end()

    def _mark_exception(
        self, error: BaseException, record: bool, set_status: bool, escaped: bool = False
    ) -> None:
        """Take over what an exception that leaves the span's block says.

        Status and event are as the SDK's own. A cancellation is no error all the same.
        """
        if is_cancellation(error):
            self._make_unusual(_outcome=outcome.CANCELLED)
        if record:
            self.record_exception(error, escaped=escaped)
        if set_status:
            self.set_status(StatusCode.ERROR, f"{type(error).__name__}: {safe_text(error)}")


# What programs test for. A subclass would be made by the SDK's `__new__`, in Python.
SdkSpan.register(StudioSpan)


def new_span(
    tracer: StudioTracer,
    name: str,
    trace_id: int,
    span_id: int,
    flags: int,
    parent: StudioSpan | None,
    start: int,
    thread: ThreadMark,
) -> StudioSpan:
    """Return a span that has begun, which nobody counts as active yet."""
    span = StudioSpan()
    span._tracer = tracer
    span._name = name
    span._trace_id = trace_id
    span._span_id = span_id
    span._flags = flags
    span._parent_span = parent
    span._start = start
    span._thread = thread
    span._end = 0
    span._kind = SpanKind.INTERNAL
    span._attributes = None
    span._simple = True
    span._token = None
    return span


def _drop_oldest(attributes: dict[str, Any]) -> None:
    while True:
        try:
            attributes.pop(next(iter(attributes)), None)
        except RuntimeError:  # another thread has added one
            continue
        return


def span_name(name: object) -> str:
    """Return the name of a span or a scope as safe text: programs pass `None` and more, too."""
    return safe_line(name if isinstance(name, str) else safe_text(name))


def unix_time(value: object) -> int:
    """Return an explicit time as whole nanoseconds since the Unix epoch, in 64 bits.

    Args:
        value: what the caller gave; fractions are cut, and what is no number becomes 0.
    """
    try:
        return min(max(int(value), -_MAX_TIME), _MAX_TIME)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):
        return 0


def _cleaned(key: Any, value: Any, length: int | None) -> tuple[str, Any] | None:
    """Return a key and value that the data model allows, by OpenTelemetry's own rules."""
    try:
        bounded = BoundedAttributes(1, {key: value}, immutable=False, max_value_len=length)
    except Exception as error:  # a __str__ of the user's that raises
        return (
            (key, f"<unprintable: {type(error).__name__}>")
            if isinstance(key, str) and key
            else None
        )
    for cleaned_key, cleaned_value in bounded.items():
        return cleaned_key, cast(Any, cleaned_value)
    return None
