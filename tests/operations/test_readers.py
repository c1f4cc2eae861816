"""Readers beside busy threads: at no moment is a run missing, or seen twice."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from opentelemetry import trace

from otel_studio import api, service, track
from otel_studio.assembly.studio import Studio
from otel_studio.lifecycle import overriding
from otel_studio.settings.loading import load_settings

import proving

SERVICE = "watched"
THREADS = 8
TASKS = 50
OPERATIONS = proving.scaled(1_000_000)


class Tally:
    """What one thread has begun and entered, by operation: written by that thread alone."""

    def __init__(self) -> None:
        self.begun = dict.fromkeys(KINDS, 0)
        self.entered = dict.fromkeys(KINDS, 0)


@track("call", service=SERVICE)
def call(tally: Tally) -> None:
    tally.entered["call"] += 1


@track("fail", service=SERVICE)
def fail(tally: Tally) -> None:
    tally.entered["fail"] += 1
    raise ValueError


@track("outer", service=SERVICE)
def outer(tally: Tally) -> None:
    tally.entered["outer"] += 1
    tally.begun["call"] += 1
    call(tally)


@track("stream", service=SERVICE)
def stream(tally: Tally) -> Iterator[int]:
    tally.entered["stream"] += 1
    yield 1


@track("step", service=SERVICE)
async def step(tally: Tally) -> None:
    tally.entered["step"] += 1
    await asyncio.sleep(0)


@track("wait", service=SERVICE)
async def wait(tally: Tally) -> None:
    tally.entered["wait"] += 1
    await asyncio.Event().wait()


def run_failing(tally: Tally) -> None:
    try:
        fail(tally)
    except ValueError:
        pass


def run_stream(tally: Tally) -> None:
    for _ in stream(tally):
        pass


def run_block(tally: Tally) -> None:
    with service(SERVICE).operation("block") as op:
        tally.entered["block"] += 1
        op.set_attribute("number", 1)


def run_tracker(tally: Tally) -> None:
    tracker = service(SERVICE).start_operation("tracker")
    tally.entered["tracker"] += 1
    tracker.complete()


def run_span(tally: Tally) -> None:
    with trace.get_tracer(SERVICE).start_as_current_span("span") as span:
        tally.entered["span"] += 1
        span.set_attributes({"number": 1})


def run_recorded(tally: Tally) -> None:
    service(SERVICE).record_operation("recorded", 0.001)
    tally.entered["recorded"] += 1


IN_THREADS: dict[str, Callable[[Tally], None]] = {
    "call": call,
    "fail": run_failing,
    "outer": outer,
    "stream": run_stream,
    "block": run_block,
    "tracker": run_tracker,
    "span": run_span,
    "recorded": run_recorded,
}
KINDS = (*IN_THREADS, "step", "wait")


def in_a_thread(tally: Tally, operations: int) -> None:
    for _ in range(operations // (len(IN_THREADS) + 1)):
        for kind, run in IN_THREADS.items():
            tally.begun[kind] += 1
            run(tally)


async def in_a_task(tally: Tally, operations: int) -> None:
    for number in range(operations):
        if number % 20 == 19:
            tally.begun["wait"] += 1
            waiting = asyncio.create_task(wait(tally))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        else:
            tally.begun["step"] += 1
            await step(tally)


async def in_tasks(tally: Tally, operations: int) -> None:
    await asyncio.gather(*(in_a_task(tally, operations // TASKS) for _ in range(TASKS)))


@dataclass
class Reader:
    """Queries all the time, and compares each answer with what the threads have said."""

    tallies: list[Tally]
    queries: int = 0
    missing: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    fallen: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def sum_of(self, what: str) -> dict[str, int]:
        return {kind: sum(getattr(t, what)[kind] for t in self.tallies) for kind in KINDS}

    def query(self) -> None:
        at_least = self.sum_of("entered")
        summary = api.get_service_metrics(SERVICE)
        at_most = self.sum_of("begun")
        if summary is None:
            assert not any(at_least.values())
            return
        self.queries += 1
        metrics = summary.operation_metrics
        seen = {kind: (m.count, m.active) for kind, m in metrics.items()}
        for kind in KINDS:
            count, active = seen.get(kind, (0, 0))
            self.compare(kind, count + active, at_least[kind], at_most[kind])
            if count < self.counts.get(kind, 0) or active < 0:
                self.fallen.append(f"{kind}: {self.counts.get(kind)} to {count}, {active} active")
            self.counts[kind] = count
        total = summary.total_operations + summary.active_operations
        self.compare("all", total, sum(at_least.values()), sum(at_most.values()))
        assert summary.total_operations == sum(count for count, _ in seen.values())

    def compare(self, kind: str, seen: int, at_least: int, at_most: int) -> None:
        if seen < at_least:
            self.missing.append(f"{kind}: {seen} of {at_least}")
        if seen > at_most:
            self.twice.append(f"{kind}: {seen} of {at_most}")

    def read_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.query()

    def assert_exact(self) -> None:
        shown = {
            name: f"{len(found)}, such as {found[:3]}"
            for name in ("missing", "twice", "fallen")
            if (found := getattr(self, name))
        }
        assert not shown, f"of {self.queries} queries: {shown}"


@contextmanager
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@pytest.mark.prove
@pytest.mark.timeout(proving.limit(60))
def test_a_reader_that_never_stops_misses_no_run_and_sees_none_twice() -> None:
    """Count and active together lie between the runs entered before and those begun after."""
    tallies = [Tally() for _ in range(THREADS + 1)]
    reader, stop = Reader(tallies), threading.Event()
    share = OPERATIONS * 9 // 10 // THREADS
    # Not `isolated`, which keeps every span for the test to look at.
    with overriding(Studio(load_settings({}, os.sep))), switching_often():
        reading = threading.Thread(target=reader.read_until, args=(stop,))
        reading.start()
        try:
            with ThreadPoolExecutor(THREADS + 1) as pool:
                running = [pool.submit(in_a_thread, tally, share) for tally in tallies[1:]]
                running.append(pool.submit(asyncio.run, in_tasks(tallies[0], OPERATIONS // 10)))
                for future in running:
                    future.result()
        finally:
            stop.set()
            reading.join()
        reader.query()
        begun = reader.sum_of("begun")
        metrics = api.get_service_metrics(SERVICE).operation_metrics
        assert {kind: m.count for kind, m in metrics.items()} == begun
        assert {m.active for m in metrics.values()} == {0}
    assert reader.queries > 10
    reader.assert_exact()


def test_where_nothing_is_active_everything_that_was_begun_is_counted() -> None:
    """To wait until nothing runs and then to read the counts is enough."""
    rounds = 300
    tally = Tally()
    ready, done = threading.Semaphore(0), threading.Semaphore(0)

    def work() -> None:
        for _ in range(rounds):
            ready.acquire()
            call(tally)
            done.release()

    with overriding(Studio(load_settings({}, os.sep))), switching_often():
        thread = threading.Thread(target=work)
        thread.start()
        missed = []
        for number in range(rounds):
            ready.release()
            while tally.entered["call"] <= number:
                pass
            while api.get_active_operations_count().total:
                pass
            count = api.get_service_metrics(SERVICE).operation_metrics["call"].count
            if count != number + 1:
                missed.append((number + 1, count))
            done.acquire()
        thread.join()
    assert not missed


@pytest.mark.parametrize("readers", [2])
def test_several_readers_at_once(readers: int) -> None:
    """Readers that fold at the same time take nothing from each other."""
    tallies = [Tally() for _ in range(2)]
    watching = [Reader(tallies) for _ in range(readers)]
    stop = threading.Event()
    with overriding(Studio(load_settings({}, os.sep))), switching_often():
        threads = [threading.Thread(target=r.read_until, args=(stop,)) for r in watching]
        for thread in threads:
            thread.start()
        with ThreadPoolExecutor(len(tallies)) as pool:
            list(pool.map(in_a_thread, tallies, [8_000] * len(tallies)))
        stop.set()
        for thread in threads:
            thread.join()
    for reader in watching:
        reader.assert_exact()
