"""`isolated()` and the fixture: own providers, registry, clock and ids; nothing is shared."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from opentelemetry import metrics, trace

import otel_studio as studio
from otel_studio import api
from otel_studio.base.clock import ManualClock
from otel_studio.testing.isolation import IncrementalIds, Isolated

from program import Ended, run_program

SERVICE = "shop"


def pay(amount: int = 1) -> None:
    with studio.service(SERVICE).operation("pay") as op:
        op.set_attribute("amount", amount)


def test_nothing_of_a_block_is_left_after_it():
    """Providers, queries and operations are as before; the next block starts from zero."""
    before = trace.get_tracer_provider(), metrics.get_meter_provider()
    for _ in range(2):
        with studio.isolated() as s:
            assert trace.get_tracer_provider() is s.tracer_provider
            assert metrics.get_meter_provider() is s.meter_provider
            pay()
            s.assert_operation(SERVICE, "pay", count=1)
            assert api.get_service_metrics(SERVICE).total_operations == 1
    assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == before
    with pytest.raises(studio.NotConfigured):
        api.get_all_metrics()


def test_nothing_of_a_block_is_left_after_a_failure():
    """An exception passes, and everything is put back."""
    before = trace.get_tracer_provider()
    with pytest.raises(ValueError, match="no"), studio.isolated():
        raise ValueError("no")
    assert trace.get_tracer_provider() is before


def test_blocks_within_blocks():
    """The innermost one sees what runs in it; the outer one goes on after it."""
    with studio.isolated() as outer:
        pay()
        with studio.isolated() as inner:
            pay()
            pay()
            inner.assert_operation(SERVICE, "pay", count=2)
        pay()
        outer.assert_operation(SERVICE, "pay", count=2)


def test_it_reads_no_environment(monkeypatch):
    """A developer's variables change no test; settings are given as keywords."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-environment")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with studio.isolated(recent_runs_per_operation=3) as s:
        assert s.studio.settings.service_name != "from-environment"
        assert s.studio.export_queues == []
        for _ in range(5):
            pay()
        assert len(s.runs(SERVICE, "pay")) == 3
        assert all(span.context.trace_flags.sampled for span in s.spans)


def test_the_fixture(otel_studio: Isolated):
    """A clock that only the test moves, and ids that a test can write down."""
    with studio.service(SERVICE).operation("pay"):
        otel_studio.clock.advance(0.25)
        with studio.service(SERVICE).operation("charge"):
            otel_studio.clock.advance(0.5)
    assert otel_studio.operation(SERVICE, "pay").max_duration_ms == 750
    assert otel_studio.operation(SERVICE, "charge").max_duration_ms == 500
    charge, pay_span = otel_studio.spans
    assert (pay_span.context.trace_id, pay_span.context.span_id) == (1, 1)
    assert (charge.context.trace_id, charge.context.span_id) == (1, 2)
    [run, _] = otel_studio.runs(SERVICE)
    assert run.start_time == "2023-11-14T22:13:20.000000Z"
    otel_studio.assert_operation(SERVICE, "charge", parent="pay")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"count": 2}, "shop/pay has count 1, not 2"),
        ({"errors": 1}, "shop/pay has errors 0, not 1"),
        ({"active": 1}, "shop/pay has active 0, not 1"),
        ({"outcome": "error"}, "the last run of shop/pay ended ok, not error"),
        ({"attributes": {"amount": 2}}, "the last run of shop/pay has amount=1, not 2"),
        ({"attributes": {"other": 2}}, "has other=None, not 2"),
        ({"parent": "checkout"}, "the parent of shop/pay is none, not checkout"),
    ],
    ids=str,
)
def test_a_failed_assertion_says_what_differs(otel_studio, wanted, said):
    """The first thing that differs, with what was found."""
    pay()
    otel_studio.assert_operation(SERVICE, "pay", count=1, errors=0, outcome="ok")
    with pytest.raises(AssertionError) as raised:
        otel_studio.assert_operation(SERVICE, "pay", **wanted)
    assert said in str(raised.value)


