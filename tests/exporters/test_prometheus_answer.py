"""What a scrape is answered, as a pure function of its request."""

from __future__ import annotations

import gzip

import pytest

from otel_studio.base import guard
from otel_studio.exporters.prometheus.answer import Answer, answer, wants_gzip, wants_openmetrics

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def ask(
    method: str = "GET",
    path: str = "/metrics",
    accept: str = "",
    encoding: str = "",
    body: str = "runs 1\n",
) -> Answer:
    return answer(
        method, path, accept, encoding, lambda openmetrics: body + "# EOF\n" * openmetrics
    )


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ("application/OpenMetrics-Text; Version=1.0.0", True),
        ("application/openmetrics-text; version=0.0.1", True),
        ("application/openmetrics-text; version=2.0.0", False),
        ("application/openmetrics-text;q=0", False),
        ("text/plain, application/openmetrics-text", True),
        ("text/plain;q=0.9, application/openmetrics-text;q=0.8", False),
        ("text/plain;q=0.1, application/openmetrics-text;q=0.8", True),
        ("*/*, application/openmetrics-text;q=0.5", False),
        ("*/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.5", True),
        ("application/openmetrics-text;q=much", False),
        ("application/openmetrics-text;q=7", False),
        (";;,=,q", False),
    ],
)
def test_the_format_that_is_wanted_more_is_given(accept: str, wanted: bool) -> None:
    """OpenMetrics where it is named and its quality is no less than the text's."""
    assert wants_openmetrics(accept) is wanted
    given = ask(accept=accept)
    assert ("openmetrics" in dict(given.headers)["Content-Type"]) is wanted
    assert given.body.endswith(b"# EOF\n") is wanted


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("x-gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("identity;q=0.9, gzip;q=0.5", False),
        ("identity;q=0.5, gzip;q=0.9", True),
    ],
)
def test_a_large_answer_is_compressed_where_that_is_wanted(header: str, wanted: bool) -> None:
    """By gzip, from a size on at which it is worth the time; what comes out is the same."""
    assert wants_gzip(header) is wanted
    large = "runs 1\n" * 1_000
    given = ask(encoding=header, body=large)
    assert (dict(given.headers).get("Content-Encoding") == "gzip") is wanted
    assert (gzip.decompress(given.body) if wanted else given.body) == large.encode()
    assert dict(given.headers)["Content-Length"] == str(len(given.body))
    assert ask(encoding=header).body == b"runs 1\n"


def test_head_is_answered_as_get_without_the_body() -> None:
    """The headers, length too, are those that the body would have."""
    whole, head = ask(), ask("HEAD")
    assert (head.status, head.headers, head.body) == (whole.status, whole.headers, b"")


def test_other_paths_and_methods_are_refused_without_a_collection() -> None:
    """404 and 405, and nothing is read for them."""

    def never(openmetrics: bool) -> str:
        raise AssertionError

    assert answer("GET", "/other", "", "", never).status == "404 Not Found"
    refused = answer("POST", "/metrics", "", "", never)
    assert refused.status == "405 Method Not Allowed"
    assert dict(refused.headers)["Allow"] == "GET, HEAD"


def test_a_failure_is_said_to_the_scraper_and_counted() -> None:
    """500 and a sentence; the traceback is in the log alone."""
    guard.forget_said()

    def fails(openmetrics: bool) -> str:
        raise RuntimeError("secret")

    given = answer("GET", "/", "", "", fails)
    assert given.status == "500 Internal Server Error"
    assert b"secret" not in given.body
    assert guard.internal_errors == {"answering a scrape": 1}
