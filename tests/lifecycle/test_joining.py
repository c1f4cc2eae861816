"""The program sets its own SDK after us: its telemetry is as without us, and ours is there, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otlp_receiver import Receiver

from parts import need
from program import Ended, run_program

OWN_SDK = """
    import json, logging
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    early_tracer = trace.get_tracer("early")
    early_meter = metrics.get_meter("early")
    early_counter = early_meter.create_counter("early")
"""
SET = """
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader(PREFERRED)
    resource = Resource.create({"service.name": "own"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader], resource=resource))
"""
TELL = """
    def points():
        data = reader.get_metrics_data()
        found = [
            (m.name, sum(getattr(p, "value", None) or getattr(p, "count", 0)
                         for p in m.data.data_points))
            for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics
        ]
        assert len(dict(found)) == len(found), found
        return dict(found)

    spans = exporter.get_finished_spans()
    print(json.dumps({
        "spans": [s.name for s in spans],
        "services": sorted({s.resource.attributes["service.name"] for s in spans}),
        "parents": {s.name: s.parent and s.parent.span_id for s in spans},
        "ids": {s.name: s.context.span_id for s in spans},
        "points": {name: value for name, value in points().items()
                   if name in ("early", "between", "late", "otel_studio.operation.duration")},
        "level": points().get("level"),
        "again": (again := points()).get("otel_studio.operation.duration"),
        "between again": again.get("between"),
        "level again": again.get("level"),
        "counted": {
            f"{each.service_name}.{name}": one.count
            for each in otel_studio.api.get_all_metrics()
            for name, one in each.operation_metrics.items()
        },
    }))
"""


def _told(folder: Path, *parts: str, preferred: str = "{}", **options: Any) -> dict[str, Any]:
    ended = _run(folder, *parts, preferred=preferred, **options)
    assert ended.code == 0, ended.logged
    [line] = [line for line in ended.printed.splitlines() if line.startswith('{"spans"')]
    told: dict[str, Any] = json.loads(line)
    return {**told, "logged": ended.logged}


def _run(folder: Path, *parts: str, preferred: str = "{}", **options: Any) -> Ended:
    source = "\n".join(line.removeprefix("    ") for line in "".join(parts).splitlines())
    return run_program(folder, source.replace("PREFERRED", preferred), **options)


USE = """
    late_counter = metrics.get_meter("late").create_counter("late")

    @otel_studio.track("work", service="jobs")
    def work():
        with early_tracer.start_as_current_span("early inside"):
            pass

    with trace.get_tracer("late").start_as_current_span("root"):
        work()
    with between.start_as_current_span("between"):
        pass
    decorated()
    early_counter.add(1)
    between_counter.add(1)
    late_counter.add(1)
"""
BEFORE = """
    import otel_studio
    logging.basicConfig(level="INFO")
    otel_studio.configure(service_name="ours")
    between = trace.get_tracer("between")
    between_counter = metrics.get_meter("between").create_counter("between")
    early_counter.add(2)
    between_counter.add(2)

    @between.start_as_current_span("decorated")
    def decorated():
        pass

    with otel_studio.service("jobs").operation("first"):
        pass
    goes_on = otel_studio.service("jobs").start_operation("goes on")
"""
LEVEL = f"""{BEFORE}
    level = metrics.get_meter("between").create_up_down_counter("level")
    level.add(4)
"""
CUMULATIVE = "{}"
DELTA = """{k: __import__("opentelemetry.sdk.metrics.export", fromlist=["x"])
    .AggregationTemporality.DELTA for k in (
        __import__("opentelemetry.sdk.metrics", fromlist=["x"]).Counter,
        __import__("opentelemetry.sdk.metrics", fromlist=["x"]).Histogram)}""".replace("\n", " ")


def test_a_later_sdk_is_joined(tmp_path: Path) -> None:
    """Its exporters get every span and metric, those of tracers and meters made before, too."""
    told = _told(tmp_path, OWN_SDK, BEFORE, SET, USE, "\n    goes_on.complete()\n", TELL)

    assert told["spans"] == ["early inside", "work", "root", "between", "decorated"]
    assert told["services"] == ["own"]
    assert told["parents"]["work"] == told["ids"]["root"]
    assert told["parents"]["early inside"] == told["ids"]["work"]
    assert told["points"] == {
        "early": 3,
        "between": 3,
        "late": 1,
        "otel_studio.operation.duration": 7,
    }
    assert told["counted"] == {
        "jobs.first": 1,
        "jobs.goes on": 1,
        "jobs.work": 1,
        "early.early inside": 1,
        "late.root": 1,
        "between.between": 1,
        "between.decorated": 1,
    }
    assert told["logged"].count("has joined it") == 2
    assert "Overriding" not in told["logged"]


def test_deltas_are_told_once(tmp_path: Path) -> None:
    """All of them from the beginning on, for nobody has been told before; a level stays one."""
    told = _told(
        tmp_path, OWN_SDK, LEVEL, SET, USE, "\n    goes_on.complete()\n", TELL, preferred=DELTA
    )
    assert told["points"]["between"] == 3
    assert told["points"]["otel_studio.operation.duration"] == 7
    assert (told["again"], told["between again"]) == (None, None)
    assert (told["level"], told["level again"]) == (4, 4)


def test_what_our_exporter_has_told_is_not_told_again(tmp_path: Path) -> None:
    """Where we had one, deltas count from the joining on."""
    with_exporter = LEVEL.replace(
        'service_name="ours"', 'service_name="ours", metrics_exporter="console"'
    )
    told = _told(
        tmp_path,
        OWN_SDK,
        with_exporter,
        SET,
        USE,
        "\n    goes_on.complete()\n",
        TELL,
        preferred=DELTA,
    )
    assert (told["points"]["between"], told["level"]) == (1, 4)


def test_a_second_one_is_refused_as_ever(tmp_path: Path) -> None:
    """By OpenTelemetry's own words."""
    again = """
    trace.set_tracer_provider(TracerProvider())
    metrics.set_meter_provider(MeterProvider())
    assert trace.get_tracer_provider() is provider
    """
    told = _told(tmp_path, OWN_SDK, BEFORE, SET, again, USE, TELL)
    assert "root" in told["spans"]
    assert told["logged"].count("is not allowed") == 2


