"""Log records and spans that meet in a real Collector, and secrets that reach no place at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from conversing_process import ConversingProcess

from child_process import http_get
from collector import Collector
from parts import free_port, wait_until

#: Told by the name beside it, and by its form alone.
NAMED, FORMED = "hunter2-7f3a91", "sk-0123456789ab"

PROGRAM = """
import logging, threading, time

logging.basicConfig(level=logging.INFO, format="%(trace_id)s %(levelname)s %(message)s", force=True)
logging.getLogger().handlers[0].setFormatter(
    logging.Formatter("%(trace_id)s %(levelname)s %(message)s", defaults={"trace_id": ""})
)

import otel_studio
from opentelemetry import trace
from otel_studio import api

studio = otel_studio.configure(
    service_name="shop", logging=True, log_level="info", redact_patterns=["sk-[0-9a-f]{12}"],
    traces_exporter="otlp", logs_exporter="otlp", metrics_exporter="otlp,prometheus", gpu=False,
)
logger = logging.getLogger("shop.orders")
shop = otel_studio.service("shop")
tracer = trace.get_tracer("contrib")

def order(customers):
    logger.info("the shop is open")
    for number in range(customers):
        with shop.operation("order"):
            logger.info("customer %d", number)
            with tracer.start_as_current_span("pay"):
                logger.warning("only %d in stock", number)
            if number % 3 == 0:
                try:
                    with shop.operation("ship"):
                        raise OSError("no van is free")
                except OSError:
                    logger.exception("order %d stays here", number)

def flush():
    return studio.force_flush(10)

class Refused(Exception):
    pass

@otel_studio.track("log_in", service="accounts", capture_args=("user", "password", "headers"))
def log_in(user, password, headers):
    local = password
    logger.info("log in of %s with password=%s", user, password)
    logger.info("%(user)s has %(password)s", {"user": user, "password": password})
    logger.warning("a call", extra={"password": password, "options": {"api_key": [password]}})
    otel_studio.current_operation().set_attribute("db.password", password)
    otel_studio.current_operation().set_attribute("header", f"x {headers['x-key']} y")
    raise Refused(f"password={local!r} is not that of {headers['x-key']}")

def leak_everywhere(named, formed):
    headers = {"x-key": formed, "Authorization": "Bearer " + named}
    for _ in range(3):
        try:
            log_in("ann", named, headers)
        except Refused:
            logger.exception("could not log in with Cookie: session=%s", named)
    with tracer.start_as_current_span("charge", links=[trace.Link(
        trace.SpanContext(1, 2, False), {"access_token": named})]) as span:
        span.add_event("asked", {"secret": named, "reply": f"took {formed}"})
        span.set_status(trace.StatusCode.ERROR, f"api_key={named} was refused")
        span.record_exception(ValueError("token " + formed))
    with shop.operation("fail") as operation:
        operation.fail(f"access_token: {named}, {formed}")
    shop.record_operation("measured", duration=2.0, error=f"secret={named}")
    logger.error("outside of any operation: passwd=%s %s", named, formed)
    try:
        vendor("sk-0123456789ab")
    except RuntimeError:
        logger.critical("the vendor", exc_info=True, stack_info=True)

def vendor(key):
    with shop.operation("vendor"):
        # The secret stands in the lines of source of its stack alone.
        connect("sk-0123456789ab")

def connect(key):
    raise RuntimeError("no connection")

def stand_still(held):
    def stand():
        with shop.operation("stand", attributes={"password": held}):
            waiting.wait(len("sk-0123456789ab") + 30)
    threading.Thread(target=stand, daemon=True).start()
    deadline = time.monotonic() + 10
    while not api.get_active_operations() and time.monotonic() < deadline:
        time.sleep(0.01)

waiting = threading.Event()

def look_up(named, formed):
    sessions = otel_studio.cache("sessions", service="accounts")
    sessions.hit(f"/session?access_token={named}&key={formed}", duration=0.5)

def everything_that_can_be_asked():
    answers = {}
    for name in dir(api):
        if name.startswith("get_") and name not in (
            "get_service_metrics", "get_latency_buckets", "get_metrics_history"
        ):
            answers[name] = repr(getattr(api, name)())
    for name in ("json", "csv", "prometheus"):
        answers[name] = api.export_metrics(name)
    for service in api.get_all_metrics():
        for operation in service.operation_metrics:
            answers[operation] = repr(api.get_latency_buckets(service.service_name, operation))
    for by in ("max", "total"):
        answers[by] = repr([slow.to_dict() for slow in api.get_slow_operations(100, by)])
    return answers
