"""Declared labels: the attributes that `track(labels=...)` names are dimensions, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

import otel_studio
from otel_studio.exporters.prometheus.text import RegistryText
from otel_studio.metrics.points import metrics_of
from otel_studio.metrics.streams import AS_THEY_ARE, DURATION
from otel_studio.registry.errors import OTHER
from otel_studio.registry.labels import MAX_LABEL_SETS
from otel_studio.testing.isolation import Isolated, isolated

BOUNDS = (0.1, 1.0)
OWN = {"studio.service", "studio.operation", "error.type"}


def say(**attributes: Any) -> None:
    """Set attributes on the run that goes on."""
    operation = otel_studio.current_operation()
    assert operation is not None
    for name, value in attributes.items():
        operation.set_attribute(name.replace("__", "."), value)


def points(s: Isolated, *names: str) -> dict[tuple[str | None, ...], int]:
    """Return runs by the values of labels, of the OpenTelemetry points; no other label is there."""
    cumulative = AggregationTemporality.CUMULATIVE
    found: dict[tuple[str | None, ...], int] = {}
    for metric in metrics_of(
        s.registry.reading(), None, BOUNDS, cumulative, cumulative, AS_THEY_ARE
    ):
        for point in metric.data.data_points:
            attributes: Any = point.attributes
            if metric.name == DURATION:
                assert set(attributes) <= OWN | set(names)
                key = tuple(attributes.get(name) for name in names)
                found[key] = found.get(key, 0) + point.count  # type: ignore[union-attr]
            else:
                assert set(attributes) <= OWN
    return found


def scraped(s: Isolated, openmetrics: bool = False) -> list[dict[str, str]]:
    """Return the labels of each series on the scraped page, but for those that all have."""
    text = RegistryText(s.registry.reading, BOUNDS, "1").text(openmetrics)
    return [
        {name: v for name, v in sample.labels.items() if not name.startswith(("otel_", "studio_"))}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.endswith("_count")
    ]


def test_a_declared_attribute_is_a_dimension_and_no_other_ever_is() -> None:
    """Runs are told apart by it, in points and on the page; what is not declared is a sample's."""

    @otel_studio.track("pay", service="shop", labels=("tenant",), attributes={"fixed": "x"})
    def pay(tenant: str, user: int) -> None:
        say(tenant=tenant, user=user)

    with isolated(histogram_bounds=BOUNDS) as s:
        for number in range(30):
            pay("acme" if number % 3 else "other", number)
        assert points(s, "tenant") == {("acme",): 20, ("other",): 10}
        assert sorted(labels["tenant"] for labels in scraped(s)) == ["acme", "other"]
        assert all(set(labels) == {"tenant"} for labels in scraped(s))
        assert s.operation("shop", "pay").count == 30
        assert s.runs()[0].attributes["user"] == 29


def test_several_labels_are_sets_of_values() -> None:
    """Each set that occurs is a series; what a run does not say is the empty text."""

    @otel_studio.track("pay", service="shop", labels=("tenant", "plan"))
    def pay(**attributes: Any) -> None:
        say(**attributes)

    with isolated(histogram_bounds=BOUNDS) as s:
        pay(tenant="acme", plan="free")
        pay(tenant="acme", plan="paid")
        pay(tenant="acme")
        pay()
        assert points(s, "tenant", "plan") == {
            ("acme", "free"): 1,
            ("acme", "paid"): 1,
            ("acme", ""): 1,
            ("", ""): 1,
        }


def test_failed_and_cancelled_runs_have_labels_too() -> None:
    """Beside the error's type."""

    @otel_studio.track("pay", service="shop", labels="tenant")
    def pay(tenant: str, error: BaseException | None = None) -> None:
        say(tenant=tenant)
        if error is not None:
            raise error

    with isolated(histogram_bounds=BOUNDS) as s:
        pay("acme")
        for error in (ValueError("no"), asyncio.CancelledError()):
            with suppress(ValueError, asyncio.CancelledError):
                pay("acme", error)
        assert points(s, "error.type", "tenant") == {
            (None, "acme"): 2,
            ("ValueError", "acme"): 1,
        }
        assert {"error_type": "ValueError", "tenant": "acme"} in scraped(s)


def test_past_fifty_sets_of_values_runs_are_other_and_counted() -> None:
    """The known sets go on being told apart; the self-report says how many runs had no room."""

    @otel_studio.track("pay", service="shop", labels=("tenant", "plan"))
    def pay(tenant: int) -> None:
        say(tenant=str(tenant), plan="free")
        if tenant == 70:
            raise ValueError

    reader = InMemoryMetricReader()
    with isolated(histogram_bounds=BOUNDS, metric_readers=[reader]) as s:
        for tenant in range(MAX_LABEL_SETS + 20):
            pay(tenant)
            s.registry.reading()  # each a batch of its own
        pay(3)
        with suppress(ValueError):
            pay(70)
        found = points(s, "tenant", "plan")
        assert len(found) == MAX_LABEL_SETS + 1
        assert found["3", "free"] == 2
        assert found[OTHER, OTHER] == 21
        assert sum(found.values()) == MAX_LABEL_SETS + 22
        assert points(s, "error.type", "tenant", "plan")["ValueError", OTHER, OTHER] == 1
        data = reader.get_metrics_data()
        assert data is not None
        (overflowed,) = [
            (dict(point.attributes or {}), point.value)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "otel_studio.self.labels.overflowed"
            for point in metric.data.data_points
        ]
        assert overflowed == ({"studio.service": "shop"}, 21)
        assert s.operation("shop", "pay").count == MAX_LABEL_SETS + 22


