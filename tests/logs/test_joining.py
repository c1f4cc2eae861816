"""Records carry the ids of the run they are made in, and the program's logging stays its own."""

from __future__ import annotations

import asyncio
import copy
import io
import logging
import logging.handlers
import pickle
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import otel_studio
from joined_logs import Joined, joined_logs
from otel_studio.base import guard
from otel_studio.logs.joining import NO_IDS

log = logging.getLogger("shop.preview")


def test_a_record_inside_a_run_carries_its_ids(joined: Joined) -> None:
    """Trace id, span id, service and operation are attributes, for any format string."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(
        logging.Formatter(
            "%(trace_id)s %(span_id)s %(studio_service)s/%(studio_operation)s %(message)s"
        )
    )
    log.addHandler(handler)
    try:
        with otel_studio.service("preview-service").operation("render") as run:
            log.info("frame %d", 7)
        log.info("outside")
    finally:
        log.removeHandler(handler)
    inside, outside = text.getvalue().splitlines()
    span = run.span.get_span_context()
    assert inside == f"{run.trace_id} {span.span_id:016x} preview-service/render frame 7"
    assert outside == "  / outside"


def test_the_innermost_run_counts(joined: Joined) -> None:
    """After an inner run has ended, records belong to the outer one again."""
    service = otel_studio.service("a")
    with service.operation("outer"):
        with service.operation("inner"):
            log.info("one")
        log.info("two")
    assert [r.studio_operation for r in joined.handler.records] == ["inner", "outer"]  # type: ignore[attr-defined]


async def test_tasks_keep_their_own_runs(joined: Joined) -> None:
    """Two tasks that take turns each log under their own operation."""

    @otel_studio.track(service="a")
    async def first(turn: asyncio.Event, other: asyncio.Event) -> None:
        await turn.wait()
        log.info("first")
        other.set()

    @otel_studio.track(service="a")
    async def second(turn: asyncio.Event, other: asyncio.Event) -> None:
        other.set()
        await turn.wait()
        log.info("second")

    one, two = asyncio.Event(), asyncio.Event()
    await asyncio.gather(first(one, two), second(two, one))
    found = {r.getMessage(): r.studio_operation for r in joined.handler.records}  # type: ignore[attr-defined]
    assert {message: str(name).rpartition(".")[2] for message, name in found.items()} == {
        "first": "first",
        "second": "second",
    }


def test_an_extra_of_the_same_name_stays_the_programs(joined: Joined) -> None:
    """`extra={"trace_id": ...}` goes on to work, and its value wins."""
    with otel_studio.service("a").operation("b"):
        log.info("x", extra={"trace_id": "mine", "span_id": "also mine", "order": 5})
    (record,) = joined.handler.records
    assert (record.trace_id, record.span_id, record.order) == ("mine", "also mine", 5)  # type: ignore[attr-defined]
    assert record.studio_service == "a"  # type: ignore[attr-defined]


def test_a_record_factory_of_the_programs_stays(joined: Joined) -> None:
    """Records are made by the factory that the program set, before or after."""

    class Own(logging.LogRecord): ...

    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Own)
    try:
        with otel_studio.service("a").operation("b"):
            log.info("x")
    finally:
        logging.setLogRecordFactory(factory)
    (record,) = joined.handler.records
    assert type(record) is Own
    assert record.studio_operation == "b"  # type: ignore[attr-defined]


def test_records_can_be_copied_queued_and_pickled(joined: Joined) -> None:
    """What leaves for another thread or process takes the ids along."""
    waiting: queue.Queue[logging.LogRecord] = queue.Queue()
    handler = logging.handlers.QueueHandler(waiting)
    log.addHandler(handler)
    try:
        with otel_studio.service("a").operation("b") as run:
            log.info("x %s", 1)
    finally:
        log.removeHandler(handler)
    queued = waiting.get_nowait()
    for record in (queued, copy.copy(queued), pickle.loads(pickle.dumps(queued))):
        assert record.trace_id == run.trace_id
        assert record.getMessage() == "x 1"


def test_levels_handlers_and_filters_stay_as_they_were() -> None:
    """Starting and stopping changes no logger, no handler, no level and no class."""

    def state() -> Any:
        root = logging.getLogger()
        return (
            logging.Logger.makeRecord,
            logging.getLogRecordFactory(),
            logging.getLoggerClass(),
            root.level,
            list(root.handlers),
            list(root.filters),
            log.level,
            list(log.handlers),
            logging.root.manager.disable,
        )

    before = state()
    with joined_logs(start=False) as made:
        inside = state()
        made.logs.start()
        made.logs.start()
        made.logs.stop()
        made.logs.stop()
        assert state() == inside
    assert state() == before


def test_what_was_wrapped_in_between_stays() -> None:
    """Something that wrapped `logging` after us is not undone, and ours below it does nothing."""
    original = logging.Logger.makeRecord
    with joined_logs() as made:
        ours = logging.Logger.makeRecord

        def theirs(self: logging.Logger, *args: Any, **kwargs: Any) -> logging.LogRecord:
            return ours(self, *args, **kwargs)

        logging.Logger.makeRecord = theirs  # type: ignore[assignment,method-assign]
        try:
            made.logs.stop()
            assert logging.Logger.makeRecord is theirs
            log.info("after")
            assert not hasattr(made.handler.records[-1], "trace_id")
        finally:
            logging.Logger.makeRecord = original  # type: ignore[method-assign]


def test_secrets_are_out_of_every_handler(joined: Joined) -> None:
    """Message, arguments, extra and the texts of exception and stack hold no secret."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    log.addHandler(handler)
    try:
        log.info("connect password=%s", "hunter2")
        log.info("user %(user)s has %(password)s", {"user": "bob", "password": "hunter2"})
        log.info({"event": "login", "password": "hunter2"})
        log.info("plain", extra={"api_key": "hunter2", "request": {"cookie": "hunter2"}})
        try:
            raise ValueError("bad secret: hunter2")
        except ValueError:
            log.exception("failed")
        log.info("with stack password=hunter2", stack_info=True)
    finally:
        log.removeHandler(handler)
    seen = [{**vars(r), "exc_info": None} for r in joined.handler.records]
    everything = text.getvalue() + repr(seen)
    assert "hunter2" not in everything
    assert "[redacted]" in text.getvalue()
    assert "ValueError: bad secret: [redacted]" in text.getvalue()
    assert "user bob has [redacted]" in text.getvalue()
    assert any(r.exc_info for r in joined.handler.records)  # for handlers that look at it


