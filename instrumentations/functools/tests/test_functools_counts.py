"""Memoized functions, against their own `cache_info`."""

from __future__ import annotations

import functools
import gc
import importlib
import tomllib
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from otel_studio_instrumentation_functools import FunctoolsInstrumentor
from otel_studio_instrumentation_functools.package import _instruments

import otel_studio
from otel_studio.base.clock import ManualClock
from otel_studio.base.guard import forget_said
from otel_studio.caches import CachePerformance, CacheRegistry

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def caches(clock: ManualClock) -> Iterator[CacheRegistry]:
    gc.collect()  # functions of earlier tests
    registry = CacheRegistry(clock)
    FunctoolsInstrumentor().instrument(caches=registry)
    yield registry
    FunctoolsInstrumentor().uninstrument()


def record_of(caches: CacheRegistry, function: object) -> CachePerformance:
    (record,) = caches.get_cache_performance_metrics(function.__qualname__)  # type: ignore[attr-defined]
    return record


@functools.lru_cache(maxsize=10)
def made_before(n: int) -> int:
    """Memoized when this module was imported."""
    return n


def test_figures_are_those_of_the_function(caches: CacheRegistry, clock: ManualClock) -> None:
    """Hits, misses, entries and limit equal `cache_info`, with the periods the readings fell in."""

    @functools.lru_cache(maxsize=3)
    def square(n: int) -> int:
        return n * n

    for n in (1, 1, 2, 3, 4, 1):
        square(n)
    info = square.cache_info()
    record = record_of(caches, square)
    assert (record.hits, record.misses) == (info.hits, info.misses) == (1, 5)
    assert (record.entries, record.max_entries) == (3, 3)
    assert record.service_name == __name__
    clock.advance(120)
    square(1)
    record = record_of(caches, square)
    assert record.hit_rate_last_minute == 1.0
    assert record.hit_rate_last_hour == 2 / 7


def test_function_itself_is_untouched(caches: CacheRegistry) -> None:
    """The decorator gives the very object that it would have given, whatever its form."""

    @functools.lru_cache
    def bare(n: int) -> int:
        return n

    @functools.cache
    def unbounded(n: int) -> int:
        return n

    class Shape:
        @functools.lru_cache(maxsize=None, typed=True)  # noqa: B019 - a method is the point
        def area(self, n: int) -> int:
            return n

    for function in (bare, unbounded, Shape.area):
        assert type(function) is functools._lru_cache_wrapper
    bare(1)
    unbounded(1)
    unbounded(1)
    Shape().area(1)
    assert record_of(caches, bare).max_entries == 128
    assert record_of(caches, unbounded).hit_rate == 0.5
    assert record_of(caches, unbounded).max_entries is None
    assert record_of(caches, Shape.area).misses == 1


def test_functions_made_before_count_from_now(caches: CacheRegistry) -> None:
    """A function memoized before is found; what it did before is not this period's."""
    made_before(1)
    FunctoolsInstrumentor().uninstrument()
    made_before(1)
    made_before(1)
    other = CacheRegistry(ManualClock())
    FunctoolsInstrumentor().instrument(caches=other)
    assert record_of(other, made_before).hits == 0
    made_before(1)
    assert record_of(other, made_before).hits == 1


def test_clearing_starts_a_new_count(caches: CacheRegistry) -> None:
    """What was read before `cache_clear` stays, what comes after is added."""

    @functools.lru_cache
    def load(n: int) -> int:
        return n

    for n in range(10):
        load(n)
    assert record_of(caches, load).misses == 10
    load.cache_clear()
    load(1)
    assert record_of(caches, load).misses == 11
    assert record_of(caches, load).entries == 1


def test_functions_of_one_name_add_up_and_are_freed(caches: CacheRegistry) -> None:
    """A function memoized in every call keeps neither itself nor its entries alive."""

    def make() -> functools._lru_cache_wrapper[int]:
        @functools.lru_cache(maxsize=5)
        def inner(n: int) -> int:
            return n

        return inner

    made = [make() for _ in range(3)]
    for function in made:
        function(1)
        function(1)
    name = made[0].__qualname__
    (record,) = caches.get_cache_performance_metrics(name)
    assert (record.hits, record.misses, record.entries, record.max_entries) == (3, 3, 3, 15)
    gone = weakref.ref(made[0])
    del function, made
    gc.collect()
    assert gone() is None
    (record,) = caches.get_cache_performance_metrics(name)
    assert (record.hits, record.misses, record.entries) == (3, 3, None)


def test_functions_of_one_name_are_bounded(
    caches: CacheRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The 257th that lives at once is not asked, and the log says so once."""
    forget_said()

    def make() -> functools._lru_cache_wrapper[int]:
        @functools.lru_cache(maxsize=5)
        def many(n: int) -> int:
            return n

        return many

    made = [make() for _ in range(300)]
    for function in made:
        function(1)
    (record,) = caches.get_cache_performance_metrics(made[0].__qualname__)
    assert record.misses == 256
    assert len([entry for entry in caplog.records if "more are not counted" in entry.message]) == 1


def test_standard_library_is_left_out(caches: CacheRegistry) -> None:
    """The caches that Python itself keeps are not the program's."""
    services = {record.service_name for record in caches.get_cache_performance_metrics()}
    assert not services & {"re", "typing", "fnmatch", "linecache"}


def test_what_is_wrong_raises_as_before(caches: CacheRegistry) -> None:
    """A size that is no number raises what functools raises."""
    with pytest.raises(TypeError, match="integer"):
        functools.lru_cache(maxsize="ten")  # type: ignore[call-overload]


def test_uninstrument_restores() -> None:
    """`lru_cache` is the very function it was, and functions are asked no more."""
    before = functools.lru_cache
    registry = CacheRegistry(ManualClock())
    for _ in range(2):
        FunctoolsInstrumentor().instrument(caches=registry)
        assert functools.lru_cache is not before

        @functools.lru_cache
        def load(n: int) -> int:
            return n

        load(1)
        assert record_of(registry, load).misses > 0
        FunctoolsInstrumentor().uninstrument()
        assert functools.lru_cache is before
    counted = record_of(registry, load).misses
    load(2)
    assert record_of(registry, load).misses == counted
    assert record_of(registry, load).entries is None


def test_reports_to_the_current_studio() -> None:
    """Without a registry of its own, it reports where `otel_studio.cache` does."""
    with otel_studio.isolated():
        FunctoolsInstrumentor().instrument()
        try:

            @functools.lru_cache
            def load(n: int) -> int:
                return n

            load(1)
            (record,) = otel_studio.api.get_cache_performance_metrics(load.__qualname__)
            assert record.misses == 1
        finally:
            FunctoolsInstrumentor().uninstrument()


def test_entry_point_and_extra_say_what_the_package_says() -> None:
    """OpenTelemetry's loader finds the instrumentor and reads the same pins."""
    entry = PROJECT["entry-points"]["opentelemetry_instrumentor"]["functools"]
    module, _, name = entry.partition(":")
    assert issubclass(getattr(importlib.import_module(module), name), BaseInstrumentor)
    assert tuple(PROJECT["optional-dependencies"]["instruments"]) == _instruments
