"""Secrets go out of a record argument by argument; what handlers look at keeps its form."""

from __future__ import annotations

import io
import logging
import types
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

import otel_studio
from joined_logs import Joined, Kept, joined_logs
from otel_studio import api
from otel_studio.logs.record_redaction import RecordRedactor
from otel_studio.settings.table import Settings
from otel_studio.spans.redaction import Redactor

log = logging.getLogger("shop.records")
DEFAULTS = Settings()
HIDDEN = "[redacted]"


def redacted(message: Any, *arguments: Any, **more: Any) -> logging.LogRecord:
    """Return a record after everything secret was taken out of it."""
    redactor = RecordRedactor(Redactor(DEFAULTS.redact_keys))
    record = log.makeRecord("shop", logging.INFO, "", 0, message, arguments, None, **more)
    redactor.redact(record, redactor.text(record))
    return record


def test_an_access_lines_arguments_stay_five() -> None:
    """Uvicorn's formatter takes the five apart, and needs their types."""
    line = '%s - "%s %s HTTP/%s" %d'
    record = redacted(line, "10.0.0.1:5", "GET", "/callback?access_token=abc", "1.1", 200)
    address, method, path, version, status = record.args  # type: ignore[misc]
    assert (address, method, version, status) == ("10.0.0.1:5", "GET", "1.1", 200)
    assert path == "/callback?access_token=[redacted]"
    assert record.msg == line
    assert (
        record.getMessage() == '10.0.0.1:5 - "GET /callback?access_token=[redacted] HTTP/1.1" 200'
    )


class Atoms(dict[str, Any]):
    """As gunicorn's: headers in any case, and "-" for what there is not."""

    def __init__(self, values: Mapping[str, Any], owner: str) -> None:
        super().__init__(values)
        self.owner = owner

    def __getitem__(self, key: str) -> Any:
        return super().get(key.lower(), "-")


def test_a_mapping_of_the_programs_own_kind_stays_of_it() -> None:
    """It may know keys that it does not list."""
    atoms = Atoms({"u": "/x?access_token=abc", "{cookie}i": "id=5"}, "gunicorn")
    record = redacted("%(U)s %(Missing)s %({Cookie}i)s", atoms)
    assert type(record.args) is Atoms
    assert record.args.owner == "gunicorn"  # type: ignore[union-attr]
    assert record.getMessage() == "/x?access_token=[redacted] - [redacted]"
    assert atoms["u"] == "/x?access_token=abc"  # the program's own stays


@pytest.mark.parametrize(
    "mapping",
    [
        types.MappingProxyType({"password": "abc", "user": "bob"}),
        ChainMap({"user": "bob"}, {"password": "abc"}),
        {"password": "abc", "user": "bob"},
    ],
)
def test_any_mapping_serves(mapping: Mapping[str, Any]) -> None:
    """Those that cannot be written to as well."""
    record = redacted("%(user)s has %(password)s", mapping)
    assert record.getMessage() == "bob has [redacted]"
    assert dict(mapping) == {"password": "abc", "user": "bob"}


@pytest.mark.parametrize(
    ("message", "arguments", "expected", "left"),
    [
        (
            "password=%s for %s",
            ("abc", "bob"),
            "password=[redacted] for bob",
            ("[redacted]", "bob"),
        ),
        ("pin secret=%d for %s", (1234, "bob"), "pin secret=[redacted] for bob", None),
        ("100%% secret=abc %s", ("bob",), "100% secret=[redacted] bob", ("bob",)),
        ("%s", (ValueError("password=abc"),), "password=[redacted]", ("password=[redacted]",)),
        ("%s %d", (["a", "password=abc"], 3), "['a', 'password=[redacted]'] 3", None),
        ("password=%(p)s", ({"p": "abc"},), "password=[redacted]", {"p": "[redacted]"}),
        ("%5.1f %s", (2.25, b"password=abc"), "  2.2 b'password=[redacted]'", None),
        ("password=%-8s|", ("abc",), "password=[redacted]", None),
    ],
)
def test_a_secret_that_shows_in_the_whole_goes_and_the_number_stays(
    message: str, arguments: tuple[Any, ...], expected: str, left: Any
) -> None:
    """A handler that takes the arguments apart finds as many."""
    record = redacted(message, *arguments)
    assert record.getMessage().startswith(expected)
    assert "abc" not in repr((record.msg, record.args))
    assert isinstance(record.args, tuple | dict)
    if isinstance(record.args, tuple):
        assert len(record.args) == len(arguments)
    if left is not None:
        assert record.args == left


