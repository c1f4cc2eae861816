"""The line of ended runs: its order, who gets what, and what it takes of a run."""

from __future__ import annotations

import ast
import inspect
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

import otel_studio
from otel_studio.base import guard
from otel_studio.base.clock import ManualClock
from otel_studio.registry.kept import KeptRun
from otel_studio.spans import ended_run
from otel_studio.spans.active import AbandonedSpan
from otel_studio.spans.buffer import Change, EndedSpans
from otel_studio.spans.foreign import RegistrySpanProcessor
from otel_studio.spans.pipeline import Groups, Pipeline
from otel_studio.spans.provider import StudioTracerProvider
from otel_studio.spans.span import StudioSpan
from otel_studio.spans.timebase import Timebase
from otel_studio.testing.isolation import isolated

PACKAGE = Path(otel_studio.__file__).parent


class Recording:
    """Stands for every part of the line, and notes who was asked when."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name = name
        self.asked = asked
        self.taken: list[Any] = []

    def redact_all(self, runs: Iterable[Any]) -> None:
        self.asked.append(self.name)

    def leaves_out(self, service: str, operation: str) -> bool:
        self.asked.append(self.name)
        return operation == "ignored"

    def keep_times(self) -> None: ...

    def after(self) -> None: ...


class Counting(Recording):
    def prepare(self, groups: Groups, ended: int, ignored: int) -> Change:
        self.asked.append(self.name)
        return self.taken.append, (sorted(groups), ended, ignored)


class Outlet(Recording):
    def prepare(self, runs: Sequence[Any]) -> Iterable[Change]:
        self.asked.append(self.name)
        return ((self.taken.append, [run._name for run in runs]),)


def test_the_order_is_the_one_that_is_written() -> None:
    """Redactor, selection, registry, reports, queues: and what is left out reaches none behind."""
    asked: list[str] = []
    registry, reports = Counting("registry", asked), Outlet("reports", asked)
    queues = [Outlet("first queue", asked), Outlet("second queue", asked)]
    provider = StudioTracerProvider(shutdown_on_exit=False)
    provider.ended.line = Pipeline(
        Recording("redactor", asked), Recording("selection", asked), registry, reports, queues
    )
    tracer = provider.get_tracer("shop")
    tracer.start_span("ignored").end()
    tracer.start_span("pay").end()
    provider.ended.fold()
    assert list(dict.fromkeys(asked)) == [
        "redactor",
        "selection",
        "registry",
        "reports",
        "first queue",
        "second queue",
    ]
    assert registry.taken == [([("shop", "pay")], 2, 1)]
    assert [reports.taken, *(queue.taken for queue in queues)] == [[["pay"]]] * 3


def test_a_part_that_fails_keeps_nothing_from_the_others() -> None:
    """It is counted; the registry and the other queues have the batch all the same."""

    class Failing(Outlet):
        def prepare(self, runs: Sequence[Any]) -> Iterable[Change]:
            raise RuntimeError("no")

    guard.forget_said()
    asked: list[str] = []
    registry, last = Counting("registry", asked), Outlet("last", asked)
    provider = StudioTracerProvider(shutdown_on_exit=False)
    provider.ended.line = Pipeline(
        registry=registry, reports=Failing("failing", asked), queues=[last]
    )
    provider.get_tracer("shop").start_span("pay").end()
    provider.ended.fold()
    assert len(registry.taken) == len(last.taken) == 1
    assert guard.internal_errors == {"handing ended runs to Failing": 1}
    guard.forget_said()


def test_no_part_puts_itself_into_the_line() -> None:
    """What a Studio is made of stands in its line because the Studio wrote it there."""
    ended = EndedSpans(10, Timebase(ManualClock()))
    RegistrySpanProcessor(ended, ManualClock())
    with isolated(logging=True) as s:
        from otel_studio.assembly.from_settings import registry_limits
        from otel_studio.logs.room import StudioLogs
        from otel_studio.registry.registry import Registry
        from otel_studio.spans.redaction import Redactor

        line = s.tracer_provider.ended.line
        before = (line.redactor, line.selection, line.registry, line.reports, line.queues)
        studio = s.studio
        Registry(s.tracer_provider.ended, studio.clock, registry_limits(studio.settings))
        StudioLogs(
            studio.settings, studio.clock, s.tracer_provider.ended, Redactor(), s.tracer_provider
        )
        after = (line.redactor, line.selection, line.registry, line.reports, line.queues)
        assert after == before
        assert line.registry is s.registry
        assert studio.logs is not None
        assert line.reports is studio.logs.reports
    assert ended.line is None


def test_every_kind_of_run_tells_all_that_an_ended_run_tells() -> None:
    """Our span, another provider's, one that was dropped, and one that is kept as plain data."""
    protocol = ended_run.EndedRun
    told = [n for n, m in inspect.getmembers(protocol) if isinstance(m, property)]
    assert len(told) > 15
    provider = StudioTracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("shop").start_as_current_span("pay") as span:
        span.set_status(StatusCode.ERROR, "no")
    ended = EndedSpans(10, Timebase(ManualClock()))
    foreign = TracerProvider(shutdown_on_exit=False)
    foreign.add_span_processor(RegistrySpanProcessor(ended, ManualClock()))
    foreign.get_tracer("shop").start_span("pay").end()
    assert isinstance(span, StudioSpan)
    runs = [span, ended.spans[0], AbandonedSpan(span._tracer, "pay"), KeptRun.of(span)]
    for run in runs:
        missing = [name for name in told if not hasattr(run, name)]
        assert not missing, f"{type(run).__name__} lacks {missing}"
        assert (run._tracer.name, run._name) == ("shop", "pay")


