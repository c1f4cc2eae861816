"""Sends one signal over OTLP: in requests that receivers take, and counts what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from otel_studio.base.delivery import (
    FAILED,
    REDIRECTED,
    REJECTED,
    TOO_LARGE,
    UNENCODABLE,
    Delivery,
)
from otel_studio.base.guard import warn_once
from otel_studio.exporters._otel_private import Part
from otel_studio.exporters._otlp_answers import Answers, TooLargeError

#: What a gRPC receiver takes where nothing else is set; of HTTP's the Collector takes more.
MAX_REQUEST_BYTES: Final = 4 << 20


class EncodedBatch(NamedTuple):
    """A batch as it is sent.

    Attributes:
        message: protobuf's, or what stands for it.
        size: its bytes.
        items: how many are in it.
        left_out: those that OTLP has no form for.
    """

    message: Any
    size: int
    items: int
    left_out: int = 0


class Sender:
    """Takes the place of an OTLP exporter's `export`.

    A batch that is too large is split: by what receivers take where nothing else is known, and
    by less once one has answered that this was too much.

    Args:
        send_part: OpenTelemetry's own `export`, which takes a `Part` here.
        results: the SDK's words for what becomes of a batch: `SUCCESS`, `FAILURE`.
        items: what the signal's items are called, in words.
        encode: makes the message of a batch.
        request_type: the signal's `Export*ServiceRequest`.
        answers: has seen what was answered.
    """

    def __init__(
        self,
        send_part: Callable[..., Any],
        results: Any,
        items: str,
        encode: Callable[[Any], EncodedBatch],
        request_type: Any,
        answers: Answers,
    ) -> None:
        self._send_part = send_part
        self._results = results
        self._items = items
        self._encode = encode
        self._request_type = request_type
        self._answers = answers
        #: Bytes of the largest request.
        self.limit = MAX_REQUEST_BYTES

    def export(self, batch: Any, **options: Any) -> Any:
        """Send a batch, and return the SDK's word for what became of all of it."""
        lost = self.deliver(batch, **options).lost
        return self._results.FAILURE if lost else self._results.SUCCESS

    def deliver(self, batch: Any, **options: Any) -> Delivery:
        """Send a batch, and return what became of its items.

        Args:
            batch: what the exporter takes.
            **options: further arguments of its `export`.
        """
        encoded = self._encode(batch)
        if encoded.size > self.limit and encoded.items > 1:
            delivery = self._split_and_send(encoded.message, self.limit, options)
        else:
            delivery = self._send(encoded.message, encoded.size, encoded.items, options)
        if encoded.left_out:
            delivery += Delivery(lost={UNENCODABLE: encoded.left_out})
        return delivery

    def _split_and_send(self, message: Any, limit: int, options: dict[str, Any]) -> Delivery:
        from otel_studio.exporters._otlp_splitting import split

        if not isinstance(message, self._request_type):
            message = self._request_type.FromString(message.SerializeToString())
        delivery = Delivery()
        for part, count in split(message, limit):
            delivery += self._send(part, part.ByteSize(), count, options)
        return delivery

    def _send(self, message: Any, size: int, count: int, options: dict[str, Any]) -> Delivery:
        answers = self._answers
        answers.clear()
        try:
            result = self._send_part(Part(message, count), **options)
        except TooLargeError:
            if count > 1:
                self.limit = min(self.limit, size // 2)
                return self._split_and_send(message, size // 2, options)
            self._say_too_large(size)
            return Delivery(lost={TOO_LARGE: count})
        if answers.redirect:
            self._say_redirected(answers.redirect)
            return Delivery(lost={REDIRECTED: count})
        if result is not self._results.SUCCESS:
            return Delivery(lost={FAILED: count})
        if not (answers.rejected or answers.words):
            return Delivery(sent=count)
        rejected = min(max(answers.rejected, 0), count)
        self._say_rejected(rejected, count, answers.words)
        return Delivery(count - rejected, {REJECTED: rejected} if rejected else {})

    # What is said, once of each kind

    def _say_redirected(self, redirect: str) -> None:
        warn_once(
            "otlp redirect",
            self._items,
            "%s are not sent: the receiver answers with a redirect (%s), which is not followed. "
            "Set OTEL_EXPORTER_OTLP_ENDPOINT to the address that takes them.",
            self._items,
            redirect,
        )

    def _say_too_large(self, size: int) -> None:
        warn_once(
            "otlp too large",
            self._items,
            "one of the %s takes %.1f MB, which is more than the receiver takes: it is lost, the "
            "others are sent. Send less in one, or raise the receiver's limit. (Said once; all "
            "are counted.)",
            self._items,
            size / 1e6,
        )

    def _say_rejected(self, rejected: int, count: int, words: str) -> None:
        if rejected:
            warn_once(
                "otlp rejected",
                self._items,
                "the receiver refused %d of %d %s: %s (Said once; all are counted.)",
                rejected,
                count,
                self._items,
                words or "it does not say why",
            )
        else:
            warn_once(
                "otlp warning",
                self._items,
                "the receiver took all %s, and warns: %s (Said once.)",
                self._items,
                words,
            )
