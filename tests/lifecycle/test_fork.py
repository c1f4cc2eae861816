"""A forked child starts from zero, with live threads and an identity of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
import warnings

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

import otel_studio
from forked import in_forked_child
from otel_studio import api
from otel_studio.base import guard, otel_private
from otel_studio.spans.export import ExportQueue

from both_providers import PROVIDERS
from parts import need, wait_until
from program import run_program

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch, tmp_path):
    """Each test configures the process anew, and leaves nothing of it behind."""
    before = otel_private.global_tracer_provider(), otel_private.global_meter_provider()
    otel_private.replace_global_tracer_provider(None)
    otel_private.replace_global_meter_provider(None)
    monkeypatch.chdir(tmp_path)
    guard.forget_said()
    yield
    otel_studio.shutdown()
    otel_private.replace_global_tracer_provider(before[0])
    otel_private.replace_global_meter_provider(before[1])


@pytest.fixture(params=PROVIDERS)
def studio(request):
    """A configured Studio, on our providers and on the SDK's."""
    providers = []
    if request.param == "sdk":
        providers = [
            TracerProvider(shutdown_on_exit=False),
            MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False),
        ]
        otel_private.replace_global_tracer_provider(providers[0])
        otel_private.replace_global_meter_provider(providers[1])
    yield otel_studio.configure()
    for provider in providers:
        provider.shutdown()


def run(times: int) -> None:
    for _ in range(times):
        with otel_studio.service("cache").operation("get"):
            pass


def counts() -> dict[str, int]:
    return {
        name: m.count
        for s in api.get_all_metrics()
        if s.service_name == "cache"
        for name, m in s.operation_metrics.items()
    }


def test_the_child_starts_from_zero_and_the_parent_goes_on(studio):
    """Nothing is counted twice: each counts its own; what was not yet folded is the parent's."""
    run(5)

    def child():
        before = counts()
        run(3)
        with pytest.raises(ValueError, match="no"), otel_studio.service("cache").operation("fail"):
            raise ValueError("no")
        return [before, counts(), api.get_error_statistics().total_errors]

    assert in_forked_child(child) == [{}, {"get": 3, "fail": 1}, 1]
    run(2)
    assert counts() == {"get": 7}
    assert api.get_error_statistics().total_errors == 0


def test_what_runs_at_the_fork_is_the_parents(studio):
    """In the child the inherited run is not active, and its end there counts nothing."""
    operation = otel_studio.service("cache").operation("fork")
    tracker = otel_studio.service("cache").start_operation("tracked")
    with operation:

        def child():
            active = api.get_active_operations_count().total
            operation.__exit__(None, None, None)
            tracker.complete()
            run(1)
            return [active, counts(), api.get_active_operations_count().total]

        active, ended, left = in_forked_child(child)
        assert (active, left) == (0, 0)
        assert ended["get"] == 1
        assert api.get_active_operations_count().total == 2
    tracker.complete()
    assert counts() == {"fork": 1, "tracked": 1}


def test_a_child_of_a_child(studio):
    """Each generation starts from zero."""
    run(1)

    def child():
        run(2)

        def grandchild():
            run(3)
            return counts()

        return [in_forked_child(grandchild), counts()]

    assert in_forked_child(child) == [{"get": 3}, {"get": 2}]


def test_the_childs_threads_live(studio):
    """The thread that folds runs in the child too, from the first operation there on."""

    def child():
        before = [t.name for t in threading.enumerate() if t.name.startswith("otel-studio")]
        otel_studio.service("child").record_operation("work", duration=0)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            names = [t.name for t in threading.enumerate()]
            if "otel-studio-fold" in names:
                return before, True
            time.sleep(0.01)
        return before, False

    assert in_forked_child(child) == [[], True]


def test_a_child_makes_instruments_where_a_thread_of_the_parent_was_making_one():
    """The SDK's lock that such a thread holds at the fork is free in the child."""
    studio = otel_studio.configure()
    meter = studio.meter_provider.get_meter("app")
    held, done = threading.Event(), threading.Event()

    def make():
        with meter._instrument_registration_lock:
            held.set()
            done.wait(30)

    making = threading.Thread(target=make)
    making.start()
    held.wait(10)

    def child():
        meter.create_counter("orders").add(1)
        return "made"

    try:
        assert in_forked_child(child) == "made"
    finally:
        done.set()
        making.join()


