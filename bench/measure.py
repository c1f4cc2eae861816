"""Takes the measurements of the plan and keeps them as pyperf benchmarks."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pyperf

from bench import plan
from bench.environments import Unavailable, python_for
from bench.receivers import Collector, Sink, best_receiver
from bench.workers import Worker, interleave

Key = tuple[str, str]


@dataclass(frozen=True)
class Effort:
    """How long a measurement takes.

    Attributes:
        processes: fresh processes of every subject.
        values: taken of each shape in each of them.
        seconds: the least that one value takes.
        exported: operations under the exporting load.
        rate: of them in a second; the slowest subject must keep it.
        paced: calls in one value of the paced load.
    """

    processes: int
    values: int
    seconds: float
    exported: int
    rate: int
    paced: int


FULL = Effort(processes=4, values=5, seconds=0.05, exported=25_000, rate=5_000, paced=1_000)
QUICK = Effort(processes=1, values=3, seconds=0.02, exported=5_000, rate=5_000, paced=250)


@dataclass
class Measurements:
    """Everything that was measured.

    Attributes:
        runs: values in seconds by (subject, shape), one list for each process.
        memory: bytes for 1,000 operation names, by subject.
        left_out: subjects that could not be measured, and why.
        own_ratios: values of ratios that a subject measures itself, by (subject, figure).
        receiver: what took the spans of the exporting load.
        loops: calls in one value.
    """

    runs: dict[Key, list[list[float]]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    own_ratios: dict[Key, list[float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    receiver: str = ""
    loops: dict[Key, int] = field(default_factory=dict)

    def add(self, taken: dict[Key, list[float]]) -> None:
        """Keep the values of one more process of each subject."""
        for key, values in taken.items():
            self.runs.setdefault(key, []).append(values)

    def values(self, key: Key) -> list[float]:
        """Return all values of a subject's shape, in the order they were taken."""
        return [value for run in self.runs.get(key, ()) for value in run]

    def median(self, key: Key) -> float | None:
        """Return the median in seconds; `None` for what was not measured."""
        values = self.values(key)
        return statistics.median(values) if values else None

    def ratio(self, work: Key, against: Key) -> float | None:
        """Return the median of the ratios of values that were taken side by side."""
        pairs = list(zip(self.values(work), self.values(against), strict=False))
        return statistics.median(ours / theirs for ours, theirs in pairs) if pairs else None

    def above(self, work: Key, against: Key) -> float | None:
        """Return the median of the differences of values that were taken side by side."""
        pairs = list(zip(self.values(work), self.values(against), strict=False))
        return statistics.median(ours - theirs for ours, theirs in pairs) if pairs else None

    def own_ratio(self, key: Key) -> float | None:
        """Return the median of a ratio that a subject measures itself."""
        values = self.own_ratios.get(key)
        return statistics.median(values) if values else None

    def suite(self) -> pyperf.BenchmarkSuite | None:
        """Return the values for pyperf's own tools."""
        benchmarks = []
        for (subject, shape), runs in sorted(self.runs.items()):
            metadata = {"name": f"{subject}: {shape}", "unit": "second"}
            benchmarks.append(
                pyperf.Benchmark(
                    [pyperf.Run(run, metadata=metadata, collect_metadata=False) for run in runs]
                )
            )
        return pyperf.BenchmarkSuite(benchmarks) if benchmarks else None


