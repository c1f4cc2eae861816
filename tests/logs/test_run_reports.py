"""One record for each ended run by rule, and the last records that stay with a run."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import otel_studio
from joined_logs import Joined, failed_run, joined_logs
from otel_studio import api
from otel_studio.base.clock import ManualClock
from otel_studio.logs import reporter
from otel_studio.testing.isolation import Isolated

log = logging.getLogger("shop.preview")


def fail(service: str = "a", operation: str = "b") -> None:
    with failed_run(service, operation):
        pass


def advance(isolated: Isolated, seconds: float) -> None:
    assert isinstance(isolated.clock, ManualClock)
    isolated.clock.advance(seconds)


def test_a_failed_run_is_an_error(joined: Joined) -> None:
    """Its record says what, where and why, carries the ids, and the time of the end."""
    with failed_run() as run:
        advance(joined.isolated, 0.25)
    (record,) = joined.reports
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "a/b failed after 250.0 ms: ValueError: broken"
    assert record.trace_id == run.trace_id  # type: ignore[attr-defined]
    assert (record.studio_service, record.studio_operation) == ("a", "b")  # type: ignore[attr-defined]
    assert record.duration_ms == 250.0  # type: ignore[attr-defined]
    assert record.created == pytest.approx(joined.clock.time_ns() / 1e9)


def test_a_slow_run_is_a_warning(joined: Joined) -> None:
    """Slow is what takes longer than the setting, or than the operation's own threshold."""

    @otel_studio.track("own", service="a", slow_threshold=0.2)
    def own(seconds: float) -> None:
        advance(joined.isolated, seconds)

    own(0.1)
    own(0.3)
    otel_studio.service("a").record_operation("other", duration=0.9)
    otel_studio.service("a").record_operation("other", duration=1.5)
    assert [(r.levelno, r.getMessage()) for r in joined.reports] == [
        (logging.WARNING, "a/own was slow after 300.0 ms"),
        (logging.WARNING, "a/other was slow after 1500.0 ms"),
    ]


def test_the_rest_are_reported_at_the_level_asked_for() -> None:
    """By default not at all; at `info` each run has its record, a cancelled one too."""
    import asyncio

    with joined_logs() as quiet:
        otel_studio.service("a").record_operation("b", duration=0.1)
        assert quiet.reports == []
    with joined_logs(log_level="info") as told:
        otel_studio.service("a").record_operation("b", duration=0.1)
        with (
            pytest.raises(asyncio.CancelledError),
            otel_studio.service("a").operation("c"),
        ):
            raise asyncio.CancelledError
        assert [(r.levelno, r.getMessage()) for r in told.reports] == [
            (logging.INFO, "a/b ended after 100.0 ms"),
            (logging.INFO, "a/c was cancelled after 0.0 ms"),
        ]


def test_a_logger_set_higher_makes_no_records(joined: Joined) -> None:
    """The level of `otel_studio.operations` is the program's to set."""
    reporter.logger.setLevel(logging.ERROR)
    try:
        otel_studio.service("a").record_operation("b", duration=5)
        fail()
        assert [record.levelno for record in joined.reports] == [logging.ERROR]
    finally:
        reporter.logger.setLevel(logging.NOTSET)


def test_an_operation_makes_so_many_records_a_second() -> None:
    """Past the limit runs are held back; the next record says how many; others are not touched."""
    with joined_logs(log_rate=3) as joined:
        for _ in range(10):
            fail()
        fail("a", "other")
        advance(joined.isolated, 1.0)
        fail()
        reports = [r.getMessage() for r in joined.reports]
        assert len(reports) == 5
        assert reports[3].startswith("a/other failed")
        assert reports[4].endswith("broken (7 runs before it were not reported)")
        assert joined.reports[4].held_back == 7  # type: ignore[attr-defined]


def test_the_number_held_back_is_said_though_nothing_follows() -> None:
    """When the operation falls silent, a record of its own says it, at the highest level held."""
    with joined_logs(log_rate=1) as joined:
        for _ in range(5):
            otel_studio.service("a").record_operation("b", duration=5)
        fail()
        assert len(joined.reports) == 1
        advance(joined.isolated, 2.0)
        last = joined.reports[-1]
        assert last.getMessage() == "a/b: 5 more runs are not reported one by one"
        assert last.levelno == logging.ERROR
        advance(joined.isolated, 10.0)
        assert len(joined.reports) == 2