def test_the_child_has_an_instance_id_of_its_own():
    """Spans and metrics of the child carry the same new id, and the parent keeps its own."""
    studio = otel_studio.configure()

    def ids():
        key = "service.instance.id"
        return [
            studio.tracer_provider.resource.attributes.get(key),
            studio.meter_provider._sdk_config.resource.attributes.get(key),
            studio.resource.attributes.get(key),
        ]

    parents = ids()
    first, second = in_forked_child(ids), in_forked_child(ids)
    assert len(set(first)) == len(set(second)) == 1
    assert len({*parents, *first, *second}) == 3
    assert ids() == parents


def test_an_instance_id_that_the_user_chose_is_kept(monkeypatch):
    """By keyword or by `OTEL_RESOURCE_ATTRIBUTES`."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-7,zone=a")
    studio = otel_studio.configure()

    def attributes():
        return [
            dict(studio.tracer_provider.resource.attributes),
            dict(studio.meter_provider._sdk_config.resource.attributes),
        ]

    for found in in_forked_child(attributes):
        assert found["service.instance.id"] == "pod-7"
        assert found["zone"] == "a"


def test_metrics_of_the_child_start_from_zero():
    """The registry's points, and the counters of anybody's instruments on our MeterProvider."""
    studio = otel_studio.configure()
    studio.prometheus_text()  # from here on it collects
    counter = metrics.get_meter("mine").create_counter("mine")
    counter.add(100)
    run(5)

    def collected():
        run(1)
        counter.add(1)
        text = studio.prometheus_text()
        return [
            line.rpartition(" ")[2]
            for line in text.splitlines()
            if line.startswith(("mine_total", "otel_studio_operation_duration_seconds_count"))
        ]

    collected()
    for value in in_forked_child(collected):
        assert float(value) == 1
    assert sorted(map(float, collected())) == [7, 102]


class Kept:
    """An exporter that keeps what it is given, by process."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def export(self, spans):
        self.names += [span.name for span in spans]

    def shutdown(self): ...


def test_what_waits_for_export_is_sent_by_the_parent_alone():
    """The child's queue starts empty, and the child's own spans are sent by the child."""
    studio = otel_studio.configure(export_interval=60)
    queue: ExportQueue = studio.add_span_exporter(Kept())
    run(5)
    studio._ended.fold()

    def child():
        with otel_studio.service("cache").operation("of the child"):
            pass
        studio.force_flush()
        return queue.exporter.names

    assert in_forked_child(child) == ["of the child"]
    studio.force_flush()
    assert queue.exporter.names == ["get"] * 5


def test_exporters_are_made_anew_in_the_child():
    """A connection shared with the parent would mix the bytes of both."""
    studio = otel_studio.configure(traces_exporter=("otlp",), metrics_exporter=("otlp",))
    [queue] = studio.export_queues
    exporters = [queue.exporter, *studio._metrics.exporters]

    def child():
        own = [queue.exporter, *studio._metrics.exporters]
        return [new is not old for new, old in zip(own, exporters, strict=True)]

    assert in_forked_child(child) == [True, True]
    assert [queue.exporter, *studio._metrics.exporters] == exporters


def test_the_parents_endpoint_is_not_the_childs():
    """`/metrics` is served by the parent; the child closes its copy of the socket."""
    studio = otel_studio.configure(metrics_exporter=("prometheus",), prometheus_port=0)
    address = studio.prometheus.address
    assert in_forked_child(lambda: studio.prometheus.address) is None
    assert studio.prometheus.address == address


@pytest.mark.parametrize("seconds", [0.2, 3])
def test_a_fork_during_a_collection_does_not_hang(seconds):
    """Neither the fork nor the child's own collection waits for ever, however long it takes."""
    collecting, go_on = threading.Event(), threading.Event()

    def slow(_options):
        collecting.set()
        go_on.wait(seconds)
        yield Observation(1)

    reader = InMemoryMetricReader()
    studio = otel_studio.Studio(
        otel_studio.configure(metrics_exporter=()).settings, metric_readers=[reader]
    )
    try:
        studio.meter_provider.get_meter("mine").create_observable_gauge("slow", [slow])
        thread = threading.Thread(target=reader.collect)
        thread.start()
        assert collecting.wait(10)

        def child():
            go_on.set()
            reader.collect()
            data = reader.get_metrics_data()
            return [
                m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics
            ]

        assert "slow" in in_forked_child(child)
        go_on.set()
        thread.join(10)
        assert not thread.is_alive()
    finally:
        studio.shutdown()


