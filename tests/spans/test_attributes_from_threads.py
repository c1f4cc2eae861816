"""Several threads that write to one span: nothing is lost, nothing is raised."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

import otel_studio
from otel_studio.testing.isolation import Isolated, isolated

import proving

THREADS = 8
SPANS = proving.scaled(2_000)

Act = Callable[[Any, int], None]


@pytest.fixture(autouse=True)
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def studio() -> Iterator[Isolated]:
    with isolated(fold_interval=60) as s:
        yield s


def together(act: Act, span: Any) -> None:
    """Have every thread act on the span at the same time."""
    barrier, raised = threading.Barrier(THREADS), []

    def work(number: int) -> None:
        barrier.wait()
        try:
            act(span, number)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not raised


def one(span: Any, number: int) -> None:
    span.set_attribute(f"k{number}", number)


def several(span: Any, number: int) -> None:
    span.set_attributes({f"k{number}": number, f"l{number}": number})


def with_the_rest(span: Any, number: int) -> None:
    """As an instrumentation of a framework does on a request's span."""
    span.set_attribute(f"k{number}", number)
    span.add_event(f"e{number}", {"number": number})
    span.add_link(SpanContext(number + 1, number + 1, True, TraceFlags(1)))
    span.set_status(Status(StatusCode.ERROR, "broken"))
    span.record_exception(ValueError(number))
    span.update_name("renamed")


def api_span(attributes: Any) -> Any:
    return trace.get_tracer("threads").start_span("span", attributes=attributes)


@pytest.mark.prove
@pytest.mark.timeout(proving.limit(60))
@pytest.mark.parametrize("attributes", [None, {"kind": "x"}], ids=["bare", "with some"])
@pytest.mark.parametrize(
    ("act", "keys"),
    [(one, "k"), (several, "kl"), (with_the_rest, "k")],
    ids=["one", "several", "with the rest"],
)
def test_no_attribute_is_lost(
    studio: Isolated, act: Act, keys: str, attributes: dict[str, str] | None
) -> None:
    """On a span that began with attributes of its own, and on one without any."""
    wanted = {f"{key}{n}": n for key in keys for n in range(THREADS)} | (attributes or {})
    for _ in range(SPANS // 4):
        span = api_span(attributes)
        together(act, span)
        assert dict(span.attributes) == wanted
        if act is with_the_rest:
            assert len(span.events) == 2 * THREADS
            assert len(span.links) == THREADS
            assert span.status.status_code is StatusCode.ERROR
            assert span.name == "renamed"
        span.end()


@pytest.mark.prove
@pytest.mark.timeout(proving.limit(60))
def test_no_attribute_of_an_operation_is_lost(studio: Isolated) -> None:
    """The operation's constant attributes stay its own, whatever a run adds to them."""

    @otel_studio.track("op", service="threads", attributes={"kind": "x"})
    def op() -> None:
        together(one, trace.get_current_span())

    for _ in range(SPANS // 4):
        op()
    wanted = {f"k{n}": n for n in range(THREADS)} | {"kind": "x"}
    for run in studio.runs("threads", "op"):
        assert wanted.items() <= dict(run.attributes).items()

    @otel_studio.track("op", service="threads", attributes={"kind": "x"})
    def plain() -> None:
        pass

    plain()
    [run, *_] = studio.runs("threads", "op")
    assert "k0" not in run.attributes


@pytest.mark.parametrize("kind", ["operation", "current"])
def test_a_run_of_ours_takes_attributes_from_threads(studio: Isolated, kind: str) -> None:
    """By the operation that a block gives, and by `current_operation`."""
    for _ in range(SPANS // 4):
        with otel_studio.service("threads").operation("block") as op:
            together(one, op if kind == "operation" else otel_studio.current_operation())
    for run in studio.runs("threads", "block"):
        assert len([key for key in run.attributes if key.startswith("k")]) == THREADS


def test_the_limit_holds(studio: Isolated) -> None:
    """At 128 attributes the oldest go, one for each that comes, and all are counted."""
    each = 1_000

    def many(span: Any, number: int) -> None:
        for i in range(each):
            span.set_attribute(f"{number}-{i}", i)

    for _ in range(2):
        span = api_span(None)
        together(many, span)
        assert len(span.attributes) == 128
        assert span.dropped_attributes == THREADS * each - 128
        span.end()


def test_a_span_that_is_read_while_it_is_written(studio: Isolated) -> None:
    """A reader of a running span (a processor, a log record) never meets a changing dictionary."""

    def write_and_read(span: Any, number: int) -> None:
        for i in range(300):
            span.set_attribute(f"{number}-{i % 20}", i)
            dict(span.attributes)
            list(span.events)
            span.to_json()

    span = api_span({"kind": "x"})
    together(write_and_read, span)
    assert len(span.attributes) == 128
    span.end()


def test_an_end_beside_writers_is_one_end(studio: Isolated) -> None:
    """Whichever thread ends it: counted once, and what comes later changes nothing."""

    def write_and_end(span: Any, number: int) -> None:
        span.set_attribute(f"k{number}", number)
        span.end()

    for _ in range(SPANS // 4):
        together(write_and_end, api_span(None))
    studio.assert_operation("threads", "span", count=SPANS // 4, active=0)
