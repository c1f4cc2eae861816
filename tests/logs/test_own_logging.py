"""Whatever the program does with `logging`, its console stays its own and every record is sent."""

from __future__ import annotations

import json
import logging
import logging.config
import logging.handlers
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.resources import Resource

import otel_studio
from joined_logs import Joined, Kept, joined_logs
from otel_studio.logs.export import _handler

log = logging.getLogger("shop.own")

PROGRAM = """
import logging, logging.config, sys
import otel_studio as studio
{before}
studio.configure(service_name="shop", gpu=False{settings})
{after}
with studio.service("basket").operation("add"):
    logging.getLogger("shop").warning("stock is low")
    logging.getLogger("shop").info("and an info")
studio.shutdown()
"""
SET_UPS = {
    "nothing at all": "",
    "basicConfig": "logging.basicConfig(level=logging.INFO)",
    "basicConfig with force": "logging.basicConfig(level=logging.INFO, force=True)",
    "a call of the module": "logging.warning('starting')",
    "dictConfig": (
        "logging.config.dictConfig({'version': 1, 'handlers': {'h': {'class': "
        "'logging.StreamHandler'}}, 'root': {'handlers': ['h'], 'level': 'INFO'}})"
    ),
    "a logger that does not propagate": (
        "log = logging.getLogger('shop'); log.propagate = False; log.setLevel('INFO')\n"
        "log.addHandler(logging.StreamHandler())"
    ),
    "no last resort": "logging.lastResort = None",
    "all disabled": "logging.disable(logging.CRITICAL)",
}


def ran(before: str, after: str, settings: str) -> tuple[str, list[dict[str, Any]]]:
    """Run the program, and return what it wrote to its console and the records that were sent."""
    code = PROGRAM.format(before=before, after=after, settings=settings)
    environ = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True
    )
    decoder, sent, rest = json.JSONDecoder(), [], done.stdout.strip()
    while rest:
        record, end = decoder.raw_decode(rest)
        sent.append(record)
        rest = rest[end:].strip()
    return done.stderr, sent


@pytest.mark.patient
@pytest.mark.parametrize("set_up", SET_UPS.values(), ids=SET_UPS)
@pytest.mark.parametrize("is_before", [True, False], ids=["before us", "after us"])
def test_the_console_shows_the_same_with_and_without_the_export(
    set_up: str, is_before: bool
) -> None:
    """And what its handlers get, or its loggers let through, is sent once."""
    code = (set_up, "") if is_before else ("", set_up)
    plain, nothing = ran(*code, "")
    console, sent = ran(*code, ', logs_exporter="console"')
    assert console == plain
    assert nothing == []
    bodies = [record["body"] for record in sent if record["body"] != "starting"]
    if "disable" in set_up:
        assert bodies == []
    elif "INFO" in set_up:
        assert bodies == ["stock is low", "and an info"]
    else:
        assert bodies == ["stock is low"]
    assert all(int(r["trace_id"], 16) for r in sent if r["body"] != "starting")


@pytest.fixture
def memory() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()


@pytest.fixture
def exporting(memory: InMemoryLogRecordExporter) -> Iterator[Joined]:
    with joined_logs(start=False, logging=False) as made:
        made.logs.export_to(Resource({}), [memory])
        made.logs._join.install()
        yield made
        made.logs.stop()
        made.logs.shutdown_export()


def bodies(joined: Joined, memory: InMemoryLogRecordExporter) -> list[Any]:
    joined.logs.flush()
    return [record.log_record.body for record in memory.get_finished_logs()]


def counted(joined: Joined) -> int:
    return sum(count.count for count in joined.logs.counts())


@contextmanager
def with_handler(handler: logging.Handler, logger: logging.Logger = log) -> Iterator[None]:
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def test_no_handler_of_ours_is_on_any_logger(exporting: Joined) -> None:
    """The root logger has the handlers that the program gave it."""
    before = [h for h in logging.getLogger().handlers if type(h).__module__.startswith("otel")]
    assert before == []
    assert not any("LoggingHandler" in type(h).__name__ for h in logging.getLogger().handlers)


