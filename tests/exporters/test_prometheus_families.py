"""Instruments that OpenTelemetry's reader cannot write rightly, written rightly."""

from __future__ import annotations

import math
import os
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import _mapping
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from forked import in_forked_child
from otel_studio.base import figures, guard, locks
from otel_studio.exporters.prometheus.families import agreeing
from otel_studio.exporters.prometheus.names import FamilyNames
from otel_studio.exporters.prometheus.reader import InstrumentText

from prometheus_server import promtool_says

CUMULATIVE = AggregationTemporality.CUMULATIVE


class Instruments:
    def __init__(self, *views: View) -> None:
        self.written = InstrumentText()
        self.provider = MeterProvider([self.written.reader], views=views, shutdown_on_exit=False)

    def samples(self) -> dict[tuple[str, frozenset[Any]], float]:
        families = text_string_to_metric_families(self.written.text(openmetrics=False))
        return {
            (sample.name, frozenset(self.own(sample.labels))): sample.value
            for family in families
            for sample in family.samples
        }

    @staticmethod
    def own(labels: dict[str, str]) -> list[tuple[str, str]]:
        return [
            (name, value)
            for name, value in labels.items()
            if value and not name.startswith("otel_scope_")
        ]


def exponential(values: list[float]) -> tuple[Instruments, list[tuple[float, float]]]:
    made = Instruments(
        View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())
    )
    histogram = made.provider.get_meter("app").create_histogram("size")
    for value in values:
        histogram.record(value)
    buckets = [
        (float(dict(labels)["le"]), count)
        for (name, labels), count in made.samples().items()
        if name == "size_bucket"
    ]
    return made, sorted(buckets)


@given(
    st.lists(
        st.just(0) | st.floats(0, 1e12) | st.floats(0, allow_infinity=False),
        min_size=1,
        max_size=30,
    )
)
def test_an_exponential_histogram_is_written_with_its_own_bounds(values: list[float]) -> None:
    """Under each bound stand as many as are no greater, but for the rounding of the bound."""
    _, buckets = exponential(values)
    # The SDK puts what is smaller than a normal float where the smallest one is.
    values = [max(value, sys.float_info.min) if value else 0 for value in values]
    assert buckets[-1] == (math.inf, len(values))
    for bound, count in buckets[:-1]:
        assert sum(value <= bound * (1 - 1e-9) for value in values) <= count
        assert sum(value <= bound * (1 + 1e-9) for value in values) >= count


def test_a_histogram_with_negative_values_is_readable() -> None:
    """Bounds rise from below zero on; each bucket's lower end is a bound too."""
    point = ExponentialHistogramDataPoint(
        {}, 1, 2, 9, 0.0, 0, 3, Buckets(0, [0, 1, 0]), Buckets(0, [1, 0, 4]), 0, -8.0, 4.0
    )
    data = ExponentialHistogram([point], AggregationTemporality.CUMULATIVE)
    metric = Metric("size", "", "", data)
    scope = ScopeMetrics(InstrumentationScope("app"), [metric], "")
    data = MetricsData([ResourceMetrics(Resource({}), [scope], "")])
    [resource] = agreeing(data, FamilyNames()).resource_metrics
    [made] = resource.scope_metrics[0].metrics[0].data.data_points
    assert isinstance(made, HistogramDataPoint)
    assert made.explicit_bounds == [-8, -4, -2, -1, 0, 2, 4]
    assert made.bucket_counts == [0, 4, 0, 1, 3, 0, 1, 0]


def test_the_program_has_an_exponential_histogram_and_the_scrape_goes_on() -> None:
    """All other instruments are there, and those without values harm nothing."""
    made, _ = exponential([1.0])
    made.provider.get_meter("app").create_counter("sold").add(2)
    assert made.samples()["sold_total", frozenset()] == 2
    assert made.samples()["size_count", frozenset()] == 1


def test_a_name_in_two_scopes_keeps_its_labels() -> None:
    """Each value stands under the attributes that it was recorded with."""
    made = Instruments()
    one, two = made.provider.get_meter("one"), made.provider.get_meter("two")
    one.create_counter("jobs").add(1, {"queue": "mail"})
    two.create_counter("jobs").add(2, {"host": "a", "zone": "b"})
    two.create_counter("jobs").add(3, {"host": "c"})
    one.create_gauge("depth", unit="s").set(4, {"a": "x"})
    two.create_gauge("depth_seconds").set(5, {"b": "y"})
    one.create_histogram("wait").record(1, {"c": "x"})
    two.create_histogram("wait").record(1, {"d": "y"})
    found = made.samples()
    assert found["jobs_total", frozenset({("queue", "mail")})] == 1
    assert found["jobs_total", frozenset({("host", "a"), ("zone", "b")})] == 2
    assert found["jobs_total", frozenset({("host", "c")})] == 3
    assert found["depth_seconds", frozenset({("a", "x")})] == 4
    assert found["depth_seconds", frozenset({("b", "y")})] == 5
    assert found["wait_count", frozenset({("c", "x")})] == 1
    assert found["wait_count", frozenset({("d", "y")})] == 1


