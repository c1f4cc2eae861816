"""What a scrape is answered: a pure function of its request and of what gives the text."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable, Iterator
from typing import Final

from otel_studio.base.guard import report_internal_error

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_PLAIN: Final = (("Content-Type", "text/plain; charset=utf-8"),)
_VERSIONS: Final = ("", "0.0.1", "1.0.0")
#: Bytes from which on compressing them is worth its time.
_WORTH_COMPRESSING: Final = 1_400
_LEVEL: Final = 1  # a scraper is near: its answer is to be ready soon


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """An answer by HTTP.

    Attributes:
        status: code and reason, as the first line has them.
        headers: by name.
        body: what is sent after them; nothing for `HEAD`.
    """

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def answer(
    method: str, path: str, accept: str, accept_encoding: str, text: Callable[[bool], str]
) -> Answer:
    """Answer a request for the metrics.

    Args:
        method: `GET` or `HEAD`; any other is refused.
        path: without a query.
        accept: the header of that name; OpenMetrics is given where it is named and wanted no
            less than the text format.
        accept_encoding: the header of that name; an answer of some size is compressed by gzip
            where that is wanted no less than none.
        text: gives the metrics, in the OpenMetrics format where its argument says so.
    """
    if path not in ("/metrics", "/"):
        return _whole(method, "404 Not Found", _PLAIN, b"Metrics are at /metrics.\n")
    if method not in ("GET", "HEAD"):
        return _whole(method, "405 Method Not Allowed", (("Allow", "GET, HEAD"),), b"")
    openmetrics = wants_openmetrics(accept)
    try:
        body = text(openmetrics).encode(errors="replace")  # a name with a lone surrogate
    except Exception as error:
        report_internal_error("answering a scrape", error)
        message = b"The metrics could not be collected; the log of the process says why.\n"
        return _whole(method, "500 Internal Server Error", _PLAIN, message)
    headers = [
        ("Content-Type", _OPENMETRICS if openmetrics else _TEXT),
        ("Vary", "Accept, Accept-Encoding"),
    ]
    if len(body) >= _WORTH_COMPRESSING and wants_gzip(accept_encoding):
        body = gzip.compress(body, _LEVEL, mtime=0)
        headers.append(("Content-Encoding", "gzip"))
    return _whole(method, "200 OK", tuple(headers), body)


def wants_openmetrics(accept: str) -> bool:
    """Tell whether an `Accept` header names OpenMetrics, and wants it no less than the text.

    Example:
        >>> wants_openmetrics("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3")
        True
        >>> wants_openmetrics("application/openmetrics-text;q=0.2, */*;q=0.5")
        False
    """
    openmetrics = 0.0
    plain: dict[str, float] = {}
    for kind, parameters, quality in _choices(accept):
        if kind == "application/openmetrics-text":
            if parameters.get("version", "") in _VERSIONS:
                openmetrics = max(openmetrics, quality)
        elif kind in ("text/plain", "text/*", "*/*"):
            plain[kind] = max(plain.get(kind, 0.0), quality)
    for kind in ("text/plain", "text/*", "*/*"):  # the most exact one counts
        if kind in plain:
            return openmetrics > 0 and openmetrics >= plain[kind]
    return openmetrics > 0


def wants_gzip(accept_encoding: str) -> bool:
    """Tell whether an `Accept-Encoding` header wants gzip, and no less than no compression.

    Example:
        >>> wants_gzip("gzip;q=0.5, deflate"), wants_gzip("gzip;q=0"), wants_gzip("*")
        (True, False, True)
    """
    qualities: dict[str, float] = {}
    for name, _, quality in _choices(accept_encoding):
        qualities["gzip" if name == "x-gzip" else name] = quality
    gzipped = qualities.get("gzip", qualities.get("*", 0.0))
    return gzipped > 0 and gzipped >= qualities.get("identity", 0.0)


def _choices(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield what a header lists: its name, parameters and quality; what is malformed is none."""
    for choice in header.split(","):
        name, *rest = choice.split(";")
        parameters = {}
        for parameter in rest:
            key, _, value = parameter.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"')
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if 0 <= quality <= 1:
            yield name.strip().lower(), parameters, quality


def _whole(method: str, status: str, headers: tuple[tuple[str, str], ...], body: bytes) -> Answer:
    length = ("Content-Length", str(len(body)))
    return Answer(status, (*headers, length), b"" if method == "HEAD" else body)