def test_an_operation_that_has_not_run(otel_studio):
    """The message lists what has."""
    with pytest.raises(AssertionError, match="shop/pay has not run; these have: none"):
        otel_studio.assert_operation(SERVICE, "pay")
    pay()
    with pytest.raises(AssertionError, match="shop/refund has not run; these have: shop/pay"):
        otel_studio.operation(SERVICE, "refund")


def test_a_clock_and_ids_of_ones_own():
    """Any clock, any id generator."""
    with studio.isolated(clock=ManualClock(start=0), id_generator=IncrementalIds()) as s:
        pay()
        assert s.runs()[0].trace_id == f"{1:032x}"
        assert s.runs()[0].start_time.startswith("1970-01-01")


def test_a_span_that_is_dropped_without_an_end_is_not_among_those_that_ended(otel_studio):
    """It is counted as abandoned; the list holds what a test can read as a span."""
    trace.get_tracer("contrib").start_span("vanish")  # dropped at once
    gc.collect()
    with studio.service("shop").operation("pay"):
        pass
    otel_studio.assert_operation("contrib", "vanish", abandoned=1, count=0)
    assert [span.name for span in otel_studio.spans] == ["pay"]


def test_instrumentations_that_take_a_provider(otel_studio):
    """The providers of the fixture can be handed to any instrumentation."""
    tracer = otel_studio.tracer_provider.get_tracer("contrib")
    with tracer.start_as_current_span("query"):
        pass
    otel_studio.assert_operation("contrib", "query", count=1)


def run_pytest(folder: Path, name: str) -> Ended:
    """Run a file of tests by pytest in a process of its own."""
    program = f"""
        import sys, pytest
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", {name!r}]))
        """
    return run_program(folder, program)


@pytest.mark.patient
def test_where_the_fixture_is_not_used_nothing_is_loaded(tmp_path):
    """The plugin is in every pytest run: it loads neither the SDK nor this package's parts."""
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n"
        "def test_nothing():\n"
        "    assert not [m for m in sys.modules if m.startswith('opentelemetry.sdk')]\n"
    )
    ended = run_pytest(tmp_path, "test_nothing.py")
    assert ended.code == 0, ended.printed


@pytest.mark.patient
def test_the_fixture_in_a_project_of_its_own(tmp_path):
    """Installed, the package offers the fixture by both names to any test, without a conftest."""
    (tmp_path / "test_shop.py").write_text(
        "import otel_studio as studio\n"
        "@studio.track('pay', service='shop')\n"
        "def pay(): return 1\n"
        "def test_one(isolated_studio, otel_studio):\n"
        "    pay()\n"
        "    assert otel_studio is isolated_studio\n"
        "    isolated_studio.assert_operation('shop', 'pay', count=1, outcome='ok')\n"
        "def test_two(otel_studio):\n"
        "    pay()\n"
        "    otel_studio.assert_operation('shop', 'pay', count=1)\n"
    )
    ended = run_pytest(tmp_path, "test_shop.py")
    assert ended.code == 0, ended.printed
    assert "2 passed" in ended.printed


@pytest.mark.patient
def test_a_failed_assertion_shows_the_line_of_the_test(tmp_path):
    """Whatever differs, pytest prints the test's own source and none of the package's."""
    (tmp_path / "test_shop.py").write_text(
        "import otel_studio as studio\n"
        "def test_count(isolated_studio):\n"
        "    studio.service('shop').record_operation('pay', duration=1)\n"
        "    isolated_studio.assert_operation('shop', 'pay', count=2)\n"
        "def test_parent(isolated_studio):\n"
        "    studio.service('shop').record_operation('pay', duration=1)\n"
        "    isolated_studio.assert_operation('shop', 'pay', parent='order')\n"
        "def test_name(isolated_studio):\n"
        "    isolated_studio.operation('shop', 'pay')\n"
    )
    ended = run_pytest(tmp_path, "test_shop.py")
    assert "3 failed" in ended.printed
    assert "isolation.py" not in ended.printed
    assert ">       isolated_studio.assert_operation('shop', 'pay', count=2)" in ended.printed