def test_what_waits_is_bounded(joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    """When handlers cannot keep up, further reports are dropped and counted."""
    monkeypatch.setattr(reporter, "MAX_WAITING", 5)
    for number in range(20):
        fail("a", f"op{number}")
    joined.isolated.studio.tracer_provider.ended.fold()
    assert joined.logs.reports_dropped == 15
    assert len(joined.reports) == 5


def test_rates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations without end do not fill the memory, and idle ones are forgotten."""
    monkeypatch.setattr("otel_studio.logs.run_reports._MAX_RATES", 10)
    with joined_logs() as joined:
        for number in range(50):
            fail("a", f"op{number}")
        assert len(joined.reports) == 50
        rates = joined.logs.reports.rates
        assert len(rates._seconds) <= 10
        advance(joined.isolated, 3)
        joined.logs.flush()
        assert rates._seconds == {}


# The records kept with a run


def test_a_failed_run_keeps_its_last_records(joined: Joined) -> None:
    """They come back from the three queries, in order, with level, logger and exception."""
    with failed_run():
        log.info("one %d", 1)
        try:
            raise KeyError("inner")
        except KeyError:
            log.exception("two")
    run = api.get_recent_operations()[0]
    assert [(r["level"], r["logger"], r["message"]) for r in run.log_records] == [
        ("INFO", "shop.preview", "one 1"),
        ("ERROR", "shop.preview", "two"),
    ]
    assert run.log_records[0]["time"].endswith("Z")
    assert run.log_records[0]["exception"] is None
    assert "KeyError: 'inner'" in run.log_records[1]["exception"]
    (group,) = api.get_error_statistics().by_service["a"].groups
    assert group.log_records == run.log_records


def test_a_slow_run_keeps_its_last_records(joined: Joined) -> None:
    """They come back with the slowest runs; a run that was neither keeps none."""
    service = otel_studio.service("a")
    with service.operation("b"):
        log.info("quick")
    with service.operation("b"):
        log.info("slow")
        advance(joined.isolated, 2)
    slowest, quick = api.get_slow_operations()[0].samples
    assert [r["message"] for r in slowest.log_records] == ["slow"]
    assert quick.log_records == []


def test_an_outer_run_keeps_the_records_of_the_inner_ones(joined: Joined) -> None:
    """What failed further down tells why the outer run failed; what went well adds its part."""
    service = otel_studio.service("a")
    with failed_run("a", "outer"):
        log.info("before")
        with service.operation("inner"):
            log.info("inside")
        log.info("after")
    (inner,) = api.get_recent_operations("a", "inner")
    (outer,) = api.get_recent_operations("a", "outer")
    assert inner.log_records == []
    assert [r["message"] for r in outer.log_records] == ["before", "inside", "after"]


def test_only_the_last_records_are_kept() -> None:
    """Their number and their length are bounded."""
    with joined_logs(log_records_per_run=5) as joined:
        with failed_run():
            for number in range(100):
                log.info("%d %s", number, "x" * 10_000)
        records = api.get_recent_operations()[0].log_records
        assert [r["message"].split()[0] for r in records] == ["95", "96", "97", "98", "99"]
        assert all(len(r["message"]) == 2_000 for r in records)
        assert joined.reports


def test_none_are_kept_where_the_setting_says_so() -> None:
    """With 0 records per run nothing is collected."""
    with joined_logs(log_records_per_run=0):
        with failed_run():
            log.info("x")
        assert api.get_recent_operations()[0].log_records == []


def test_a_record_is_kept_as_it_read_when_it_was_made(joined: Joined) -> None:
    """An argument that changes later is not shown changed."""
    order = ["new"]
    with failed_run():
        log.info("order is %s", order)
        order[0] = "paid"
    assert api.get_recent_operations()[0].log_records[0]["message"] == "order is ['new']"


def test_no_object_of_the_program_is_kept(joined: Joined) -> None:
    """What is kept is text: an argument goes when the program lets go of it."""
    import weakref

    class Frame: ...

    frame = Frame()
    gone = weakref.ref(frame)
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        with failed_run():
            log.info("%s", frame)
    finally:
        root.handlers = before
    del frame
    assert gone() is None
    assert "Frame" in api.get_recent_operations()[0].log_records[0]["message"]


def test_an_abandoned_run_leaves_nothing_behind(joined: Joined) -> None:
    """A run that was dropped is neither reported nor kept."""
    import gc

    tracker = otel_studio.service("a").start_operation("b")
    del tracker
    gc.collect()
    assert [r for r in joined.reports if "a/b" in r.getMessage()] == []


# The thread that reports


class Nosy(logging.Handler):
    """Runs operations of its own, fails now and then, and asks for figures."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.raising = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "otel_studio.operations":
            return
        self.seen.append(record.getMessage())
        with otel_studio.service("nosy").operation("ship") as run:
            run.fail("always")
        api.get_error_statistics()
        if self.raising:
            raise OSError("disk full")


def test_a_handler_that_runs_operations_makes_no_endless_chain(joined: Joined) -> None:
    """What a handler runs while it is given a report is not reported, so it ends."""
    nosy = Nosy()
    logging.getLogger().addHandler(nosy)
    try:
        joined.logs._reporter.start()
        fail()
        for _ in range(2):  # first the run's own end, then what the handler ran
            joined.isolated.studio.tracer_provider.ended.fold()
            joined.logs._reporter.stop(5)
            # While the thread that ran the handler is still known as the one that reports.
            joined.isolated.studio.tracer_provider.ended.fold()
            joined.logs._reporter.start()
        joined.logs._reporter.stop(5)
    finally:
        logging.getLogger().removeHandler(nosy)
    assert nosy.seen == ["a/b failed after 0.0 ms: ValueError: broken"]
    assert not [record for record in joined.reports if "nosy" in record.getMessage()]
    joined.isolated.assert_operation("nosy", "ship", errors=1)


def test_a_handler_that_raises_is_survived(joined: Joined) -> None:
    """A handler that raises costs one line of the log, never the reporting."""
    nosy = Nosy()
    nosy.raising = True
    logging.getLogger().addHandler(nosy)
    try:
        fail("a", "one")
        fail("a", "two")
        joined.logs.flush()
    finally:
        logging.getLogger().removeHandler(nosy)
    assert [text.split()[0] for text in nosy.seen][:2] == ["a/one", "a/two"]


def test_reports_come_from_a_thread_of_their_own() -> None:
    """With the thread running, a report is written soon, and stopping writes what waits."""
    with joined_logs() as joined:
        joined.logs.start()
        joined.logs.start()
        fail()
        joined.logs.stop(5)
        names: list[Any] = [r.getMessage() for r in joined.handler.of("otel_studio.operations")]
        assert names == ["a/b failed after 0.0 ms: ValueError: broken"]
