"""The `exception` event of a failed span, made from the failure only when it is read."""

from __future__ import annotations

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event
from opentelemetry.util import types

from otel_studio.base.failure import Failure


class ExceptionEvent(Event):
    """The `exception` event of a failure; its stack text is made when it is first read."""

    def __init__(
        self,
        failure: Failure,
        timestamp: int,
        escaped: bool,
        extra: types.Attributes,
        limits: tuple[int | None, int | None],
    ) -> None:
        super().__init__("exception", None, timestamp)
        self.failure = failure
        self._escaped = escaped
        self._extra = extra
        self._limits = limits
        self._made: BoundedAttributes | None = None

    @property
    def attributes(self) -> types.Attributes:
        """Return type, message, stack and whether it left the span, under the usual names."""
        if self._made is None:
            failure = self.failure
            values: dict[str, types.AnyValue] = {
                "exception.type": failure.type_name,
                "exception.message": failure.message,
                "exception.stacktrace": failure.stack(),
                "exception.escaped": str(self._escaped),
            }
            if self._extra:
                values.update(self._extra)
            maximum, length = self._limits
            self._made = BoundedAttributes(maximum, values, max_value_len=length)
        return self._made

    @property
    def dropped_attributes(self) -> int:
        """Return how many attributes the event limit dropped."""
        attributes = self.attributes
        return attributes.dropped if isinstance(attributes, BoundedAttributes) else 0
