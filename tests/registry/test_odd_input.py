"""What programs should not pass but do, and what must not follow from it."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_studio
from otel_studio import api
from otel_studio.base import failure, guard
from otel_studio.base.clock import ManualClock, SystemClock
from otel_studio.registry import fold as folding
from otel_studio.registry import queries
from otel_studio.spans.foreign import RegistrySpanProcessor
from otel_studio.testing.isolation import Isolated, isolated


@pytest.fixture(autouse=True)
def nothing_failed_before() -> None:
    guard.forget_said()


def foreign(s: Isolated) -> Any:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RegistrySpanProcessor(s.tracer_provider.ended, SystemClock()))
    return provider


@pytest.mark.parametrize(
    ("given", "own"),
    [
        *itertools.product(
            [1_700_000_000.5, float("nan"), float("inf"), -1, 10**30], [True, False]
        ),
        ("now", True),  # the SDK itself raises
    ],
    ids=str,
)
def test_times_that_are_no_nanoseconds_harm_no_other_operation(given: Any, own: bool) -> None:
    """A span given seconds instead of nanoseconds is counted, and so is everything else."""
    with isolated() as s:
        tracer = (s.tracer_provider if own else foreign(s)).get_tracer("library")
        for _ in range(2):
            otel_studio.service("shop").record_operation("pay", duration=0.1)
            tracer.start_span("odd", start_time=given).end()
            odd = tracer.start_span("odd")
            odd.end(end_time=given)
            s.operations("shop")
        s.assert_operation("shop", "pay", count=2)
        s.assert_operation("library", "odd", count=4, active=0)
        assert len(api.get_recent_operations()) == 6
        api.get_slow_operations(by="max")
        api.export_metrics_prometheus()
    assert not guard.internal_errors


@pytest.mark.parametrize("own", [True, False])
def test_a_name_that_is_no_text_is_shown_as_text(own: bool) -> None:
    """No query and no scrape fails because a program named a span `None`."""
    with isolated() as s:
        tracer = (s.tracer_provider if own else foreign(s)).get_tracer("library")
        for name in (None, ["a"], 5):
            tracer.start_span(name).end()
        renamed = tracer.start_span("x")
        renamed.update_name(None)
        renamed.end()
        assert {n: m.count for n, m in s.operations("library").items()} == {
            "None": 2,
            "['a']": 1,
            "5": 1,
        }
        assert 'studio_operation="None"' in api.export_metrics_prometheus()


def test_one_operation_that_cannot_be_counted_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failure of ours in one operation is counted, and the rest of the batch is folded."""
    with_runs = folding.with_runs

    def failing(before: Any, runs: Any, *rest: Any) -> Any:
        if runs[0]._name == "broken":
            raise RuntimeError("ours")
        return with_runs(before, runs, *rest)

    with isolated() as s:
        shop = otel_studio.service("shop")
        shop.record_operation("broken", duration=1)
        s.operations("shop")
        monkeypatch.setattr(folding, "with_runs", failing)
        for _ in range(3):
            shop.record_operation("broken", duration=1)
            shop.record_operation("pay", duration=1)
            s.operations("shop")
        s.assert_operation("shop", "pay", count=3)
        s.assert_operation("shop", "broken", count=1)
    assert guard.internal_errors["counting the runs of an operation"] == 3
    guard.forget_said()