def test_one_that_takes_no_processors_is_left_alone(tmp_path: Path) -> None:
    """We stand back and say so; operations are counted all the same."""
    odd = """
    class Odd(trace.NoOpTracerProvider):
        pass

    trace.set_tracer_provider(Odd())
    assert isinstance(trace.get_tracer_provider(), Odd)
    with otel_studio.service("jobs").operation("work"):
        pass
    print(json.dumps(otel_studio.api.get_service_metrics("jobs").total_operations))
    """
    ended = _run(tmp_path, OWN_SDK, BEFORE, odd)
    assert ended.code == 0, ended.logged
    assert json.loads(ended.printed.splitlines()[-1]) == 2
    assert "OTel Studio stands back" in ended.logged


def test_exporters_of_ours_are_said_to_be_unused(tmp_path: Path) -> None:
    """What waited in them arrives; what comes later is the other provider's affair, once."""
    receiver = Receiver("http/protobuf")
    with_exporter = BEFORE.replace(
        'service_name="ours"', 'service_name="ours", traces_exporter="otlp", sampler="always_on"'
    )
    told = _told(
        tmp_path,
        OWN_SDK,
        with_exporter,
        SET,
        USE,
        "\n    goes_on.complete()\n",
        TELL,
        "\n    otel_studio.shutdown()\n",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )
    receiver.stop()
    assert [span.name for span in receiver.items("traces")] == ["first"]
    assert "root" in told["spans"]
    assert "traces_exporter=otlp is not used" in told["logged"]


@pytest.mark.parametrize("asks", [True, False], ids=["with variables", "without"])
def test_zero_code_on_a_program_with_its_own_sdk(tmp_path: Path, asks: bool) -> None:
    """Its exporters get what they get without us, and the registry counts it."""
    variables = {"OTEL_PYTHON_DISTRO": "otel_studio", "OTEL_PYTHON_CONFIGURATOR": "otel_studio"}
    if asks:
        variables |= {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none"}
    use = """
    import otel_studio
    with trace.get_tracer("late").start_as_current_span("root"):
        pass
    with early_tracer.start_as_current_span("early"):
        pass
    early_counter.add(1)
    """
    told = _told(
        tmp_path, OWN_SDK, SET, use, TELL, before=[need("opentelemetry-instrument")], **variables
    )
    assert told["spans"] == ["root", "early"]
    assert told["services"] == ["own"]
    assert told["points"]["early"] == 1
    # The program's threads, too: the package for executors is on.
    counted = {key: count for key, count in told["counted"].items() if "executors" not in key}
    assert counted == {"late.root": 1, "early.early": 1}


def test_a_fork_after_the_joining(tmp_path: Path) -> None:
    """The child counts from zero, by the program's provider."""
    fork = """
    import os
    goes_on.complete()
    child = os.fork()
    if not child:
        with otel_studio.service("jobs").operation("in the child"):
            pass
        counted = otel_studio.api.get_service_metrics("jobs").operation_metrics
        os._exit(0 if list(counted) == ["in the child"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """
    told = _told(tmp_path, OWN_SDK, BEFORE, SET, USE, fork, TELL)
    assert told["counted"]["jobs.work"] == 1


def test_instruments_made_before_any_provider_count_with_ours(tmp_path: Path) -> None:
    """A meter that a module has got at its import is no reason to lose what it counts."""
    body = """
    import otel_studio
    otel_studio.configure(service_name="ours")
    early_counter.add(3)
    text = otel_studio.api.export_metrics_prometheus()
    print(json.dumps([line.split()[-1] for line in text.splitlines()
                      if line.startswith("early_total{")]))
    """
    ended = _run(tmp_path, OWN_SDK, body)
    assert ended.code == 0, ended.logged
    assert json.loads(ended.printed) == ["3.0"]


def test_records_join_their_runs_after_it(tmp_path: Path) -> None:
    """Of the other provider's spans, as where it was there before us."""
    body = """
    goes_on.complete()
    kept = []
    with otel_studio.service("jobs").operation("work"):
        logging.getLogger("jobs").warning("inside")
    counts = otel_studio.api.get_log_counts()
    print(json.dumps([[c.service, c.operation, c.count] for c in counts]))
    """
    logged = BEFORE.replace('service_name="ours"', 'service_name="ours", logging=True')
    ended = _run(tmp_path, OWN_SDK, logged, SET, body)
    assert ended.code == 0, ended.logged
    assert ["jobs", "work", 1] in json.loads(ended.printed.splitlines()[-1])
