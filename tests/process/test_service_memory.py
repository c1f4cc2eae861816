"""Memory by service: probes, tracked objects, peaks, and what goes wrong with them."""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from forked import in_forked_child
from otel_studio.base import guard
from otel_studio.base.clock import ManualClock
from otel_studio.process import service_memory
from otel_studio.process.service_memory import MemoryTracker, ServiceReading


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tracker(clock: ManualClock) -> Iterator[MemoryTracker]:
    guard.forget_said()
    yield MemoryTracker(clock)
    guard.forget_said()


def sampled(tracker: MemoryTracker, service: str) -> ServiceReading:
    tracker.sample()
    return tracker.readings()[service]


class Buffers:
    def __init__(self, size: int) -> None:
        self.data = bytearray(size)

    def held(self) -> int:
        return len(self.data)


def test_a_probe_says_what_its_service_holds(tracker: MemoryTracker) -> None:
    """The figures of several probes add up, and say how they were found."""
    tracker.track("cache-service", lambda: 1_000)
    tracker.track("cache-service", functools.partial(int, 500.0))
    reading = sampled(tracker, "cache-service")
    assert (reading.held, reading.peak) == (1_500, 1_500)
    assert reading.measured_by == "what 2 probes returned"


def test_the_peak_stays_when_memory_goes(tracker: MemoryTracker) -> None:
    """What was held at most is kept beside what is held now."""
    sizes = iter([10, 300, 20])
    tracker.track("a", lambda: next(sizes))
    seen = [sampled(tracker, "a") for _ in range(3)]
    assert [(reading.held, reading.peak) for reading in seen] == [(10, 10), (300, 300), (20, 300)]


def test_an_object_is_sized_and_not_kept_alive(tracker: MemoryTracker) -> None:
    """An array counts while the program holds it, and is gone with it."""
    np = pytest.importorskip("numpy")
    array = np.ones(25_000_000)
    tracker.track("preview-service", array)
    during = sampled(tracker, "preview-service")
    assert during.held == pytest.approx(200_000_000, abs=1_000)
    assert during.measured_by == "the size of 1 object"
    del array
    after = sampled(tracker, "preview-service")
    assert (after.held, after.peak) == (0, during.peak)
    assert after.measured_by == "nothing is tracked any more"


def test_the_owner_of_a_bound_method_is_not_kept_alive(tracker: MemoryTracker) -> None:
    """Tracking `self.held` does not keep `self`."""
    buffers = Buffers(5_000)
    tracker.track("a", buffers.held)
    assert sampled(tracker, "a").held == 5_000
    del buffers
    gc.collect()
    assert sampled(tracker, "a").held == 0


def test_what_cannot_be_held_weakly_counts_until_it_is_closed(tracker: MemoryTracker) -> None:
    """A dict is held by the tracking; closing it ends that."""
    data = {"a": bytes(10_000)}
    tracked = tracker.track("a", data)
    assert (sampled(tracker, "a").held or 0) > 10_000
    data["b"] = bytes(10_000)
    assert (sampled(tracker, "a").held or 0) > 20_000
    tracked.close()
    tracked.close()
    assert sampled(tracker, "a").held == 0


def test_a_projected_size_says_so(clock: ManualClock) -> None:
    """What was not visited is said beside the figure."""
    from otel_studio.base.sizing import ObjectSizer

    tracker = MemoryTracker(clock, ObjectSizer(max_elements=10))
    rows = [bytes(100)] * 5 + [bytes(number) for number in range(100)]
    tracker.track("a", rows)
    assert "projected" in sampled(tracker, "a").measured_by