def test_a_record_below_a_loggers_level_or_filtered_is_not_sent(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """What no handler of the program's could see is neither sent nor counted."""

    def refuse(record: logging.LogRecord) -> bool:
        return "quiet" not in record.getMessage()

    log.addFilter(refuse)
    try:
        log.debug("too low")
        log.info("quiet")
        log.info("loud")
    finally:
        log.removeFilter(refuse)
    assert bodies(exporting, memory) == ["loud"]
    assert counted(exporting) == 1
    assert len(exporting.logs._join._made) == 0  # what was refused is not remembered


@pytest.mark.parametrize("how", ["handler", "logger", "pickled"])
def test_a_record_that_a_queue_hands_on_is_taken_once(
    exporting: Joined, memory: InMemoryLogRecordExporter, how: str
) -> None:
    """By a `QueueListener`, by a logger on its other side, or by another process."""
    waiting: queue.Queue[Any] = queue.Queue()
    with with_handler(logging.handlers.QueueHandler(waiting)):
        log.info("queued")
    record = waiting.get_nowait()
    if how == "handler":
        Kept().handle(record)
    elif how == "logger":
        logging.getLogger("other.side").handle(record)
    else:
        logging.getLogger("other.side").handle(logging.makeLogRecord(record.__dict__))
    assert bodies(exporting, memory) == ["queued"]
    assert counted(exporting) == 1


def test_a_handler_that_hands_on_to_another_logger_counts_once(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """The same record comes to two loggers' handlers, and is one record."""

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logging.getLogger("elsewhere").handle(record)

    with with_handler(Forward()):
        log.info("forwarded")
    assert bodies(exporting, memory) == ["forwarded"]
    assert counted(exporting) == 1


def test_a_record_made_elsewhere_is_joined_where_it_is_handled(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """One of another process, or of a class that makes its records by itself."""
    with otel_studio.service("a").operation("b") as run:
        log.handle(logging.makeLogRecord({"msg": "from afar", "levelno": 20, "levelname": "INFO"}))
    exporting.logs.flush()
    (sent,) = memory.get_finished_logs()
    assert sent.log_record.trace_id == run.span.get_span_context().trace_id
    assert counted(exporting) == 1


def test_a_handler_given_a_record_past_every_logger_counts(
    exporting: Joined, memory: InMemoryLogRecordExporter
) -> None:
    """As loguru does with a handler of `logging` for its sink."""
    record = log.makeRecord("shop", logging.INFO, "", 0, "direct", (), None)
    Kept().handle(record)
    Kept().handle(record)
    assert bodies(exporting, memory) == ["direct"]
    assert counted(exporting) == 1


def test_gathers_what_another_opentelemetry_handler_does_not_send(
    exporting: Joined, memory: InMemoryLogRecordExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler with nothing behind it sends nothing; one with a provider sends by itself."""
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", None)
    with with_handler(_handler(_logs.get_logger_provider())):  # type: ignore[arg-type]
        log.info("nobody else sends it")
    with with_handler(_handler(LoggerProvider(shutdown_on_exit=False))):
        log.info("sent by another")
        logging.getLogger("not.below").info("not by another")
    assert bodies(exporting, memory) == ["nobody else sends it", "not by another"]
    assert counted(exporting) == 3


class Unclosed:
    """Complains from its finalizer, as clients do."""

    def __del__(self) -> None:
        log.error("unclosed, password=hunter3")


def test_a_finalizer_may_log_while_a_record_is_sent(
    exporting: Joined, memory: InMemoryLogRecordExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it runs: the SDK's locks are not taken twice, and nothing is lost."""
    export = exporting.logs._export
    assert export is not None
    original = export._handler.emit
    left = [Unclosed(), Unclosed()]

    def emit(record: logging.LogRecord) -> None:
        with export.provider._multi_log_record_processor._lock:  # type: ignore[attr-defined]
            if left:
                left.pop()
        original(record)

    monkeypatch.setattr(export._handler, "emit", emit)
    log.info("one")
    assert bodies(exporting, memory) == ["one", *["unclosed, password=[redacted]"] * 2]
    assert counted(exporting) == 3


def test_a_new_configuration_flushes_nothing_of_ours(
    exporting: Joined, memory: InMemoryLogRecordExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dictConfig` flushes and closes each handler alive: ours sends when it is time."""
    export = exporting.logs._export
    assert export is not None
    flushed = threading.Event()
    monkeypatch.setattr(type(export.provider), "force_flush", lambda *_: flushed.set())
    log.info("before")
    logging.shutdown([weakref.ref(export._handler)])
    assert not flushed.wait(0.05)  # the SDK's handler would have a thread do it
    monkeypatch.undo()
    log.info("after")
    assert bodies(exporting, memory) == ["before", "after"]


ZERO_CODE = """
import logging
logging.getLogger("shop").warning("stock is low")
logging.getLogger("shop").info("nobody sees it")
from opentelemetry.instrumentation.logging import LoggingInstrumentor
print(logging.getLogger().handlers)
"""


@pytest.mark.patient
def test_zero_code_leaves_the_last_resort_on(tmp_path: Path) -> None:
    """Contrib's handler is not installed beside ours; a warning still reaches stderr."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    program = tmp_path / "program.py"
    program.write_text(ZERO_CODE)
    done = subprocess.run(
        [Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable, program],
        env={
            **environ,
            "OTEL_PYTHON_DISTRO": "otel_studio",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_STUDIO_SHUTDOWN_TIMEOUT": "0.5",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]"]
    assert "stock is low" in done.stderr.splitlines()
    assert "nobody sees it" not in done.stderr
    assert "not sent" in done.stderr  # the exporter's warning, and ours in its place at the end
