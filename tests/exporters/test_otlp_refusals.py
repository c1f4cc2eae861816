"""What a receiver refuses, or answers with another address, is not told to have been sent."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

import otel_studio
from otel_studio.base import guard
from otlp_batches import batch_of, built
from otlp_receiver import SIGNALS, Receiver, partial_success

PROTOCOLS = ("http/protobuf", "grpc")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    guard.forget_said()
    yield
    otel_studio.shutdown(5)
    guard.forget_said()


@pytest.fixture
def receiver_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start receivers, and have exporters send to the last of them."""
    started: list[Receiver] = []

    def start(protocol: str) -> Receiver:
        started.append(Receiver(protocol))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", started[-1].endpoint)
        return started[-1]

    yield start
    for receiver in started:
        receiver.stop()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_refusal_in_part_is_counted_and_said_once(
    receiver_of: Any, signal: str, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The receiver's own words are in the one sentence; what it took is counted as sent."""
    receiver = receiver_of(protocol)
    receiver.answer = lambda signal: partial_success(signal, 3, "no quota")
    exporter = built(signal, protocol)
    for _ in range(2):
        delivery = exporter.deliver(batch_of(signal, [10] * 5))
        assert (delivery.sent, dict(delivery.lost)) == (2, {"rejected": 3})
    assert exporter.export(batch_of(signal, [10] * 5)).name == "FAILURE"
    exporter.shutdown()
    [sentence] = said(caplog)
    assert sentence.startswith("the receiver refused 3 of 5 ")
    assert ": no quota" in sentence


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_warning_of_the_receiver_is_said_and_costs_nothing(
    receiver_of: Any, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A partial success that refuses nothing is what OTLP has for a warning."""
    receiver = receiver_of(protocol)
    receiver.answer = lambda signal: partial_success(signal, 0, "deprecated\nfield")
    exporter = built("traces", protocol)
    assert exporter.deliver(batch_of("traces", [10])).sent == 1
    exporter.shutdown()
    assert said(caplog) == ["the receiver took all spans, and warns: deprecated field (Said once.)"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("rejected", [-5, 99])
def test_a_count_that_cannot_be_is_none_or_all(
    receiver_of: Any, rejected: int, protocol: str
) -> None:
    """A receiver that refuses more than it was sent has refused all of it."""
    receiver = receiver_of(protocol)
    receiver.answer = lambda signal: partial_success(signal, rejected, "?")
    exporter = built("logs", protocol)
    delivery = exporter.deliver(batch_of("logs", [10] * 4))
    exporter.shutdown()
    assert delivery.sent == (0 if rejected > 0 else 4)
    assert delivery.sent + sum(delivery.lost.values()) == 4


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_redirect_that_is_not_followed_is_counted_and_said(
    receiver_of: Any, signal: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The sentence says where to, without what may be secret, and which variable to set."""
    receiver = receiver_of("http/protobuf")
    elsewhere = receiver.endpoint.replace("127.0.0.1", "localhost")
    receiver.redirect = (status, f"{elsewhere}/elsewhere/{signal}?token=geheim")
    exporter = built(signal, "http/protobuf")
    delivery = exporter.deliver(batch_of(signal, [10] * 5))
    exporter.shutdown()
    if receiver.taken[signal]:  # releases that follow a 307 send all of it again
        assert status in (307, 308)
        assert delivery.sent == 5
        return
    assert (delivery.sent, dict(delivery.lost)) == (0, {"redirected": 5})
    [sentence] = said(caplog)
    assert f"a redirect ({status} to {elsewhere}/elsewhere/{signal})" in sentence
    assert "geheim" not in sentence
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in sentence


@pytest.mark.parametrize("location", ["", "http://[", "/other", "http://x:notaport/"])
def test_a_redirect_to_nowhere_is_one_too(receiver_of: Any, location: str) -> None:
    """An address that is none breaks nothing."""
    receiver = receiver_of("http/protobuf")
    receiver.redirect = (304, location)
    exporter = built("traces", "http/protobuf")
    assert dict(exporter.deliver(batch_of("traces", [10])).lost) == {"redirected": 1}
    exporter.shutdown()


def test_a_page_in_place_of_an_answer_is_no_refusal(receiver_of: Any) -> None:
    """A proxy that answers 200 with what is no message of OTLP's has said nothing."""
    receiver = receiver_of("http/protobuf")

    class Page:
        def SerializeToString(self) -> bytes:  # noqa: N802
            return b"<html>\xff ok </html>"

    receiver.answer = lambda signal: Page()
    exporter = built("traces", "http/protobuf")
    assert exporter.deliver(batch_of("traces", [10])).sent == 1
    exporter.shutdown()


def configured(protocol: str, signal: str) -> otel_studio.Studio:
    return otel_studio.configure(
        service_name="shop",
        sampler="always_on",
        otlp_protocol=protocol,
        traces_exporter="otlp" if signal == "traces" else (),
        metrics_exporter="otlp" if signal == "metrics" else (),
        logs_exporter="otlp" if signal == "logs" else (),
    )


def dropped_metric(studio: otel_studio.Studio, name: str) -> str:
    return "\n".join(
        line for line in studio.prometheus_text().splitlines() if line.startswith(name)
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_flush_and_shutdown_say_that_not_all_was_taken(
    receiver_of: Any, signal: str, protocol: str
) -> None:
    """Both return False, for each signal; `otel_studio.self.*` shows how many and why."""
    receiver = receiver_of(protocol)
    receiver.answer = lambda signal: partial_success(signal, 1, "no quota")
    studio = configured(protocol, signal)

    def run() -> None:
        with otel_studio.service("s").operation("op"):
            logging.getLogger("app").warning("in it")

    run()
    assert studio.force_flush(5) is False
    name = {"traces": "spans", "metrics": "data_points", "logs": "log_records"}[signal]
    shown = dropped_metric(studio, f"otel_studio_self_{name}_dropped_total")
    assert 'reason="rejected"' in shown
    run()
    assert otel_studio.shutdown(5) is False
    receiver.answer = lambda signal: partial_success(signal, 0, "")
    studio = configured(protocol, signal)
    run()
    assert studio.force_flush(5) is True
    assert otel_studio.shutdown(5) is True
