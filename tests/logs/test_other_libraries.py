"""loguru and structlog, each as it is without configuration, and joined to `logging`."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from typing import Any

import loguru
import pytest
import structlog
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.resources import Resource

import otel_studio
from joined_logs import Joined, joined_logs
from otel_studio import api
from otel_studio.base import guard
from otel_studio.logs import loguru_sink, structlog_processor

logger = loguru.logger


@pytest.fixture
def memory() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()


@pytest.fixture(params=[False, True], ids=["untouched", "redacted"])
def exporting(
    memory: InMemoryLogRecordExporter, request: pytest.FixtureRequest
) -> Iterator[Joined]:
    with joined_logs(start=False, redact_logs=request.param) as made:
        made.logs.export_to(Resource({}), [memory])
        made.logs._join.install()
        yield made
        made.logs.stop()
        made.logs.shutdown_export()
    assert not guard.internal_errors


@pytest.fixture
def sink() -> Iterator[None]:
    number = logger.add(loguru_sink, level="DEBUG")
    yield
    logger.remove(number)


@pytest.fixture
def processor() -> Iterator[None]:
    """Structlog's own defaults, with ours in front."""
    structlog.reset_defaults()
    structlog.configure(processors=[structlog_processor, *structlog.get_config()["processors"]])
    yield
    structlog.reset_defaults()


def sent(joined: Joined, memory: InMemoryLogRecordExporter) -> list[Any]:
    joined.logs.flush()
    return [
        record.log_record
        for record in memory.get_finished_logs()
        if not (record.log_record.attributes or {}).get("studio.ended_run")
    ]


def counts(joined: Joined) -> dict[tuple[str | None, str], int]:
    return {(count.operation, count.level): count.count for count in joined.logs.counts()}


def test_a_message_of_loguru_is_joined_counted_kept_and_sent(
    exporting: Joined, memory: InMemoryLogRecordExporter, sink: None
) -> None:
    """With level, extra and exception; without its secrets."""
    with suppress(ValueError), otel_studio.service("a").operation("b") as run:
        logger.bind(order=5, password="abc").success("sold with password={}", "abc")
        try:
            raise ValueError("secret=abc")
        except ValueError:
            logger.exception("failed")
            raise
    first, second = sent(exporting, memory)
    assert first.body == "sold with password=[redacted]"
    assert first.severity_text == "SUCCESS"
    assert first.trace_id == run.span.get_span_context().trace_id
    assert first.attributes["order"] == 5
    assert first.attributes["password"] == "[redacted]"
    assert first.attributes["studio.operation"] == "b"
    assert second.attributes["exception.type"] == "ValueError"
    assert "abc" not in str(dict(second.attributes))
    assert counts(exporting) == {("b", "SUCCESS"): 1, ("b", "ERROR"): 1}
    (recent,) = api.get_recent_operations("a", "b")
    assert [r["message"] for r in recent.to_dict()["log_records"]] == [
        "sold with password=[redacted]",
        "failed",
    ]


def test_logging_that_goes_through_loguru_counts_once(
    exporting: Joined, memory: InMemoryLogRecordExporter, sink: None
) -> None:
    """A handler that hands `logging`'s records to loguru, as its documentation shows."""

    class Intercept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.opt(depth=6, exception=record.exc_info).log(
                record.levelname, record.getMessage()
            )

    log, handler = logging.getLogger("intercepted"), Intercept()
    log.addHandler(handler)
    try:
        log.warning("stock is low")
        logger.info("by loguru")
    finally:
        log.removeHandler(handler)
    assert [record.body for record in sent(exporting, memory)] == ["stock is low", "by loguru"]
    assert counts(exporting) == {(None, "WARNING"): 1, (None, "INFO"): 1}


def test_what_loguru_writes_elsewhere_is_its_own(exporting: Joined, sink: None) -> None:
    """Other sinks get what they would without ours."""
    text = io.StringIO()
    number = logger.add(text, format="{message} {extra}")
    logger.bind(order=5).info("password={}", "abc")
    logger.remove(number)
    assert text.getvalue() == "password=abc {'order': 5}\n"


def test_an_event_of_structlog_is_joined_counted_kept_and_sent(
    exporting: Joined, memory: InMemoryLogRecordExporter, processor: None
) -> None:
    """With structlog's own defaults, which print to stdout past `logging`."""
    printed = io.StringIO()
    service = otel_studio.service("a")
    with redirect_stdout(printed), suppress(ValueError), service.operation("b") as run:
        log = structlog.get_logger()
        log.warning("login", user="bob", password="abc")
        try:
            raise ValueError("secret=abc")
        except ValueError:
            log.exception("failed")
            raise
    first, second = sent(exporting, memory)
    assert first.body == "login"
    assert first.trace_id == run.span.get_span_context().trace_id
    assert first.attributes["user"] == "bob"
    assert first.attributes["password"] == "[redacted]"
    assert second.attributes["exception.type"] == "ValueError"
    assert counts(exporting) == {("b", "WARNING"): 1, ("b", "ERROR"): 1}
    (recent,) = api.get_recent_operations("a", "b")
    assert [r["message"] for r in recent.to_dict()["log_records"]] == ["login", "failed"]
    first_line = printed.getvalue().splitlines()[0]
    assert "login" in first_line
    assert run.trace_id in first_line
    assert ("password=abc" in plain(first_line)) is (not exporting.logs._join.redacts_records)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_structlog_outside_of_a_run_adds_nothing(exporting: Joined, processor: None) -> None:
    """No empty ids in what is printed."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        structlog.get_logger().info("outside")
    assert "trace_id" not in printed.getvalue()


def test_structlog_through_logging_counts_once(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """The processor only adds the ids; `logging` takes the record."""
    structlog.configure(
        processors=[structlog_processor, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    try:
        with otel_studio.service("a").operation("b"):
            structlog.get_logger("shop").warning("login", user="bob")
    finally:
        structlog.reset_defaults()
    (record,) = sent(exporting, memory)
    assert record.body == "login"
    assert record.attributes["user"] == "bob"
    assert counts(exporting) == {("b", "WARNING"): 1}


@pytest.mark.parametrize("position", ["first", "last"])
def test_the_processor_stands_anywhere_before_the_renderer(
    exporting: Joined, memory: InMemoryLogRecordExporter, position: str
) -> None:
    """Level and exception are found where earlier processors have put them."""
    own = [structlog.processors.add_log_level, structlog.processors.format_exc_info]
    processors = [structlog_processor, *own] if position == "first" else [*own, structlog_processor]
    structlog.configure(processors=[*processors, structlog.processors.JSONRenderer()])
    try:
        with redirect_stdout(io.StringIO()):
            try:
                raise ValueError("broken")
            except ValueError:
                structlog.get_logger().exception("failed")
    finally:
        structlog.reset_defaults()
    (record,) = sent(exporting, memory)
    assert record.severity_text == "ERROR"
    assert "ValueError: broken" in record.attributes["exception.stacktrace"]


def test_nothing_of_either_harms_without_a_studio() -> None:
    """Before `configure()` and after `shutdown()` both pass through."""
    number = logger.add(loguru_sink)
    logger.info("alone")
    logger.remove(number)
    assert structlog_processor(None, "info", {"event": "alone"}) == {"event": "alone"}