def test_a_record_without_a_secret_is_left_alone(joined: Joined) -> None:
    """Message, arguments and exception are the very objects that the program gave."""
    arguments: dict[str, Any] = {"user": "bob"}
    error = ValueError("harmless")
    log.warning("hello %(user)s", arguments, exc_info=error)
    (record,) = joined.handler.records
    assert record.msg == "hello %(user)s"
    assert record.args is arguments
    assert record.exc_info is not None
    assert record.exc_info[1] is error


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@contextmanager
def only_to(handler: logging.Handler) -> Iterator[None]:
    """Send the records of the block to one handler, past those of the test runner."""
    before = (log.handlers, log.propagate, log.level)
    log.handlers, log.propagate, log.level = [handler], False, logging.INFO
    try:
        yield
    finally:
        log.handlers, log.propagate, log.level = before


def test_wrong_arguments_are_left_to_the_handlers(joined: Joined) -> None:
    """A record that cannot be formatted is made as ever; joining it raises nothing."""
    with only_to(joined.handler), otel_studio.service("a").operation("b"):
        log.info("%d", "no number")
        log.info("%s", Unprintable())
    assert [r.studio_operation for r in joined.handler.records] == ["b", "b"]  # type: ignore[attr-defined]
    assert sum(guard.internal_errors.values()) == 0


class Talkative:
    def __str__(self) -> str:
        log.info("being printed")
        return "text"


def test_an_argument_that_logs_does_not_go_round(joined: Joined) -> None:
    """What is logged while a record is joined passes through, and ends."""
    with only_to(joined.handler), otel_studio.service("a").operation("b"):
        log.info("%s", Talkative())
    assert [record.msg for record in joined.handler.records] == ["being printed", "%s"]
    assert [r.studio_operation for r in joined.handler.records] == ["b", "b"]  # type: ignore[attr-defined]


def test_a_format_string_may_have_defaults(joined: Joined) -> None:
    """With them a record that was made before the start, or after the end, is not lost."""
    formatter = logging.Formatter("%(trace_id)s|%(message)s", defaults=NO_IDS)
    log.info("joined")
    joined.logs.stop()
    log.info("after")
    assert [formatter.format(r) for r in joined.handler.records] == ["|joined", "|after"]


def test_a_handler_that_raises_harms_nothing(joined: Joined) -> None:
    """A handler that raises on every record raises into the program as it would without us."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    broken = Broken()
    log.addHandler(broken)
    try:
        with (
            pytest.raises(OSError, match="disk full"),
            otel_studio.service("a").operation("b"),
        ):
            log.info("x")
    finally:
        log.removeHandler(broken)
    joined.isolated.assert_operation("a", "b", count=1, errors=1)
    assert joined.reports[0].getMessage().startswith("a/b failed")


def test_records_are_counted_by_operation_and_level(joined: Joined) -> None:
    """Each record counts once, under its run, from any number of threads; reports do not count."""
    service = otel_studio.service("a")

    def work() -> None:
        with service.operation("busy"):
            for _ in range(500):
                log.info("x")
            log.error("y")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.warning("outside")
    assert joined.reports == []
    counts = {(c.service, c.operation, c.level): c.count for c in joined.logs.counts()}
    assert counts == {
        (None, None, "WARNING"): 1,
        ("a", "busy", "INFO"): 2_000,
        ("a", "busy", "ERROR"): 4,
    }


def test_the_counts_are_exported(joined: Joined) -> None:
    """`otel_studio.log.records` has a point for each operation and level."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    joined.logs.register_instruments(MeterProvider([reader]).get_meter("otel_studio"))
    with otel_studio.service("a").operation("b"):
        log.error("x")
    log.info("y")
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert metric.name == "otel_studio.log.records"
    points = [(dict(p.attributes or {}), p.value) for p in metric.data.data_points]  # type: ignore[union-attr]
    assert sorted(points, key=str) == [
        ({"studio.log.level": "error", "studio.service": "a", "studio.operation": "b"}, 1),
        ({"studio.log.level": "info"}, 1),
    ]


def test_a_remote_parent_gives_its_ids(joined: Joined) -> None:
    """Under a span that is not recorded here the ids are known, and no operation is."""
    from opentelemetry import trace

    context = trace.SpanContext(7, 8, is_remote=True)
    with trace.use_span(trace.NonRecordingSpan(context)):
        log.info("x")
    (record,) = joined.handler.records
    assert (record.trace_id, record.studio_service) == (f"{7:032x}", "")  # type: ignore[attr-defined]