def test_a_scope_with_attributes_keeps_its_labels() -> None:
    """The attributes of a scope are labels as those of a point are."""
    made = Instruments()
    made.provider.get_meter("one", attributes={"shard": "s1"}).create_counter("jobs").add(1)
    made.provider.get_meter("two").create_counter("jobs").add(2, {"a": "x"})
    text = made.written.text(openmetrics=False)
    [first] = [line for line in text.splitlines() if line.endswith(" 1.0") and "jobs_total" in line]
    assert 'otel_scope_shard="s1"' in first
    assert made.samples()["jobs_total", frozenset({("a", "x")})] == 2


def test_a_name_is_described_once() -> None:
    """Two scopes that describe a name differently make one `HELP`; promtool has no complaint."""
    made = Instruments()
    made.provider.get_meter("one").create_counter("jobs.done", description="By one.").add(1)
    made.provider.get_meter("two").create_counter("jobs.done", description="By another.").add(1)
    text = made.written.text(openmetrics=False)
    assert text.count("# HELP jobs_done_total") == text.count("# TYPE jobs_done_total") == 1
    assert not any("error" in line for line in promtool_says(text))


def test_a_scrape_reads_a_room_once() -> None:
    """The reading behind several instruments is taken once a collection, and anew in the next."""
    made = Instruments()
    taken: list[int] = []
    read = figures.once_in_a_collection(lambda: taken.append(1))
    meter = made.provider.get_meter("room")

    def observe(_options: Any) -> list[Observation]:
        read()
        return [Observation(len(taken))]

    for name in ("a", "b", "c"):
        meter.create_observable_gauge(name, callbacks=[observe])
    made.samples()
    assert len(taken) == 1
    assert made.samples()["c", frozenset()] == len(taken) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_threads_that_fork_at_once_stop_no_collection() -> None:
    """Each waits for a collection in progress; parent and children collect afterwards."""
    made = Instruments()
    made.provider.get_meter("app").create_counter("sold").add(1)
    assert locks.is_known(made.written._collecting)
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            made.written.text(openmetrics=False)

    def fork() -> None:
        for _ in range(3):
            locks.hold_for_fork()
            try:
                made.written.text(openmetrics=False)  # re-entrant on the thread that holds it
            finally:
                locks.release_in_parent()

    threads = [threading.Thread(target=scrape), *(threading.Thread(target=fork) for _ in range(3))]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join(30)
    stop.set()
    threads[0].join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert made.samples()["sold_total", frozenset()] == 1

    def child() -> bool:
        locks.renew_in_child()
        return "sold_total" in made.written.text(openmetrics=False)

    locks.hold_for_fork()
    try:
        assert in_forked_child(child)
    finally:
        locks.release_in_parent()


def test_the_readers_own_names_are_where_we_know_them() -> None:
    """`opentelemetry.exporter.prometheus._mapping` has what makes names, units and labels."""
    assert _mapping.sanitize_full_name("a.b") == "a_b"
    assert _mapping.sanitize_attribute("a.b") == "a_b"
    assert _mapping.map_unit("s") == "seconds"


def _both_texts(made: Instruments) -> list[str]:
    texts = [made.written.text(openmetrics=False), made.written.text(openmetrics=True)]
    assert promtool_says(texts[0]) == []
    list(openmetrics_parser.text_string_to_metric_families(texts[1]))
    return texts


def test_two_attributes_of_one_label_share_it(caplog: pytest.LogCaptureFixture) -> None:
    """Both values are there, a point is there once, and it is said once."""
    guard.forget_said()
    made = Instruments()
    counter = made.provider.get_meter("app").create_counter("jobs", description="done")
    counter.add(1, {"a.b": "x", "a_b": "y", "c": "z"})
    counter.add(2, {"a.b": "x"})
    counter.add(4, {"a_b": "x"})
    _both_texts(made)

    assert made.samples() == {
        ("jobs_total", frozenset({("a_b", "x;y"), ("c", "z")})): 1,
        ("jobs_total", frozenset({("a_b", "x")})): 6,
        ("target_info", frozenset(made.own(_target(made)))): 1,
    }
    assert caplog.text.count("are one label for Prometheus") == 1


