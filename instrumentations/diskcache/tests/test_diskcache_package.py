"""The package: entry point, pins, and diskcache as it was afterwards."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any

import diskcache
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from otel_studio_instrumentation_diskcache import DiskcacheInstrumentor
from otel_studio_instrumentation_diskcache.package import _instruments

import otel_studio
from otel_studio.base.clock import ManualClock
from otel_studio.caches import CacheRegistry

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def state() -> dict[str, Any]:
    """Return every attribute of the classes that are followed."""
    return {
        f"{owner.__name__}.{name}": value
        for owner in (diskcache.Cache, diskcache.FanoutCache)
        for name, value in vars(owner).items()
    }


def test_uninstrument_restores_every_attribute() -> None:
    """Twice on and off: each class has the very methods it had, and no new ones."""
    before = state()
    for _ in range(2):
        DiskcacheInstrumentor().instrument(caches=CacheRegistry(ManualClock()))
        assert state() != before
        DiskcacheInstrumentor().uninstrument()
        after = state()
        assert after.keys() == before.keys()
        assert [key for key in before if after[key] is not before[key]] == []


def test_nothing_is_recorded_afterwards(tmp_path: Path) -> None:
    """A cache that was followed works on, unrecorded, also through a method held from before."""
    registry = CacheRegistry(ManualClock())
    DiskcacheInstrumentor().instrument(caches=registry)
    cache = diskcache.Cache(tmp_path / "any")
    cache.get("a")
    held = cache.get
    DiskcacheInstrumentor().uninstrument()
    held("a")
    cache.get("a")
    cache["a"] = 1
    (record,) = registry.get_cache_performance_metrics()
    assert (record.misses, record.sets) == (1, 0)
    cache.close()


def test_records_into_the_current_studio(tmp_path: Path) -> None:
    """Without a registry of its own, it records where `otel_studio.cache` does."""
    with otel_studio.isolated(), diskcache.Cache(tmp_path / "any") as cache:
        DiskcacheInstrumentor().instrument()
        try:
            cache.get("a")
            (record,) = otel_studio.api.get_cache_performance_metrics()
            assert record.misses == 1
        finally:
            DiskcacheInstrumentor().uninstrument()


def test_entry_point_and_extra_say_what_the_package_says() -> None:
    """OpenTelemetry's loader finds the instrumentor and reads the same pins."""
    entry = PROJECT["entry-points"]["opentelemetry_instrumentor"]["diskcache"]
    module, _, name = entry.partition(":")
    assert issubclass(getattr(importlib.import_module(module), name), BaseInstrumentor)
    assert tuple(PROJECT["optional-dependencies"]["instruments"]) == _instruments
    assert DiskcacheInstrumentor().instrumentation_dependencies() == _instruments
