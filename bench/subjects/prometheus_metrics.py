"""prometheus_client's decorators: duration, errors and active runs, with no spans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from bench.subject import Subject
from bench.subjects._decorated import decorated


def make() -> Subject:
    """Return the subject."""
    labels = ("service", "operation")
    durations = Histogram("bench_duration_seconds", "Duration.", labels)
    errors = Counter("bench_errors", "Errors.", labels)
    active = Gauge("bench_active", "Active runs.", labels)

    def decorate(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        time = durations.labels("bench", name).time()
        count = errors.labels("bench", name).count_exceptions()
        track = active.labels("bench", name).track_inprogress()
        return lambda function: time(count(track(function)))

    call_time = durations.labels("bench", "call")
    call_errors = errors.labels("bench", "call")
    call_active = active.labels("bench", "call")

    def block() -> None:
        with call_time.time(), call_errors.count_exceptions(), call_active.track_inprogress():
            pass

    # It times the making of a coroutine, not its run.
    return decorated(decorate, coroutines=False, block=block)