@pytest.mark.parametrize("answer", ["many", -1, float("nan"), float("inf"), object()])
def test_a_probe_that_answers_nonsense_leaves_no_figure(
    tracker: MemoryTracker, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is invented: no figure, one line in the log, and the other probes count."""
    tracker.track("bad", lambda: answer)
    tracker.track("good", lambda: 10)
    with caplog.at_level(logging.WARNING):
        assert sampled(tracker, "bad").held is None
        assert sampled(tracker, "bad").held is None
    assert len(caplog.records) == 1
    assert sampled(tracker, "good").held == 10


def test_a_probe_that_raises_leaves_no_figure(
    tracker: MemoryTracker, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing probe is said once; it is asked again and may recover."""
    answers: list[Any] = [RuntimeError("not yet"), None, 30]

    def probe() -> int | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    tracker.track("a", probe)
    with caplog.at_level(logging.WARNING):
        assert [sampled(tracker, "a").held for _ in range(3)] == [None, None, 30]
    assert "memory probe of service 'a'" in caplog.text


def test_part_of_a_service_may_not_tell(tracker: MemoryTracker) -> None:
    """What is known counts, and what is missing is said."""
    tracker.track("a", lambda: None)
    tracker.track("a", lambda: 40)
    reading = sampled(tracker, "a")
    assert reading.held == 40
    assert "without the probes" in reading.measured_by


def test_a_costly_probe_is_asked_less_often(tracker: MemoryTracker, clock: ManualClock) -> None:
    """A probe that takes 10 ms is asked once a second: 1 % of the time at most."""
    asked = []

    def probe() -> int:
        asked.append(1)
        clock.advance(0.010)
        return 7

    tracker.track("a", probe)
    for _ in range(50):
        assert sampled(tracker, "a").held == 7
        clock.advance(0.1)
    assert len(asked) == 5


def test_a_probe_may_ask_for_the_figures(tracker: MemoryTracker) -> None:
    """Sampling does not enter itself."""

    def probe() -> int:
        tracker.sample()
        return len(tracker.readings())

    tracker.track("a", probe)
    assert sampled(tracker, "a").held == 0


@pytest.mark.parametrize(
    ("service", "probe", "error", "words"),
    [
        (None, len, TypeError, "is text"),
        ("", len, ValueError, "cannot be empty"),
    ],
)
def test_wrong_arguments_are_refused(
    tracker: MemoryTracker, service: Any, probe: Any, error: type[Exception], words: str
) -> None:
    """The refusal says what was expected."""
    with pytest.raises(error, match=words):
        tracker.track(service, probe)


def test_a_coroutine_function_is_refused(tracker: MemoryTracker) -> None:
    """A sample cannot await; the refusal says what to give instead."""

    async def probe() -> int:
        return 1

    with pytest.raises(TypeError, match="give a plain function"):
        tracker.track("a", probe)


def test_what_is_tracked_is_bounded(
    tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Past the bounds nothing more is tracked, and that is said once for a service."""
    monkeypatch.setattr(service_memory, "MAX_PROBES_PER_SERVICE", 3)
    monkeypatch.setattr(service_memory, "MAX_SERVICES", 2)
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            tracker.track("a", lambda: 1)
        tracker.track("b", lambda: 1)
        tracker.track("c", lambda: 1)
    tracker.sample()
    assert {name: row.held for name, row in tracker.readings().items()} == {"a": 3, "b": 1}
    assert len(caplog.records) == 2


def test_closed_probes_make_room(tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that tracks and closes for years stays within its bound."""
    monkeypatch.setattr(service_memory, "MAX_PROBES_PER_SERVICE", 2)
    for _ in range(100):
        tracker.track("a", lambda: 1).close()
    tracker.track("a", lambda: 5)
    assert sampled(tracker, "a").held == 5


def test_a_child_reports_its_own_copy(tracker: MemoryTracker) -> None:
    """What the child frees goes from the child's figures, and its peak is its own."""
    sizes = [1_000]
    tracker.track("a", lambda: sizes[0])
    assert sampled(tracker, "a").peak == 1_000

    def in_child() -> list[int | None]:
        tracker.after_fork_in_child()
        sizes[0] = 10
        reading = sampled(tracker, "a")
        return [reading.held, reading.peak]

    assert in_forked_child(in_child) == [10, 10]
    assert sampled(tracker, "a").held == 1_000