def test_one_setter_makes_a_span_unusual() -> None:
    """Only `_make_unusual` sets what `_simple` stands for, and the port where no call fits."""
    source = ast.parse((PACKAGE / "spans" / "span.py").read_text())
    (span,) = [n for n in source.body if isinstance(n, ast.ClassDef) and n.name == "StudioSpan"]
    # What is rare has a default of the class; these say nothing that is sent or counted.
    plain = {"_context", "_task", "_lost", "_watched", "_records", "_children", "_start_unix"}
    plain |= {"_light"}
    plain |= {"_record_exception", "_set_status_on_exception", "_parent_id", "_parent_context"}
    rare = {
        node.target.id
        for node in span.body
        if isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name)
    } - plain
    assert {"_events", "_links", "_status_code", "_outcome", "_failure"} <= rare
    found = set()
    for path in (PACKAGE / "spans").glob("*.py"):
        # Somebody else's spans, and what stands for one of ours, have no such attributes.
        if path.name in ("foreign.py", "light_run.py"):
            continue
        tree = ast.parse(path.read_text())
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if not isinstance(node, ast.Assign):
                    continue
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and target.attr in rare:
                        found.add((path.name, function.name, target.attr))
    # `end` is within `_make_ends`; what sees to the span later makes it unusual.
    fits = {(function, "_outcome") for function in ("fail", "end", "_make_ends")}
    assert {setting[1:] for setting in found} == fits
    assert {setting[0] for setting in found} == {"fast_port.py"}


def test_a_fold_on_a_deep_stack_takes_another_stack() -> None:
    """The thread that folds for a caller at the recursion limit is not the caller's."""
    asked: list[str] = []

    class Where(Counting):
        def prepare(self, groups: Groups, ended: int, ignored: int) -> Change:
            self.asked.append(threading.current_thread().name)
            return super().prepare(groups, ended, ignored)

    provider = StudioTracerProvider(shutdown_on_exit=False)
    provider.ended.line = Pipeline(registry=Where("registry", asked))
    provider.get_tracer("shop").start_span("pay").end()

    def deep() -> None:
        try:
            deep()
        except RecursionError:
            if not asked:
                provider.ended.fold()

    deep()
    assert asked[0] != threading.current_thread().name
    assert "registry" in asked