"""

pytestmark = pytest.mark.slow


class Shop(ConversingProcess):
    def __init__(self, folder: Path, collector: Collector, protocol: str = "http/protobuf") -> None:
        self.port = free_port()
        grpc = protocol == "grpc"
        super().__init__(
            folder,
            PROGRAM,
            {
                "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.port),
                "OTEL_EXPORTER_OTLP_ENDPOINT": (
                    collector.grpc_endpoint if grpc else collector.http_endpoint
                ),
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            },
        )


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path / "collector") as collector:
        yield collector


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_each_record_meets_its_span_in_the_collector(
    tmp_path: Path, collector: Collector, protocol: str
) -> None:
    """Ids, service and operation of a record are those of a span that arrived, too."""
    with Shop(tmp_path, collector, protocol) as shop:
        shop.call("order", 6)
        assert shop.call("flush")
        spans = wait_until(
            lambda: found if len(found := collector.spans()) >= 14 else None, 20, "14 spans"
        )
        # 1 outside, 6 + 6 + 2 made by the program, and one about each ended run.
        logs = wait_until(
            lambda: found if len(found := collector.logs()) >= 29 else None, 20, "29 records"
        )
        program_log = shop.output()
    assert spans is not None
    assert logs is not None
    assert Counter((s.scope, s.name) for s in spans) == {
        ("shop", "order"): 6,
        ("contrib", "pay"): 6,
        ("shop", "ship"): 2,
    }
    by_id = {(s.trace_id, s.span_id): s for s in spans}
    outside = [log for log in logs if not log.trace_id]
    assert [log.body for log in outside] == ["the shop is open"]
    for log in logs:
        if log in outside:
            continue
        span = by_id[log.trace_id, log.span_id]
        assert log.attributes["studio.service"] == span.scope
        assert log.attributes["studio.operation"] == span.name
        assert log.resource["service.name"] == span.resource["service.name"] == "shop"
        instance = "service.instance.id"
        assert log.resource.get(instance) == span.resource.get(instance)

    made_in = Counter(
        (by_id[log.trace_id, log.span_id].name, log.severity)
        for log in logs
        if log not in outside and "studio.ended_run" not in log.attributes
    )
    assert made_in == {("order", "INFO"): 6, ("pay", "WARN"): 6, ("order", "ERROR"): 2}
    ended = [log for log in logs if "studio.ended_run" in log.attributes]
    assert {(log.trace_id, log.span_id) for log in ended} == set(by_id)
    failures = [log for log in ended if log.severity == "ERROR"]
    assert {by_id[log.trace_id, log.span_id].name for log in failures} == {"ship"}
    traceback = [log for log in logs if "exception.stacktrace" in log.attributes]
    assert {log.attributes["exception.message"] for log in traceback} == {"no van is free"}
    for log in logs:
        if log.trace_id and log.severity == "WARN":
            assert f"{log.trace_id} WARNING {log.body}" in program_log


def test_a_secret_reaches_no_place(tmp_path: Path, collector: Collector) -> None:
    """Told by name or form: not in spans, records, errors, queries, pages, files of any kind."""
    with Shop(tmp_path, collector) as shop:
        shop.call("leak_everywhere", NAMED, FORMED)
        shop.call("stand_still", NAMED)
        places = shop.call("everything_that_can_be_asked")
        places["/metrics"] = http_get(shop.port, "/metrics")[1]
        assert shop.call("flush")
        wait_until(lambda: len(collector.spans("log_in")) >= 3, 20, "the spans")
        wait_until(
            lambda: (
                any(log.severity == "FATAL" for log in collector.logs())
                or any(log.severity == "CRITICAL" for log in collector.logs())
            ),
            20,
            "the last record",
        )
        wait_until(lambda: collector.points("otel_studio.operation.duration"), 20, "metrics")
        places["the program's own log"] = shop.output()
    for kind in ("traces", "logs", "metrics"):
        places[f"the Collector's {kind}"] = (collector.folder / f"{kind}.jsonl").read_text()

    leaks = {
        place: sorted({secret for secret in (NAMED, FORMED) if secret in text})
        for place, text in places.items()
    }
    assert {place: secrets for place, secrets in leaks.items() if secrets} == {}
    # It was there to be found: what stands around it has arrived.
    for place, beside in [
        ("the Collector's traces", "was refused"),
        ("the Collector's logs", "outside of any operation"),
        ("the program's own log", "could not log in with Cookie: [redacted]"),
        ("get_error_statistics", "Refused"),
        ("get_recent_operations", "access_token: [redacted]"),
        ("get_active_operations", "stand"),
        ("max", "log in of ann"),
    ]:
        assert beside in places[place], place
    for place in ("the Collector's traces", "the Collector's logs", "get_recent_operations"):
        assert "[redacted]" in places[place], place


def test_a_secret_in_the_key_of_a_cache_is_not_kept(tmp_path: Path, collector: Collector) -> None:
    """The keys read most and the slow accesses are told without it."""
    with Shop(tmp_path, collector) as shop:
        shop.call("look_up", NAMED, FORMED)
        told = shop.call("everything_that_can_be_asked")["get_cache_performance_metrics"]
    assert "/session" in told
    assert NAMED not in told
    assert FORMED not in told
