"""What a user meets in a debugger or in a log says what it is and how it does."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_studio as studio
from otel_studio.testing import IncrementalIds, Isolated, ManualClock


@pytest.fixture
def met(isolated_studio: Isolated) -> dict[str, Any]:
    """Everything that a name of the package leads to, after a run and a cache access."""
    own = isolated_studio.studio
    own.add_span_exporter(InMemorySpanExporter())
    shop = studio.service("shop")
    tracker = shop.start_operation("pay")
    studio.cache("prices", service="shop").hit("bread")
    tracker.complete()
    isolated_studio.operation("shop", "pay")
    return {
        "Studio": own,
        "Service": shop,
        "Tracker": tracker,
        "CacheHandle": studio.cache("prices", service="shop"),
        "CacheRegistry": own.caches,
        "ProcessMonitor": own.process,
        "GpuMonitor": own.gpu,
        "Registry": own.registry,
        "StudioTracerProvider": own.tracer_provider,
        "ExportQueue": own.export_queues[0],
        "Settings": own.settings,
        "Isolated": isolated_studio,
        "ManualClock": ManualClock(),
        "IncrementalIds": IncrementalIds(),
    }


def test_each_says_what_it_is(met: dict[str, Any]) -> None:
    """Python's own `<... object at 0x...>` is the text of none."""
    for name, thing in met.items():
        assert name in repr(thing)
        assert " object at 0x" not in repr(thing)


def test_each_says_how_it_does(met: dict[str, Any]) -> None:
    """The few figures that tell one from another."""
    assert repr(met["Registry"]) == "<Registry of 1 services, 1 runs folded>"
    assert repr(met["CacheRegistry"]) == "<CacheRegistry of 1 caches>"
    assert "0 dropped" in repr(met["ExportQueue"])
    assert "shop/pay" in repr(met["Tracker"])
