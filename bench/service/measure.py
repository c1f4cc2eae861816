"""Takes the rounds: the services of all subjects live, one of them under load at a time."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.service import load, rounds
from bench.service.processes import Helper, Service
from bench.service.subjects import SUBJECTS, Subject, install_ours

#: Spans of each kind that a request makes under every subject.
EACH_REQUEST = ("server", "database", "client")


@dataclass(frozen=True)
class Effort:
    """How long a measurement takes.

    Attributes:
        processes: fresh processes of every service.
        turns: of the rounds with each of them.
        requests: in a round.
        rate: of them in a second.
    """

    processes: int
    turns: int
    requests: int
    rate: float


FULL = Effort(processes=2, turns=3, requests=400, rate=100)
QUICK = Effort(processes=1, turns=1, requests=200, rate=100)


@dataclass
class Results:
    """What was measured, by subject.

    Attributes:
        seconds: CPU for each request, one value a round.
        ratios: to none, one value a round.
        spans: that arrived for each request.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    spans: dict[str, float] = field(default_factory=dict)

    def add(self, turn: Sequence[tuple[str, float]]) -> None:
        """Keep the rounds of one turn."""
        for name, cost in turn:
            self.seconds.setdefault(name, []).append(cost)
        for name, values in rounds.ratios(turn).items():
            self.ratios.setdefault(name, []).extend(values)

    def ratio(self, name: str) -> float | None:
        """Return the median ratio of a subject to none."""
        values = self.ratios.get(name)
        return statistics.median(values) if values else None


class Measurement:
    """One run of the benchmark.

    Args:
        effort: how long it takes.
        python: the interpreter of the services' environment.
    """

    def __init__(self, effort: Effort, python: Path) -> None:
        self.effort = effort
        self.results = Results()
        self._python = python

    def take(self) -> Results:
        """Measure everything, saying on standard error what is under way."""
        with TemporaryDirectory() as folder:
            install_ours(Path(folder))
            for number in range(self.effort.processes):
                with ExitStack() as stack:
                    self._process(stack, number, folder)
        return self.results

    def _process(self, stack: ExitStack, number: int, folder: str) -> None:
        upstream = stack.enter_context(Helper("bench.service.upstream", self._python))
        live: dict[str, tuple[Service, Helper]] = {}
        for subject in SUBJECTS:
            sink = stack.enter_context(Helper("bench.service.sink", self._python))
            environment = {**subject.environment, "BENCH_UPSTREAM": upstream.url}
            if subject.sink:
                environment[subject.sink] = sink.url
            if subject.ours:
                environment["PYTHONPATH"] = folder
            service = Service(self._python, subject.launcher, environment)
            live[subject.name] = stack.enter_context(service), sink
        observed = {subject.name: subject for subject in SUBJECTS}
        for subject in SUBJECTS:  # what only the first requests cost
            self._round(subject, *live[subject.name])
        names = [subject.name for subject in SUBJECTS if subject.launcher]
        for turn in range(self.effort.turns):
            _say(f"process {number + 1} of {self.effort.processes}, turn {turn + 1}")
            order = rounds.order(names, number * self.effort.turns + turn)
            self.results.add([(name, self._round(observed[name], *live[name])) for name in order])
        _require_metrics(live)

    def _round(self, subject: Subject, service: Service, sink: Helper) -> float:
        """Return the CPU seconds of a request, with what was put off and is sent later."""
        requests = self.effort.requests
        before, began = sink.counts(), service.cpu_seconds()
        load.send(service.port, requests=requests, rate=self.effort.rate)
        if subject.sink:
            counts = _arrived(subject, sink, before, requests)
            self.results.spans[subject.name] = sum(counts.values()) / requests
        return (service.cpu_seconds() - began) / requests


def _arrived(
    subject: Subject, sink: Helper, before: dict[str, int], requests: int
) -> dict[str, int]:
    """Wait for the spans of a round, and refuse what is no comparison."""
    deadline = time.monotonic() + 15
    while True:
        now = sink.counts()
        counts = {kind: now.get(kind, 0) - before.get(kind, 0) for kind in (*EACH_REQUEST, "other")}
        if all(counts[kind] >= requests for kind in EACH_REQUEST) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if any(counts[kind] != requests for kind in EACH_REQUEST):
        raise RuntimeError(
            f"{subject.name} sent {counts} for {requests} requests, one of each kind was expected: "
            "what does more or less work cannot be compared"
        )
    return counts


def _require_metrics(live: dict[str, tuple[Service, Helper]]) -> None:
    for subject in SUBJECTS:
        if "OTEL_METRICS_EXPORTER" in subject.environment:
            counts = live[subject.name][1].counts()
            if not counts.get("/v1/metrics"):
                raise RuntimeError(f"{subject.name} sent no metrics: {counts}")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
