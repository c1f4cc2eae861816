"""Makes the text of ended spans safe and takes secrets out, before anything keeps or sends it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.sdk.trace import Event
from opentelemetry.trace import Link

from otel_studio.base import outcome
from otel_studio.base.failure import Failure, safe_text
from otel_studio.base.guard import note_internal_error
from otel_studio.base.text import safe_line
from otel_studio.spans.constant_attributes import ConstantAttributes
from otel_studio.spans.ended_run import OpenRun
from otel_studio.spans.exception_event import ExceptionEvent
from otel_studio.spans.redaction import Redactor
from otel_studio.spans.span import StudioSpan


class RedactedFailure(Failure):
    """A failure whose message and stack hold no secret; the stack is still made when it is read.

    Args:
        failure: what was kept of the exception.
        redactor: takes the secrets out.
    """

    __slots__ = ("_redactor",)

    def __init__(self, failure: Failure, redactor: Redactor) -> None:
        self._redactor = redactor
        self.type_name = failure.type_name
        self.message = redactor.text(failure.message)
        self.frames = failure.frames
        self.omitted = failure.omitted
        self.is_cause = failure.is_cause
        # Without what is secret as soon as they are read: `stack` looks through all that is said.
        self.own_lines, self.notes = failure.own_lines, failure.notes
        self.members, self.member_count = failure.members, failure.member_count
        self._text = None
        chained = failure.chained
        self.chained = None if chained is None else RedactedFailure(chained, redactor)

    def stack(self) -> str:
        """Return the traceback text without secrets; source lines may hold some too."""
        return self._redactor.text(super().stack())


class SpanRedactor:
    """Redacts attributes, events, links, the status and the failure of ended spans.

    It stands first in the line that ended runs pass through, so that the registry and the
    export queues see only what it leaves. Names of spans and services stay: they are keys, and
    were made safe where they came in.

    Args:
        redactor: knows what is secret.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def redact_all(self, runs: Iterable[OpenRun]) -> None:
        """Redact a batch of ended spans, of our provider or of another one."""
        if self._redactor.is_idle:
            return
        redactor = self._redactor
        holds_none = redactor.holds_none
        for span in runs:
            if span._simple:
                attributes = span._attributes
                if not attributes:
                    continue
                if type(attributes) is ConstantAttributes:
                    if attributes.clean_for is redactor:
                        continue
                    if redactor.mapping(attributes) is attributes:
                        attributes.clean_for = redactor
                        continue
                    self.redact(span)
                elif not holds_none(attributes):
                    self.redact(span)
            elif span._outcome != outcome.ABANDONED or span._trace_id:
                self.redact(span)  # what stands for a dropped span has no id, and says nothing

    def redact(self, span: OpenRun) -> None:
        """Redact one ended span in place; a second time changes nothing.

        Args:
            span: a span of our provider, or a run taken from another one.
        """
        try:
            self._redact(span)
        except Exception as error:
            # Better to lose what a span says than to let a secret out.
            span._attributes = span._events = None
            span._failure = span._status_description = None
            note_internal_error("redacting a span", error)

    def _redact(self, span: OpenRun) -> None:
        redactor = self._redactor
        if span._attributes:
            found = redactor.mapping(span._attributes)
            if found is not span._attributes:
                span._attributes = found
        original = span._failure
        if original is not None and not isinstance(original, RedactedFailure):
            span._failure = RedactedFailure(original, redactor)
        if span._status_description:
            said = safe_text(span._status_description)
            span._status_description = redactor.text(said)
        if span._events:
            span._events = [self._event(event, original, span._failure) for event in span._events]
        if type(span) is StudioSpan and span._links:
            span._links = tuple(self._link(link) for link in span._links)

    def _event(self, event: Event, original: Failure | None, redacted: Failure | None) -> Event:
        if isinstance(event, ExceptionEvent):
            failure = event.failure
            if not isinstance(failure, RedactedFailure):
                if failure is original and redacted is not None:
                    event.failure = redacted
                else:
                    event.failure = RedactedFailure(failure, self._redactor)
                event._extra = self._attributes(event._extra)
                event._made = None  # made anew from the above when it is next read
            return event
        name, found = safe_line(event.name), self._attributes(event.attributes)
        if name is event.name and found is event.attributes:
            return event
        return Event(name, found, event.timestamp)

    def _link(self, link: Link) -> Link:
        found = self._attributes(link.attributes)
        return link if found is link.attributes else Link(link.context, found)

    def _attributes(self, attributes: Any) -> Any:
        return self._redactor.mapping(attributes) if attributes else attributes