def test_a_fork_while_every_thread_is_busy(studio):
    """Children forked in the middle of operations, folds and queries count exactly their own."""
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            run(10)
            api.get_all_metrics()

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:

        def child():
            run(100)
            return counts()

        for _ in range(10):
            assert in_forked_child(child) == {"get": 100}
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert api.get_active_operations_count().total == 0


def _of_the_pool(number: int) -> dict[str, int]:
    run(number)
    return counts()


def test_multiprocessing_workers(studio):
    """`multiprocessing` with the fork method: every worker counts its own, and ends."""
    run(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.map(_of_the_pool, [2]) == [{"get": 2}]
            assert pool.map(_of_the_pool, [3]) == [{"get": 5}]
    assert counts() == {"get": 5}


def test_a_forked_child_that_exits_sends_its_own(tmp_path):
    """Parent and child each print the spans that they ended, once."""
    ended = run_program(
        tmp_path,
        """
        import os, sys
        import otel_studio
        otel_studio.configure(traces_exporter=("console",))
        work = otel_studio.service("cache")
        with work.operation("before"):
            pass
        child = os.fork()
        with work.operation("child" if child == 0 else "parent"):
            pass
        if child:
            os.waitpid(child, 0)
        """,
    )
    assert ended.code == 0, ended.logged
    for name in ("before", "child", "parent"):
        assert ended.printed.count(f'"name": "{name}"') == 1
    assert "Traceback" not in ended.logged


APPLICATION = """
import json, os
import otel_studio

otel_studio.configure(service_name="shop")
with otel_studio.service("shop").operation("load"):
    pass

def application(environ, start_response):
    with otel_studio.service("shop").operation("request"):
        pass
    found = otel_studio.api.get_service_metrics("shop")
    answer = json.dumps([
        os.getpid(),
        otel_studio.current().resource.attributes["service.instance.id"],
        {name: m.count for name, m in found.operation_metrics.items()},
    ]).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [answer]
"""


def test_gunicorn_workers_that_were_preloaded(tmp_path):
    """`gunicorn --preload`: configured once, every worker counts its own under its own id."""
    from child_process import ChildProcess, answers, http_get
    from parts import free_port

    gunicorn = need("gunicorn")
    (tmp_path / "shop_app.py").write_text(APPLICATION)

    class Gunicorn(ChildProcess):
        def choose_ports(self):
            self.port = free_port()

        def command(self):
            address = f"127.0.0.1:{self.port}"
            return [
                gunicorn,
                "--preload",
                "--workers",
                "2",
                "--bind",
                address,
                "shop_app:application",
            ]

        def is_ready(self):
            return answers(self.port, "/")

    with Gunicorn(tmp_path, "gunicorn") as server:
        seen: dict[int, list] = {}

        def both_have_answered() -> bool:
            pid, instance, found = json.loads(http_get(server.port, "/")[1])
            before = seen.get(pid, [instance, 0])
            assert before[0] == instance
            assert "load" not in found
            assert found["request"] > before[1]
            seen[pid] = [instance, found["request"]]
            return len(seen) == 2

        wait_until(both_have_answered, 20, "both workers to answer")
        assert len({instance for instance, _ in seen.values()}) == 2
    assert "Traceback" not in server.log()


def test_tracing_without_configure_is_not_disturbed(tmp_path):
    """A program that only decorates forks as before."""
    ended = run_program(
        tmp_path,
        """
        import os
        import otel_studio
        @otel_studio.track
        def work(): return 1
        work()
        child = os.fork()
        work()
        if child:
            print(os.waitpid(child, 0)[1])
        """,
    )
    assert ended.printed == "0\n", ended.logged
    assert trace.get_tracer_provider() is not None