def test_an_interrupted_fold_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C in the middle of a fold nothing of its batch is lost, or counted twice."""
    with_runs = folding.with_runs
    interruptions = iter([True])

    def interrupted(before: Any, runs: Any, *rest: Any) -> Any:
        made = with_runs(before, runs, *rest)
        if runs[0]._name == "b" and next(interruptions, False):
            raise KeyboardInterrupt
        return made

    with isolated() as s:
        shop = otel_studio.service("shop")
        monkeypatch.setattr(folding, "with_runs", interrupted)
        for _ in range(2):
            for name in ("a", "b"):
                shop.record_operation(name, duration=1)
        with pytest.raises(KeyboardInterrupt):
            s.operations("shop")
        for name in ("a", "b"):
            shop.record_operation(name, duration=1)
        s.assert_operation("shop", "a", count=3)
        s.assert_operation("shop", "b", count=3)


def test_running_operations_past_the_bound_are_active_under_other() -> None:
    """Active counts keep the bound of names, in queries and on `/metrics`, and add up."""
    with isolated(max_operations_per_service=2) as s:
        jobs = otel_studio.service("jobs")
        for name in ("a", "b"):
            jobs.record_operation(name, duration=1)
        running = [jobs.start_operation(f"job {number}") for number in range(5)]
        (summary,) = api.get_all_metrics()
        active = {name: m.active for name, m in summary.operation_metrics.items()}
        assert active == {"a": 0, "b": 0, "__other__": 5}
        assert summary.active_operations == 5 == api.get_active_operations_count().total
        assert "job 1" not in api.export_metrics_prometheus()
        for run in running:
            run.complete()
        s.assert_operation("jobs", "__other__", count=5, active=0)


def test_setting_the_wall_clock_moves_no_time_of_the_past() -> None:
    """Runs that ended or began before keep their times; later ones have the new clock's."""
    clock = ManualClock(start=1_000)
    with isolated(clock=clock) as s:
        shop = otel_studio.service("shop")
        with shop.operation("folded"):
            clock.advance(1)
        s.operations("shop")
        with shop.operation("waiting"):
            clock.advance(1)
        with shop.operation("running"):
            clock.set_wall(1_000_000)
            s.operations("shop")
            clock.advance(1)
        with shop.operation("later"):
            clock.advance(1)
        starts = {run.operation: run.start_time for run in api.get_recent_operations()}
        assert starts == {
            "folded": "1970-01-01T00:16:40.000000Z",
            "waiting": "1970-01-01T00:16:41.000000Z",
            "running": "1970-01-01T00:16:42.000000Z",
            "later": "1970-01-12T13:46:41.000000Z",
        }


def test_a_deleted_working_directory_does_not_hide_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an exception was raised is told without a working directory too."""
    failure._short_path.cache_clear()
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with isolated() as s, pytest.raises(KeyError), otel_studio.service("shop").operation("pay"):
        raise KeyError("x")
    assert s.operation("shop", "pay").errors == 1
    assert not guard.internal_errors
    assert Path(__file__).name in _places(s)[0]


def _places(s: Isolated) -> list[str]:
    return [place for _, place in s.registry.reading().services["shop"].whole().groups]


def test_a_sampled_run_stays_the_sample_of_its_bucket() -> None:
    """With head sampling, the run whose trace can be looked up is not replaced by one without."""
    with isolated(clock=ManualClock(), sampler="traceidratio", sampler_arg=0.5) as s:
        shop = otel_studio.service("shop")
        for _ in range(60):
            shop.record_operation("pay", duration=0.2)
            s.clock.advance(2)  # type: ignore[attr-defined]
            s.operations("shop")
        shop_now = s.registry.reading().services["shop"].whole()
        (series,) = shop_now.operations["pay"].series.values()
        assert [span._flags & 1 for span in series.exemplars if span is not None] == [1]


@pytest.mark.parametrize(
    "read",
    [
        api.get_all_metrics,
        api.get_recent_operations,
        api.get_slow_operations,
        api.get_error_statistics,
        api.export_metrics_prometheus,
    ],
)
def test_a_finalizer_may_use_operations_inside_a_read(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Garbage that is collected in the middle of a query records, declares and reads freely."""
    with isolated() as s:
        for number in range(3):
            otel_studio.service(f"s{number}").record_operation("pay", duration=1)
        read()
        made = iter(range(1_000))

        def finalize() -> None:
            number = next(made)
            otel_studio.service(f"late {number}").record_operation("close", duration=1)
            otel_studio.service("s0").start_operation(f"drop {number}")
            assert s.registry.reading().services["s0"]

        for name in ("operation_metrics", "error_text", "run_of"):
            original = getattr(queries, name)

            def collecting(*args: Any, original: Any = original, **kwargs: Any) -> Any:
                finalize()
                return original(*args, **kwargs)

            monkeypatch.setattr(queries, name, collecting)
        read()