class Measurement:
    """One run of the benchmark.

    Args:
        effort: how long it takes.
        only: subjects to measure; all where it is empty.
        make_environments: whether to make those that peers lack.
    """

    def __init__(self, effort: Effort, only: Iterable[str], *, make_environments: bool) -> None:
        self.effort = effort
        self.results = Measurements()
        self._only = set(only)
        self._make_environments = make_environments

    def take(self) -> Measurements:
        """Measure everything, saying on standard error what is under way."""
        with Sink() as sink:
            for number in range(self.effort.processes):
                _say(f"operations, process {number + 1} of {self.effort.processes}")
                self._operations(sink)
                _say(f"registry and encoding, process {number + 1} of {self.effort.processes}")
                self._registry()
                if number == 0:
                    _say("bounds in milliseconds, beside a calibration loop")
                    self._times()
                    self._own_ratios()
                    _say("paced calls")
                    self._paced()
                _say(f"imports, round {number + 1} of {self.effort.processes}")
                self._imports()
            _say("memory")
            self._memory()
            for number in range(min(self.effort.processes, 3)):
                _say(f"exporting load, round {number + 1}")
                self._exporting(sink)
        return self.results

    def _operations(self, sink: Sink) -> None:
        with self._workers(plan.OPERATIONS, {"sink": sink}) as workers:
            self._interleave(workers, list(plan.SHAPES), self.effort.values)

    def _registry(self) -> None:
        rows = [plan.Row(subject, subject) for subject in plan.REGISTRY]
        with self._workers(rows, {}) as workers:
            shapes = {shape: None for group in plan.REGISTRY.values() for shape in group}
            self._interleave(workers, list(shapes), min(self.effort.values, 3))

    def _times(self) -> None:
        for time in plan.TIMES:
            rows = [plan.Row(time.subject, time.subject)]
            with self._workers(rows, {}) as workers, Worker("calibration") as loop:
                for worker in workers:
                    self._time(time, worker, loop)

    def _time(self, time: plan.Time, worker: Worker, loop: Worker) -> None:
        def value() -> float:
            if time.figure:
                return float(worker.ask(figure=time.shape)["value"])
            return float(worker.ask(shape=time.shape, loops=1)["seconds"])

        value()  # what only the first one costs
        loop.ask(shape="loop", loops=1)
        taken: dict[Key, list[float]] = {time.key: [], time.beside: []}
        for _ in range(plan.VALUES):
            taken[time.beside].append(float(loop.ask(shape="loop", loops=1)["seconds"]))
            taken[time.key].append(value())
        self.results.add(taken)

    def _paced(self) -> None:
        with self._workers(plan.PACED, {}) as workers, Worker("calibration") as loop:
            for number in range(self.effort.values + 1):
                taken = {plan.BESIDE_PACED: [float(loop.ask(shape="loop", loops=1)["seconds"])]}
                for worker in workers:
                    answer = worker.ask(paced=self.effort.paced, rate=plan.PACED_RATE)
                    taken[worker.subject, "paced"] = [float(answer["seconds"])]
                if number:  # the first has what only the first one costs
                    self.results.add(taken)

    def _own_ratios(self) -> None:
        for ratio in plan.OWN_RATIOS:
            with self._workers([plan.Row(ratio.subject, ratio.title)], {}) as workers:
                for worker in workers:
                    values = [
                        float(worker.ask(figure=ratio.figure)["value"])
                        for _ in range(self.effort.values)
                    ]
                    self.results.own_ratios[ratio.subject, ratio.figure] = values

    def _interleave(self, workers: list[Worker], shapes: list[str], values: int) -> None:
        self.results.add(
            interleave(
                workers,
                shapes,
                values=values,
                seconds=self.effort.seconds,
                loops=self.results.loops,
            )
        )

    def _imports(self) -> None:
        taken: dict[Key, list[float]] = {}
        for _ in range(self.effort.values):
            for statement, peer in plan.IMPORTS.items():
                try:
                    python = self._python(statement, peer)
                except Unavailable:
                    continue
                program = (
                    f"import time; began = time.process_time(); {statement}; "
                    "print(time.process_time() - began)"
                )
                done = subprocess.run(
                    [python, "-c", program], capture_output=True, text=True, check=True
                )
                taken.setdefault((statement, "import"), []).append(float(done.stdout.split()[-1]))
        self.results.add(taken)

    def _memory(self) -> None:
        for subject in ("registry_studio", "registry_otel"):
            if self._only and subject not in self._only:
                continue
            with Worker(subject) as worker:
                self.results.memory[subject] = int(worker.ask(memory=1_000)["bytes"])

    def _exporting(self, sink: Sink) -> None:
        with best_receiver() as receiver:
            self.results.receiver = receiver.name
            receivers = {"receiver": receiver, "sink": sink}
            for row in plan.EXPORTING:
                with self._workers([row], receivers) as workers:
                    for worker in workers:
                        self._export(row, worker, receivers.get(row.to or ""))

    def _export(self, row: plan.Row, worker: Worker, receiver: Sink | Collector | None) -> None:
        before = receiver.received() if receiver else 0
        answer = worker.ask(export=self.effort.exported, rate=self.effort.rate)
        if receiver and receiver.received() - before < 0.99 * answer["sent"]:
            self.results.left_out[f"{row.subject}, exporting"] = (
                f"only {receiver.received() - before} of {answer['sent']} spans arrived: what is "
                "dropped costs nothing, and the number would flatter"
            )
            return
        seconds = answer["cpu_seconds"] / answer["operations"]
        self.results.add({(row.subject, "export"): [seconds]})

    @contextmanager
    def _workers(
        self, rows: Iterable[plan.Row], receivers: Mapping[str, Sink | Collector]
    ) -> Iterator[list[Worker]]:
        with ExitStack() as stack:
            started = []
            for row in rows:
                if self._only and row.subject not in self._only:
                    continue
                try:
                    python = self._python(row.subject, row.peer)
                except Unavailable:
                    continue
                endpoint = receivers[row.to].endpoint if row.to else None
                started.append(stack.enter_context(Worker(row.subject, python, endpoint)))
            ready = []
            for worker in started:
                try:
                    assert worker.shapes
                    ready.append(worker)
                except RuntimeError as error:
                    self.results.left_out[worker.subject] = str(error).strip().splitlines()[-1]
            yield ready

    def _python(self, what: str, peer: str | None) -> str:
        try:
            return str(python_for(peer, make=self._make_environments))
        except Unavailable as error:
            self.results.left_out[what] = str(error)
            raise


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
