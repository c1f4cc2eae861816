"""What an OTLP receiver answers, beyond that a request came: a refusal in part, a redirect."""

from __future__ import annotations

import threading
from typing import Any, Final
from urllib.parse import urlsplit

from otel_studio.base.text import safe_line

#: Characters of a receiver's own words that are repeated.
_MAX_WORDS: Final = 500
_TOO_LARGE: Final = 413


class TooLargeError(BaseException):
    """Says that a request is larger than the receiver takes.

    No `Exception`: it is raised through OpenTelemetry's exporter, which would log it, and over gRPC
    send the same request again and again.
    """


class Answers(threading.local):
    """What was answered to the request that the calling thread sends.

    Args:
        response_type: the signal's `Export*ServiceResponse`.
        rejected_field: what counts the refused items in its partial success.
    """

    def __init__(self, response_type: Any, rejected_field: str) -> None:
        self._response_type = response_type
        self._rejected_field = rejected_field
        self.clear()

    def clear(self) -> None:
        """Forget the last answer: a request begins."""
        #: Items that were refused though the request was taken, and what the receiver says of it.
        self.rejected = 0
        self.words = ""
        #: The status and the address of a redirect that was not followed as it was sent.
        self.redirect = ""

    def on_http_response(self, response: Any, *_: Any, **__: Any) -> None:
        """Look at a response, as a hook of `requests`: at each of those on the way as well.

        Raises:
            TooLargeError: if that is what it says.
        """
        status = response.status_code
        if status == _TOO_LARGE:
            response.close()
            raise TooLargeError
        if 300 <= status < 400:
            self.redirect = f"{status} {_place_of(response.headers.get('location'))}"
        elif response.request.method == "POST":
            self.redirect = ""  # followed with all that was sent
            if status < 300 and response.content:
                self._read(response.content)

    def _read(self, content: bytes) -> None:
        try:
            response = self._response_type.FromString(content)
        except Exception:  # a proxy's page, say
            return
        self.on_message(response)

    def on_message(self, response: Any) -> None:
        """Look at the message of an answer."""
        partial = getattr(response, "partial_success", None)
        self.rejected = getattr(partial, self._rejected_field, 0)
        self.words = safe_line(getattr(partial, "error_message", ""), _MAX_WORDS)


def _place_of(location: str | None) -> str:
    """Return an address without what may be secret in it."""
    try:
        parts = urlsplit(location or "")
        host, port = parts.hostname, parts.port
    except ValueError:  # no address
        return ""
    at = "" if host is None else f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    return safe_line(f"to {at}{parts.path}") if location else ""
