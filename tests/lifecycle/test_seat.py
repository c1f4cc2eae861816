"""The seat of what is current: swapped whole, and told to whatever keeps something of it."""

from __future__ import annotations

from opentelemetry import trace

import otel_studio
from otel_studio import api
from otel_studio.base.forking import Room
from otel_studio.operations import seat
from otel_studio.operations.seat import Seat
from otel_studio.operations.wrapping import describe_argument
from otel_studio.queries import Queries


def test_isolation_swaps_provider_caches_limits_thresholds_and_listener() -> None:
    """Everything that is current is the isolated Studio's inside, and as it was after it."""
    before = seat.current()
    with otel_studio.isolated(captured_argument_length=5) as s:
        inside = seat.current()
        assert inside is not before
        assert inside.provider is s.tracer_provider
        assert inside.caches is s.studio.caches
        assert inside.declared is s.studio.declared
        assert inside.occupant is s.studio
        assert describe_argument("abcdefgh") == "abcd…"
        with otel_studio.isolated() as nested:
            assert seat.current().occupant is nested.studio
        assert seat.current() is inside
    assert seat.current() is before
    assert describe_argument("abcdefgh") == "abcdefgh"


def test_what_an_operation_declares_holds_wherever_it_runs() -> None:
    """A threshold and labels said once are known in every seat that the operation runs in."""

    @otel_studio.track("pay", service="shop", slow_threshold=0.5, labels=("tenant",))
    def pay() -> None: ...

    for _ in range(2):
        with otel_studio.isolated() as s:
            assert s.studio.declared.slow_thresholds == {}
            pay()
            assert s.studio.declared.slow_thresholds == {("shop", "pay"): 0.5}
            assert s.studio.declared.labels == {("shop", "pay"): ("tenant",)}


def test_what_is_bound_asks_anew_in_another_seat() -> None:
    """A decorated function, a service and a cache made outside record where they are used."""
    service = otel_studio.service("shop")
    previews = otel_studio.cache("previews", service="shop")
    for _ in range(2):
        with otel_studio.isolated() as s:
            with service.operation("pay"):
                previews.hit("a")
            assert s.operation("shop", "pay").count == 1
            (cache,) = api.get_cache_performance_metrics("previews")
            assert cache.hits == 1


def test_a_seat_that_ends_between_two_others_leaves_them_alone() -> None:
    """Isolations of two threads may end in the order in which they began."""
    first, second = Seat(trace.NoOpTracerProvider()), Seat(trace.NoOpTracerProvider())
    below = seat.current()
    seat.isolate(first)
    seat.isolate(second)
    seat.end_isolation(first)
    assert seat.current() is second
    seat.end_isolation(second)
    assert seat.current() is below


def test_queries_ask_one_studio_whichever_is_current() -> None:
    """The queries of a Studio answer for it, also where another one is current."""
    with otel_studio.isolated() as outer:
        otel_studio.service("shop").record_operation("pay", duration=1)
        with otel_studio.isolated():
            assert api.get_all_metrics() == []
            found = Queries(outer.studio).get_service_metrics("shop")
            assert found is not None
            assert found.total_operations == 1
            assert Queries(outer.studio).get_slow_operations()[0].operation == "pay"


def test_every_room_keeps_the_protocol_of_rooms() -> None:
    """They start, stop, and are told of forks by the same names."""
    with otel_studio.isolated(logging=True) as s:
        studio = s.studio
        for room in (studio.caches, studio.process, studio.gpu, studio.logs):
            assert isinstance(room, Room), type(room).__name__