def _target(made: Instruments) -> dict[str, str]:
    families = text_string_to_metric_families(made.written.text(openmetrics=False))
    [target] = [s for family in families for s in family.samples if s.name == "target_info"]
    return target.labels


def test_an_attribute_named_like_a_label_with_a_meaning_keeps_its_value() -> None:
    """`le` of buckets, and the scope's labels."""
    made = Instruments()
    meter = made.provider.get_meter("app", "7")
    meter.create_histogram("size", description="of a job").record(
        3, {"le": "mine", "otel.scope.name": "other"}
    )
    plain, _ = _both_texts(made)

    assert 'le="+Inf"' in plain
    assert 'le_="mine"' in plain
    assert 'otel_scope_name="app"' in plain
    assert 'otel_scope_name_="other"' in plain


def test_a_resource_whose_attributes_share_a_label_has_both() -> None:
    """On `target_info`."""
    written = InstrumentText()
    resource = Resource({"host.id": "a", "host_id": "b"})
    provider = MeterProvider([written.reader], resource=resource, shutdown_on_exit=False)
    provider.get_meter("app").create_counter("jobs").add(1)

    assert 'host_id="a;b"' in written.text(openmetrics=False)


def test_a_name_of_two_kinds_is_two_families(caplog: pytest.LogCaptureFixture) -> None:
    """The later ones have other names; what the operations' text writes is taken, too."""
    guard.forget_said()
    made = Instruments()
    meter, other = made.provider.get_meter("app"), made.provider.get_meter("other")
    meter.create_counter("jobs", description="done").add(1)
    other.create_up_down_counter("jobs", description="now").add(2)
    other.create_histogram("jobs", description="sizes").record(2)
    other.create_histogram("otel_studio.operation.duration", "s", "its own").record(3)
    plain, _ = _both_texts(made)

    assert "\njobs_total{" in plain
    assert "\njobs_other{" in plain
    assert "\notel_studio_operation_duration_other_seconds_sum{" in plain
    assert "\njobs_other_other_sum{" in plain
    assert caplog.text.count("rename one of the two instruments") == 3


def _sums(made: Instruments, name: str) -> list[float]:
    return sorted(value for (found, _), value in made.samples().items() if found == name)


def test_an_instrument_that_is_described_twice_is_one() -> None:
    """Its scope has it twice, as the SDK keeps both: one sample, with what both counted."""
    made = Instruments()
    meter = made.provider.get_meter("app")
    meter.create_counter("jobs", description="done").add(1, {"queue": "mail"})
    meter.create_counter("jobs", description="Done.").add(2, {"queue": "mail"})
    _both_texts(made)
    assert _sums(made, "jobs_total") == [3]


def test_two_instruments_of_one_scope_that_are_one_name_are_two_families() -> None:
    """No number is made up of `a.b` and `a_b`, and none takes the place of the other's."""
    made = Instruments()
    meter = made.provider.get_meter("app")
    for name in ("jobs.done", "jobs_done", "jobs_done_total"):
        meter.create_counter(name, description="done").add(1)
    for value, name in enumerate(("queue.depth", "queue_depth")):
        meter.create_observable_gauge(
            name, [lambda _options, now=value: [Observation(now)]], description="now"
        )
        meter.create_histogram(f"{name}.sizes", description="all").record(value)
    _both_texts(made)
    assert _sums(made, "jobs_done_total") == [1]
    assert _sums(made, "jobs_done_other_total") == [1]
    assert _sums(made, "jobs_done_other_other_total") == [1]
    assert (_sums(made, "queue_depth"), _sums(made, "queue_depth_other")) == ([0], [1])
    assert _sums(made, "queue_depth_sizes_other_sum") == [1]


def test_a_name_that_another_ones_samples_have_is_changed() -> None:
    """`_count`, `_sum`, `_bucket` of a histogram, `_total` of a counter, the target's own."""
    made = Instruments()
    meter = made.provider.get_meter("app")
    meter.create_histogram("jobs", description="sizes").record(1)
    meter.create_up_down_counter("jobs.count", description="now").add(7)
    meter.create_counter("sold", description="all").add(2)
    meter.create_up_down_counter("target.info", description="mine").add(8)
    meter.create_up_down_counter("otel_studio.operation.active", description="mine").add(9)
    texts = _both_texts(made)
    assert (_sums(made, "jobs_count"), _sums(made, "jobs_count_other")) == ([1], [7])
    assert _sums(made, "target_info_other") == [8]
    assert all("\notel_studio_operation_active_other{" in text for text in texts)

    meter.create_up_down_counter("sold_total", description="now").add(3)
    late = made.written.text(openmetrics=True)
    list(openmetrics_parser.text_string_to_metric_families(late))
    assert "\nsold_total{" in late
    assert "\nsold_total_other{" in late


