"""Where a run's time went: what ran on after its end is none of it."""

from __future__ import annotations

import asyncio
import threading

import pytest
from opentelemetry import trace

import otel_studio
from otel_studio import api
from otel_studio.base.clock import ManualClock
from otel_studio.testing import isolated


def split_of(operation: str) -> dict[str, float]:
    (run,) = api.get_recent_operations(operation=operation)
    return {share.operation: share.duration_ms for share in run.time_split}


@pytest.mark.parametrize("folds_between", [False, True])
@pytest.mark.parametrize("ends_first", ["parent", "child"])
def test_a_part_counts_while_its_parent_went_on(ends_first: str, folds_between: bool) -> None:
    """Also where both ended in one batch, and where the part came later than its parent."""
    clock = ManualClock()
    with isolated(clock=clock):
        service = otel_studio.service("shop")
        parent = service.start_operation("handler")
        context = trace.set_span_in_context(parent.span)
        clock.advance(0.01)
        tracer = trace.get_tracer_provider().get_tracer("shop")
        child = tracer.start_span("send_mail", context)
        clock.advance(0.02)
        if ends_first == "child":
            child.end()
        else:
            parent.complete()
        if folds_between:
            otel_studio.current().registry.reading()  # type: ignore[union-attr]
        clock.advance(0.3)
        if ends_first == "child":
            parent.complete()
        else:
            child.end()
        split = split_of("handler")
    if ends_first == "child":
        assert split == pytest.approx({"self": 310.0, "send_mail": 20.0})
    else:
        assert split["self"] >= 10.0 - 1e-6
        assert sum(split.values()) == pytest.approx(30.0)


def test_a_background_task_is_no_part_of_the_answer() -> None:
    """A handler that answers and leaves work behind."""
    clock = ManualClock()

    async def main() -> None:
        service = otel_studio.service("shop")
        go_on = asyncio.Event()

        @otel_studio.track("send_mail", service="shop")
        async def send_mail() -> None:
            await go_on.wait()
            clock.advance(0.3)

        async with service.operation("handler"):
            with service.operation("validate"):
                clock.advance(0.02)
            clock.advance(0.03)
            task = asyncio.create_task(send_mail())
        go_on.set()
        await task

    with isolated(clock=clock):
        asyncio.run(main())
        assert split_of("handler") == pytest.approx({"self": 30.0, "validate": 20.0})


def test_a_thread_that_goes_on_is_no_part_of_its_starter() -> None:
    """What it did until then is."""
    clock = ManualClock()
    with isolated(clock=clock):
        service = otel_studio.service("shop")
        begun, ended = threading.Event(), threading.Event()

        def work(context: object) -> None:
            with trace.use_span(context), service.operation("upload"):  # type: ignore[arg-type]
                begun.set()
                ended.wait(10)
                clock.advance(1.0)

        with service.operation("handler") as run:
            thread = threading.Thread(target=work, args=(run.span,))
            thread.start()
            begun.wait(10)
            clock.advance(0.05)
        ended.set()
        thread.join()
        split = split_of("handler")
    assert sum(split.values()) == pytest.approx(50.0)
    assert split["upload"] == pytest.approx(50.0)
