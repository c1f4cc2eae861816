"""The JSON formatter, and structlog and loguru through the standard library."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import otel_studio
from joined_logs import Joined
from otel_studio.logs.json_formatter import JsonFormatter

log = logging.getLogger("shop.formats")


@contextmanager
def written(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)
    try:
        yield text
    finally:
        logging.getLogger().removeHandler(handler)


def lines(text: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_a_line_of_json_carries_the_ids(joined: Joined) -> None:
    """Time, level, logger, message, ids, service, operation and extra, in one line."""
    with written(JsonFormatter()) as text, otel_studio.service("a").operation("b") as run:
        log.warning("hello %s", "bob", extra={"order": 5})
    (line,) = lines(text)
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("span_id") == f"{run.span.get_span_context().span_id:016x}"
    assert line == {
        "level": "WARNING",
        "logger": "shop.formats",
        "trace_id": run.trace_id,
        "service": "a",
        "operation": "b",
        "message": "hello bob",
        "order": 5,
    }


def test_outside_of_a_run_the_ids_are_left_out(joined: Joined) -> None:
    """No empty fields, and none of ours when the join is not on."""
    with written(JsonFormatter()) as text:
        log.info("joined")
        joined.logs.stop()
        log.info("after")
    assert [sorted(line) for line in lines(text)] == [
        ["level", "logger", "message", "timestamp"]
    ] * 2


def test_an_exception_is_one_field_without_secrets(joined: Joined) -> None:
    """The traceback stays in the line, redacted."""
    with written(JsonFormatter()) as text:
        try:
            raise ValueError("password=hunter2")
        except ValueError:
            log.exception("failed")
    (line,) = lines(text)
    assert "ValueError: password=[redacted]" in line["exc_info"]
    assert "hunter2" not in text.getvalue()


def test_the_record_of_an_ended_run_says_its_duration(joined: Joined) -> None:
    """Its duration and ids are fields; what marks it for us is not among them."""
    with written(JsonFormatter()) as text:
        otel_studio.service("a").record_operation("b", duration=2.5)
        assert len(joined.reports) == 1
    (line,) = lines(text)
    assert (line["service"], line["operation"], line["duration_ms"]) == ("a", "b", 2500.0)
    assert "studio_ended_run" not in line


def test_it_can_be_named_in_a_dict_config(joined: Joined) -> None:
    """`dictConfig` makes it by its name, with the library's own options."""
    configurator = logging.config.DictConfigurator({"version": 1})  # type: ignore[attr-defined]
    formatter = configurator.configure_formatter(
        {"()": "otel_studio.logs.json_formatter.JsonFormatter", "static_fields": {"app": "shop"}}
    )
    with written(formatter) as text:
        log.info("x")
    assert lines(text)[0]["app"] == "shop"


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the extra; everything else of the logs works without it."""
    import importlib

    monkeypatch.setitem(sys.modules, "pythonjsonlogger.json", None)
    monkeypatch.delitem(sys.modules, "otel_studio.logs.json_formatter")
    with pytest.raises(ImportError, match=r"install otel-studio\[logging\]"):
        importlib.import_module("otel_studio.logs.json_formatter")


def test_structlog_through_the_standard_library(joined: Joined) -> None:
    """Events of structlog carry the ids, are redacted, and keep their form."""
    structlog = pytest.importorskip("structlog")
    structlog.configure(
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    try:
        formatter = structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ExtraAdder(["trace_id", "studio_operation"]),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ]
        )
        with written(formatter) as text, otel_studio.service("a").operation("b") as run:
            structlog.get_logger("shop").info("login", user="bob", password="hunter2")
        (line,) = lines(text)
        assert line == {
            "event": "login",
            "user": "bob",
            "password": "[redacted]",
            "trace_id": run.trace_id,
            "studio_operation": "b",
        }
    finally:
        structlog.reset_defaults()


def test_loguru_through_the_standard_library(joined: Joined) -> None:
    """A logging handler as loguru's sink gets records with the ids, redacted."""
    loguru = pytest.importorskip("loguru")
    sink = loguru.logger.add(joined.handler, format="{message}", level="INFO")
    try:
        with otel_studio.service("a").operation("b") as run:
            loguru.logger.bind(user="bob").warning("login with password={}", "hunter2")
    finally:
        loguru.logger.remove(sink)
    record = joined.handler.records[-1]
    assert record.trace_id == run.trace_id  # type: ignore[attr-defined]
    assert record.studio_operation == "b"  # type: ignore[attr-defined]
    assert record.getMessage().strip() == "login with password=[redacted]"


def test_a_line_of_json_is_safe_text(joined: Joined) -> None:
    """A lone surrogate, and an exception that says one, leave a line that every reader takes."""
    with written(JsonFormatter()) as text:
        try:
            raise ValueError("caf\udce9")
        except ValueError:
            log.exception("read \udce9\x1b[31m", extra={"path": "\udce9"})
    (line,) = lines(text)
    json.dumps(line, ensure_ascii=False).encode()
    assert (line["message"], line["path"]) == ("read ��[31m", "�")
    assert "ValueError: caf�" in line["exc_info"]
