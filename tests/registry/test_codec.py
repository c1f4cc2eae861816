"""The registry's reading in the codec: whoever reads it answers every query as its writer does."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import AggregationTemporality

import otel_studio
from otel_studio.base import codec
from otel_studio.exporters.prometheus.text import RegistryText
from otel_studio.metrics.points import metrics_of
from otel_studio.metrics.streams import AS_THEY_ARE
from otel_studio.registry import queries
from otel_studio.registry.kept import KeptRun
from otel_studio.registry.reading import RegistryReading
from otel_studio.testing.isolation import Isolated
from registry_world import BATCHES, SAMPLED_BY_HALVES, SMALL, Step, counted, run, world

#: A busy machine is no failure.
UNTIMED = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
BOUNDS = SMALL["histogram_bounds"]


def brought_back(reading: RegistryReading) -> RegistryReading:
    """Return what another process reads of what this one wrote."""
    return codec.decode(codec.encode(reading), RegistryReading)


def plain(value: Any) -> Any:
    """Return records as plain data, sequences alike whether they are lists or tuples."""
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


def answers(reading: RegistryReading) -> dict[str, Any]:
    """Return what every query, scrape and collection say of a reading."""
    found = {
        "summaries": queries.summaries(reading),
        "active": queries.active_count(reading),
        "recent": queries.recent(reading, limit=1_000),
        "failed": queries.recent(reading, outcome="error"),
        "errors": queries.error_statistics(reading),
        "buckets": [
            queries.latency_buckets(reading, service, operation)
            for service, part in reading.wholes()
            for operation in part.operations
        ],
    }
    for order in ("avg", "max", "p95", "p99", "total"):
        found[f"slow by {order}"] = queries.slow_operations(reading, 1_000, order)
    for openmetrics in (True, False):
        text = RegistryText(lambda: reading, BOUNDS, "1").text(openmetrics)
        found[f"text {openmetrics}"] = text
    cumulative = AggregationTemporality.CUMULATIVE
    points = [
        json.loads(metric.to_json())
        for metric in metrics_of(reading, None, BOUNDS, cumulative, cumulative, AS_THEY_ARE)
    ]
    return {**{name: plain(value) for name, value in found.items()}, "points": points}


@pytest.mark.patient
@UNTIMED
@given(BATCHES, BATCHES)
def test_every_answer_is_that_of_the_writer(first: list[Step], more: list[Step]) -> None:
    """Queries, scrape and points; of a reading, of a window, and of a sum."""
    with world(**SMALL, **SAMPLED_BY_HALVES) as studio:
        run(studio, first)
        then = studio.registry.reading()
        run(studio, more)
        now = studio.registry.reading()
    for reading in (then, now, now - then, (now - then) + then):
        back = brought_back(reading)
        assert codec.encode(back) == codec.encode(reading)
        assert brought_back(back) == back
        assert counted(back) == counted(reading)
        assert answers(back) == answers(reading)


@pytest.mark.patient
@UNTIMED
@given(BATCHES, BATCHES)
def test_what_was_read_adds_and_subtracts_as_what_was_written(
    first: list[Step], more: list[Step]
) -> None:
    """A window of readings that were brought back is the window that was brought back."""
    with world(**SMALL, **SAMPLED_BY_HALVES) as studio:
        run(studio, first)
        then = studio.registry.reading()
        run(studio, more)
        now = studio.registry.reading()
    assert brought_back(now) - brought_back(then) == brought_back(now - then)
    assert brought_back(now) - then == brought_back(now - then)
    with world(**SMALL) as studio:
        run(studio, more)
        other = studio.registry.reading()
    assert brought_back(now) + brought_back(other) == brought_back(now + other)
    assert brought_back(other) + brought_back(now) == brought_back(now + other)


def _fill(studio: Isolated) -> None:
    service = otel_studio.service("clips \ud800")
    logger = logging.getLogger("clips.log")

    @otel_studio.track("labelled", service="clips \ud800", labels=("tenant",))
    def labelled() -> None:
        operation = otel_studio.current_operation()
        assert operation is not None
        operation.set_attribute("tenant", "acme")
        logger.warning("no room for %s", "clip")
        raise ValueError("broken \udfff file")

    with service.operation("outer") as outer:
        outer.set_attribute("text", "lone \ud834 surrogate")
        outer.set_attribute("flag", True)
        outer.set_attribute("number", -(2**63))
        outer.set_attribute("share", 1e-300)
        outer.set_attribute("texts", ["a", "b"])
        outer.set_attribute("numbers", (1, 2, 3))
        outer.set_attribute("none", [])
        with service.operation("inner"):
            pass
        with pytest.raises(ValueError, match="broken"):
            labelled()
        outer.fail("said without an exception")


def test_samples_come_with_attributes_logs_stacks_and_parts() -> None:
    """All that a failed run told: in another process as in its own."""
    with world(logging=True, histogram_bounds=BOUNDS) as studio:
        _fill(studio)
        reading = studio.registry.reading()
        back = brought_back(reading)
        mine, theirs = answers(reading), answers(back)
    assert mine == theirs
    outer = next(row for row in theirs["recent"] if row["operation"] == "outer")
    assert outer["attributes"]["text"] == "lone � surrogate"
    assert outer["attributes"]["number"] == -(2**63)
    assert outer["attributes"]["flag"] is True
    assert {share["operation"] for share in outer["time_split"]} >= {"inner", "labelled"} - (
        set() if outer["duration_ms"] else {"inner", "labelled"}
    )
    (groups,) = [service["groups"] for service in theirs["errors"]["by_service"].values()]
    broken = next(group for group in groups if group["error_type"] == "ValueError")
    assert broken["message"] == "broken � file"
    assert "in labelled" in broken["sample_stack"]
    assert [record["message"] for record in broken["log_records"]] == ["no room for clip"]
    assert 'tenant="acme"' in str(theirs["text True"])


def test_kept_runs_are_plain_records() -> None:
    """No span, and nothing of the program, is in what was read."""
    with world() as studio:
        run(studio, [Step(0, 0, "error", 3), Step(0, 0, "ok", 3)])
        back = brought_back(studio.registry.reading())
    part = back.services["service-0"].whole()
    operation = part.operations["operation-0"]
    runs = [*operation.recent, *operation.slowest, operation.last_failed]
    runs += [run for series in operation.series.values() for run in series.exemplars if run]
    runs += [run for group in part.groups.values() for run in (group.latest, group.told)]
    assert {type(run) for run in runs} == {KeptRun}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * 2_000_000, "x" * 65_536 + "…"),
        ('"' * 100_000, '"' * 65_536 + "…"),
        (1 << 100_000, hex(1 << 100_000)[:65_536]),
        (["x" * 2_000_000], ("x" * 65_536 + "…",)),
        (float("inf"), float("inf")),
    ],
    ids=["long", "long as JSON", "integer", "in a sequence", "infinity"],
)
def test_no_attribute_makes_a_reading_unwritable(value: Any, expected: Any) -> None:
    """What is longer than the codec takes is cut in the sample, and the rest is there."""
    with world(max_run_bytes=16_777_216) as studio:
        with otel_studio.service("shop").operation("pay") as operation:
            operation.set_attribute("odd", value)
        (run,) = queries.recent(brought_back(studio.registry.reading()))
    assert run.attributes["odd"] == expected


def test_a_long_message_makes_no_reading_unwritable() -> None:
    """Nor does an exception that says two million characters, or a name of them."""
    with world() as studio:
        with (
            pytest.raises(ValueError, match="xx"),
            otel_studio.service("shop").operation("pay"),
        ):
            raise ValueError("x" * 2_000_000)
        back = brought_back(studio.registry.reading())
    assert back.services["shop"].whole().errors == 1


@given(st.text(st.characters(codec=None), max_size=20), st.text(max_size=5))
@UNTIMED
def test_any_text_is_a_name(service: str, operation: str) -> None:
    """Lone surrogates, zeros and quotes come back as they were."""
    with world() as studio:
        otel_studio.service(service or "x").record_operation(operation or "y", duration=0.1)
        reading = studio.registry.reading()
    assert counted(brought_back(reading)) == counted(reading)