def test_one_batch_has_no_more_sets_than_many() -> None:
    """The bound holds within a batch, too."""

    @otel_studio.track("pay", service="shop", labels="tenant")
    def pay(tenant: int) -> None:
        say(tenant=tenant)

    with isolated(histogram_bounds=BOUNDS) as s:
        for tenant in range(200):
            pay(tenant)
        found = points(s, "tenant")
        assert len(found) == MAX_LABEL_SETS + 1
        assert found[OTHER,] == 200 - MAX_LABEL_SETS


def test_names_are_spelled_for_prometheus_and_never_twice() -> None:
    """Dots become what it takes; what would be a label of our own gets another name."""
    names = ("my.tenant", "my_tenant", "2nd", "le", "otel.scope.name", "__name__", "é", "job")

    @otel_studio.track("pay", service="shop", labels=names)
    def pay() -> None:
        operation = otel_studio.current_operation()
        assert operation is not None
        for number, name in enumerate(names):
            operation.set_attribute(name, f"v{number}")

    with isolated(histogram_bounds=BOUNDS) as s:
        pay()
        text = RegistryText(s.registry.reading, BOUNDS, "1").text()
        (row,) = [
            sample.labels
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.endswith("_count")
        ]
        assert row["otel_scope_name"] == "otel_studio"
        assert row["otel_scope_name_"] == "v4"
        assert (row["my_tenant"], row["my_tenant_"], row["_2nd"]) == ("v0", "v1", "v2")
        assert (row["le_"], row["_name__"], row["_"], row["job"]) == ("v3", "v5", "v6", "v7")
        assert not any(name.startswith("__") for name in row)
        assert set(points(s, *names)) == {tuple(f"v{number}" for number in range(len(names)))}


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ('say "hi"\n\\', 'say "hi"\n\\'),
        (7, "7"),
        (True, "True"),
        (0.5, "0.5"),
        ("", ""),
        (("a", "b"), "('a', 'b')"),
        ("x" * 100_000, "x" * 255 + "…"),
    ],
    ids=["escapes", "integer", "flag", "float", "empty", "sequence", "long"],
)
def test_a_value_is_text(value: Any, label: str) -> None:
    """Escaped on the page; whatever it was, and never without a bound."""

    @otel_studio.track("pay", service="shop", labels="tenant")
    def pay() -> None:
        say(tenant=value)

    with isolated(histogram_bounds=BOUNDS) as s:
        pay()
        assert points(s, "tenant") == {(label,): 1}
        for openmetrics in (False, True):
            assert [row.get("tenant") for row in scraped(s, openmetrics)] == [label]


class Shop:
    @otel_studio.track("method", service="shop", labels="tenant")
    def method(self) -> None:
        say(tenant="acme")

    @classmethod
    @otel_studio.track("class method", service="shop", labels="tenant")
    def class_method(cls) -> None:
        say(tenant="acme")


@otel_studio.track("coroutine", service="shop", labels="tenant")
async def coroutine() -> None:
    await asyncio.sleep(0)
    say(tenant="acme")


@otel_studio.track("generator", service="shop", labels="tenant")
def generator() -> Iterator[int]:
    yield 1
    say(tenant="acme")
    yield 2


@otel_studio.track("async generator", service="shop", labels="tenant")
async def async_generator() -> AsyncIterator[int]:
    yield 1
    say(tenant="acme")


async def _consume() -> None:
    async for _ in async_generator():
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda: Shop().method(),
        Shop.class_method,
        lambda: asyncio.run(coroutine()),
        lambda: list(generator()),
        lambda: asyncio.run(_consume()),
    ],
    ids=["method", "class method", "coroutine", "generator", "async generator"],
)
def test_every_shape_of_callable_has_labels(call: Callable[[], object]) -> None:
    """Also where a run has several steps, and in each Studio anew."""
    for _ in range(2):
        with isolated(histogram_bounds=BOUNDS) as s:
            call()
            assert points(s, "tenant") == {("acme",): 1}


def test_operations_without_labels_stay_as_they_are() -> None:
    """An attribute of the same name elsewhere is an attribute only."""

    @otel_studio.track("pay", service="shop", labels="tenant")
    def pay() -> None:
        say(tenant="acme")

    with isolated(histogram_bounds=BOUNDS) as s:
        pay()
        with otel_studio.service("shop").operation("refund") as operation:
            operation.set_attribute("tenant", "acme")
        assert points(s, "studio.operation", "tenant") == {
            ("pay", "acme"): 1,
            ("refund", None): 1,
        }


@pytest.mark.parametrize("labels", [5, (5,), ("tenant", None), b"tenant", {"tenant": 1}.items()])
def test_what_is_no_text_is_refused(labels: Any) -> None:
    """With what was expected."""
    with pytest.raises(TypeError, match="labels holds names of attributes"):
        otel_studio.track(labels=labels)


@pytest.mark.parametrize("label", ["", *sorted(OWN)])
def test_a_label_of_our_own_is_refused(label: str) -> None:
    """The metrics have it already; an empty name is none."""
    with pytest.raises(ValueError, match="labels names"):
        otel_studio.track(labels=("tenant", label))


def test_texts_of_labels_go_with_what_they_name() -> None:
    """A scrape remembers those of the last one: what a reset has cleared is not among them."""
    with isolated(histogram_bounds=BOUNDS) as s:
        with otel_studio.service("shop").operation("pay"):
            pass
        written = RegistryText(s.registry.reading, BOUNDS, "1")
        first = written.text()
        assert written.text() == first
        assert len(written._labels) == 1
        s.registry.reset("shop")
        assert written.text() == ""
        assert not written._labels
