"""The package: entry point, pins, and cachetools as it was afterwards."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any

import cachetools
import cachetools.func
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from otel_studio_instrumentation_cachetools import CachetoolsInstrumentor
from otel_studio_instrumentation_cachetools.package import _instruments

import otel_studio
from otel_studio.base.clock import ManualClock
from otel_studio.caches import CacheRegistry

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def state() -> dict[str, Any]:
    """Return every attribute of the library's module and classes."""
    found: dict[str, Any] = {}
    for name, value in [*vars(cachetools).items(), *vars(cachetools.func).items()]:
        found[name] = value
        if isinstance(value, type):
            found.update({f"{name}.{key}": item for key, item in vars(value).items()})
    return found


def test_uninstrument_restores_every_attribute() -> None:
    """Twice on and off: each class has the very methods it had, and no new ones."""
    before = state()
    for _ in range(2):
        CachetoolsInstrumentor().instrument(caches=CacheRegistry(ManualClock()))
        assert state() != before
        CachetoolsInstrumentor().uninstrument()
        after = state()
        assert after.keys() == before.keys()
        assert [key for key in before if after[key] is not before[key]] == []


def test_nothing_is_recorded_afterwards() -> None:
    """A cache that was followed works on, unrecorded, also through a method held from before."""
    registry = CacheRegistry(ManualClock())
    CachetoolsInstrumentor().instrument(caches=registry)
    cache = cachetools.LRUCache(3)
    cache.get("a")
    held = cache.get
    CachetoolsInstrumentor().uninstrument()
    held("a")
    cache.get("a")
    cache["a"] = 1
    (record,) = registry.get_cache_performance_metrics()
    assert (record.misses, record.sets) == (1, 0)


def test_records_into_the_current_studio() -> None:
    """Without a registry of its own, it records where `otel_studio.cache` does."""
    with otel_studio.isolated():
        CachetoolsInstrumentor().instrument()
        try:
            cache = cachetools.LRUCache(3)
            cache.get("a")
            (record,) = otel_studio.api.get_cache_performance_metrics()
            assert record.misses == 1
        finally:
            CachetoolsInstrumentor().uninstrument()


def test_entry_point_and_extra_say_what_the_package_says() -> None:
    """OpenTelemetry's loader finds the instrumentor and reads the same pins."""
    entry = PROJECT["entry-points"]["opentelemetry_instrumentor"]["cachetools"]
    module, _, name = entry.partition(":")
    assert issubclass(getattr(importlib.import_module(module), name), BaseInstrumentor)
    assert tuple(PROJECT["optional-dependencies"]["instruments"]) == _instruments
    assert CachetoolsInstrumentor().instrumentation_dependencies() == _instruments