def test_types_of_arguments_without_a_secret_stay() -> None:
    """The very objects."""
    error, number = ValueError("harmless"), 7
    record = redacted("password=%s %s %d", "abc", error, number)
    assert record.args == ("[redacted]", error, 7)
    assert record.args[1] is error  # type: ignore[index]


def test_wrong_arguments_stay_wrong() -> None:
    """The handler says so, as it would without us."""
    record = redacted("%d %d", "no number")
    assert (record.msg, record.args) == ("%d %d", ("no number",))


def test_the_exception_stays_and_its_text_is_redacted() -> None:
    """Handlers that look at the exception get it; those that print it print no secret."""
    text = io.StringIO()
    with joined_logs() as joined:
        handler = logging.StreamHandler(text)
        log.addHandler(handler)
        error = ValueError("password=abc")
        try:
            log.error("failed", exc_info=error)
        finally:
            log.removeHandler(handler)
        assert joined.handler.records[-1].exc_info[1] is error  # type: ignore[index]
    assert "ValueError: password=[redacted]" in text.getvalue()
    assert "abc" not in text.getvalue()


@pytest.fixture
def untouched() -> Iterator[Joined]:
    """Records are joined and kept; what the program's own handlers get is not redacted."""
    with joined_logs(redact_logs=False) as joined:
        yield joined


def test_the_programs_handlers_get_what_was_logged_unless_asked(untouched: Joined) -> None:
    """Every object is the program's; what is kept with the run is redacted all the same."""
    arguments, error, request = ("abc",), ValueError("secret=abc"), {"cookie": "abc"}
    with suppress(ValueError), otel_studio.service("a").operation("b"):
        log.warning("password=%s", *arguments, exc_info=error, extra={"request": request})
        raise error
    record = untouched.handler.records[0]
    assert record.getMessage() == "password=abc"
    assert record.exc_text in (None, "ValueError: secret=abc")  # made by the first formatter
    assert record.exc_info[1] is error  # type: ignore[index]
    assert record.request is request  # type: ignore[attr-defined]
    (run,) = api.get_recent_operations("a", "b")
    assert "abc" not in str(run.to_dict())
    assert "password=[redacted]" in str(run.to_dict())


class Connection:
    """As an ORM's: making its text logs what it does."""

    def __str__(self) -> str:
        log.info("connecting with password=%s", "abc")
        return "connection"


class Endless:
    """Its text logs itself."""

    def __str__(self) -> str:
        if len(log.handlers[0].records) < 50:  # type: ignore[attr-defined]
            log.info("%s", self)
        return "endless"


def test_nested_records_are_redacted_and_counted() -> None:
    """One made in an argument's `__str__`, also several deep."""
    with joined_logs() as joined:
        log.info("using %s", Connection())
        made = joined.handler.records
        assert "abc" not in str([r.getMessage() for r in made])
        assert sum(count.count for count in joined.logs.counts()) == len(made)


def test_records_without_end_end() -> None:
    """Nesting is read to a depth; what is deeper is counted."""
    kept = Kept()
    log.addHandler(kept)
    before, log.propagate = log.propagate, False
    try:
        with joined_logs() as joined:
            log.setLevel(logging.INFO)
            log.info("%s", Endless())
            counts = sum(count.count for count in joined.logs.counts())
    finally:
        log.removeHandler(kept)
        log.propagate = before
        log.setLevel(logging.NOTSET)
    assert counts == len(kept.records)