def test_a_family_keeps_its_name() -> None:
    """Also where the one that was there before it is silent in a later text."""
    names, scope = FamilyNames(), ("app",)

    def metric(name: str, data: Any) -> Metric:
        return Metric(name, "", "", data)

    def name_of(one: Metric) -> str:
        return names.name_of(names.family_of(one, scope), "")

    gauge, counter = metric("jobs", Gauge([])), metric("jobs", Sum([], CUMULATIVE, True))
    assert [name_of(one) for one in (gauge, counter)] == ["jobs", "jobs_other_total"]
    assert [name_of(one) for one in (counter, gauge)] == ["jobs_other_total", "jobs"]


def test_the_attributes_of_a_scope_are_labels_of_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those that are one label, those named like the scope's own, and a point's beside them."""
    guard.forget_said()
    made = Instruments()
    attributes = {"a.b": "x", "a_b": "y", "name": "n", "version": "v"}
    meter = made.provider.get_meter("app", "7", attributes=attributes)
    meter.create_counter("jobs", description="done").add(1, {"otel.scope.a.b": "z"})
    plain, _ = _both_texts(made)
    for label in (
        'otel_scope_a_b="x;y"',
        'otel_scope_a_b_="z"',
        'otel_scope_name="app"',
        'otel_scope_name_="n"',
        'otel_scope_version_="v"',
    ):
        assert label in plain
    assert caplog.text.count("are one label for Prometheus") == 1


def test_values_that_are_one_text_are_one_sample() -> None:
    """`True` and `"true"` are different attributes and the same label."""
    made = Instruments()
    counter = made.provider.get_meter("app").create_counter("jobs", description="done")
    for value in (True, "true", 7, "7"):
        counter.add(1, {"a": value})
    _both_texts(made)
    assert _sums(made, "jobs_total") == [2, 2]


OF_SAMPLES = ["", ".done", "_done", "_total", ".count", "_sum", "_bucket", "_created", "_other"]
OF_UNITS = [".total.seconds", "_seconds_total", "_total_total"]
NAMES = st.sampled_from(["Jobs", "target", *(f"jobs{end}" for end in OF_SAMPLES + OF_UNITS)])
KEYS = st.sampled_from(["a", "a.b", "a_b", "le", "quantile", "job", "otel_scope_name", "1a", "é"])
ATTRIBUTES = st.dictionaries(KEYS, st.sampled_from(["x", "y", "", 1, True]), max_size=3)
ONE = st.tuples(
    st.sampled_from(["counter", "up_down_counter", "histogram", "gauge"]),
    NAMES,
    st.sampled_from(["", "s", "1", "By"]),
    st.sampled_from(["one", "other"]),
    st.sampled_from(["app", "lib"]),
    ATTRIBUTES,
)


@pytest.mark.patient
@given(st.lists(ONE, min_size=1, max_size=8))
def test_whatever_the_names_the_text_is_valid_and_whole(made_of: list[Any]) -> None:
    """Both formats are readable, no sample is there twice, and counts and sums add up."""
    made = Instruments()
    for kind, name, unit, description, scope, attributes in made_of:
        meter = made.provider.get_meter(scope)
        instrument = getattr(meter, f"create_{kind}")(name, unit, description)
        record = {"histogram": "record", "gauge": "set"}.get(kind, "add")
        getattr(instrument, record)(1, attributes)
    text = made.written.text(openmetrics=True)
    families = list(openmetrics_parser.text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    spelled = [(sample.name, frozenset(sample.labels.items())) for sample in samples]
    assert len(set(spelled)) == len(spelled)

    def total(kind: str, ending: str) -> float:
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if family.type == kind and sample.name.endswith(ending)
        )

    kinds = [kind for kind, *_ in made_of]
    assert total("counter", "_total") == kinds.count("counter")
    assert total("histogram", "_count") == kinds.count("histogram")
    assert total("histogram", "_sum") == kinds.count("histogram")
    if "gauge" not in kinds:
        assert total("gauge", "") == kinds.count("up_down_counter")
