"""No request is larger than a receiver takes, whatever it holds; a giant costs only itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_studio.base import guard
from otel_studio.exporters._otlp_splitting import split
from otlp_batches import batch_of, built, numbers_of
from otlp_receiver import SIGNALS, Receiver, items_in

PROTOCOLS = ("http/protobuf", "grpc")
MIB = 1 << 20
ENCODE: dict[str, Any] = {"traces": encode_spans, "metrics": encode_metrics, "logs": encode_logs}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    guard.forget_said()
    yield
    guard.forget_said()


@pytest.fixture
def receiver_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start receivers, and have exporters send to the last of them."""
    started: list[Receiver] = []

    def start(protocol: str, limit: int = 4 * MIB) -> Receiver:
        started.append(Receiver(protocol, limit))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", started[-1].endpoint)
        return started[-1]

    yield start
    for receiver in started:
        receiver.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_large_batch_arrives_in_several_requests(
    receiver_of: Any, signal: str, protocol: str
) -> None:
    """10 MB of items reach a receiver that takes 4 MiB, each once and in their order."""
    receiver = receiver_of(protocol)
    exporter = built(signal, protocol)
    delivery = exporter.deliver(batch_of(signal, [5_000] * 2_000))
    exporter.shutdown()
    assert (delivery.sent, dict(delivery.lost)) == (2_000, {})
    assert numbers_of(receiver.items(signal)) == list(range(2_000))
    assert len(receiver.sizes) == 3
    assert max(receiver.sizes) <= 4 * MIB


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_small_batch_is_one_request(receiver_of: Any, signal: str, protocol: str) -> None:
    """What fits is not split, up to the last byte."""
    receiver = receiver_of(protocol)
    exporter = built(signal, protocol)
    exporter.export(batch_of(signal, [1_000] * 100))
    exporter.shutdown()
    assert len(receiver.sizes) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_an_item_that_no_receiver_takes_costs_itself(
    receiver_of: Any, signal: str, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and said once; the others, before and behind it, arrive; nothing is retried."""
    receiver = receiver_of(protocol)
    exporter = built(signal, protocol)
    for _ in range(2):
        delivery = exporter.deliver(batch_of(signal, [1_000, 1_000, 5 * MIB, 1_000]))
        assert (delivery.sent, dict(delivery.lost)) == (3, {"too_large": 1})
    exporter.shutdown()
    assert numbers_of(receiver.items(signal)) == [0, 1, 3] * 2
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "takes 5.2 MB, which is more than the receiver takes" in said[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_receiver_that_takes_less_is_sent_less(
    receiver_of: Any, signal: str, protocol: str
) -> None:
    """One that refuses a request as too large gets it in parts, and smaller ones from then on."""
    receiver = receiver_of(protocol, MIB)
    exporter = built(signal, protocol)
    assert exporter.deliver(batch_of(signal, [5_000] * 600)).sent == 600
    assert numbers_of(receiver.items(signal)) == list(range(600))
    receiver.sizes.clear()
    assert exporter.deliver(batch_of(signal, [5_000] * 600)).sent == 600
    assert max(receiver.sizes) <= MIB
    exporter.shutdown()


@pytest.mark.parametrize("signal", SIGNALS)
@given(
    sizes=st.lists(st.integers(0, 3_000), min_size=1, max_size=30),
    limit=st.integers(300, 9_000),
)
def test_parts_are_the_whole(signal: str, sizes: list[int], limit: int) -> None:
    """Nothing is lost, doubled or moved; a part is within the limit, or one item alone."""
    request = ENCODE[signal](batch_of(signal, sizes))
    parts = split(request, limit)
    whole = type(request)()
    for part, count in parts:
        assert len(items_in(part)) == count > 0
        assert part.ByteSize() <= limit or count == 1
        assert _frames(part) == _frames(request)
        whole.MergeFrom(part)
    assert [i.SerializeToString() for i in items_in(whole)] == [
        i.SerializeToString() for i in items_in(request)
    ]


def _frames(request: Any) -> Any:
    """Return what stands around the items: resource, scope, and the metric's own fields."""
    bare = type(request)()
    bare.CopyFrom(request)
    [resource] = bare.ListFields()[0][1]
    [scope] = resource.ListFields()[-1][1]
    if hasattr(scope, "metrics"):
        [metric] = scope.metrics
        del metric.histogram.data_points[:]
    else:
        field = "spans" if hasattr(scope, "spans") else "log_records"
        scope.ClearField(field)
    return bare.SerializeToString(deterministic=True)


def test_metrics_of_every_kind_are_split() -> None:
    """Sums and gauges keep their temporality and whether they only rise; scopes stay apart."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    for scope in ("a", "b"):
        meter = provider.get_meter(scope)
        counter, gauge = meter.create_counter("count"), meter.create_gauge("level")
        for number in range(20):
            counter.add(1, {"number": number})
            gauge.set(number, {"number": number})
    request = encode_metrics(reader.get_metrics_data())
    seen = []
    for part, _ in split(request, 600):
        for resource in part.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    seen += [(scope.scope.name, metric.name, p.SerializeToString()) for p in points]
                    if metric.name == "count":
                        assert metric.sum.is_monotonic
                        assert metric.sum.aggregation_temporality == 2
    assert len(seen) == len(set(seen)) == 80
    provider.shutdown()


def test_the_order_of_a_span_that_cannot_be_encoded(
    receiver_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A span without a form in OTLP is left out and counted, not told to have been sent."""
    receiver = receiver_of("http/protobuf")
    caplog.set_level(logging.CRITICAL)
    exporter = built("traces", "http/protobuf")
    batch = batch_of("traces", [10, 10, 10])
    batch[1]._start_time = -1
    delivery = exporter.deliver(batch)
    exporter.shutdown()
    assert (delivery.sent, dict(delivery.lost)) == (2, {"unencodable": 1})
    assert numbers_of(receiver.items("traces")) == [0, 2]
