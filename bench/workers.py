"""The parent's side of the workers: starts them, asks them, interleaves their rounds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).parents[1]


class Worker:
    """A process that times one subject; a context manager.

    Args:
        subject: the name of a module in `bench.subjects`.
        python: the interpreter of its environment.
        endpoint: where it sends spans; `None` for an exporter that drops them.
    """

    def __init__(
        self, subject: str, python: Path | str = sys.executable, endpoint: str | None = None
    ) -> None:
        self.subject = subject
        # What the shell says about telemetry is no part of the measurement.
        ours = ("OTEL_", "DD_", "LOGFIRE_", "AUTOMETRICS_", "PYTHON")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        self._process = subprocess.Popen(
            [str(python), "-m", "bench.worker", subject, *([endpoint] if endpoint else [])],
            cwd=_ROOT,
            env={**kept, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._shapes: list[str] | None = None

    @property
    def shapes(self) -> list[str]:
        """The shapes that the subject has; waits until the worker is ready."""
        if self._shapes is None:
            self._shapes = list(self._read()["shapes"])
        return self._shapes

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return the answer to one request; see `bench.worker`."""
        assert self.shapes is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._process.communicate()[1]
            raise RuntimeError(f"the worker of {self.subject} ended: {said[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def interleave(
    workers: Sequence[Worker],
    shapes: Sequence[str],
    *,
    values: int,
    seconds: float,
    loops: dict[tuple[str, str], int],
) -> dict[tuple[str, str], list[float]]:
    """Return CPU seconds per operation by subject and shape, taken in turns.

    One value of every subject, then the next of every subject: values of the same index were
    taken close in time, and their ratio means something on a machine whose speed wanders.

    Args:
        workers: one for each subject.
        shapes: those that a subject lacks are passed over.
        values: to take of each.
        seconds: the least that one value takes.
        loops: calls per value, kept here from one use to the next.
    """
    taken: dict[tuple[str, str], list[float]] = {}
    for shape in shapes:
        having = [worker for worker in workers if shape in worker.shapes]
        for worker in having:
            key = worker.subject, shape
            if key not in loops:
                loops[key] = int(worker.ask(calibrate=shape, seconds=seconds)["loops"])
            else:
                worker.ask(shape=shape, loops=loops[key])  # to warm up
        for _ in range(values):
            for worker in having:
                key = worker.subject, shape
                answer = worker.ask(shape=shape, loops=loops[key])
                taken.setdefault(key, []).append(float(answer["seconds"]))
    return taken


def paired_ratio(
    work: tuple[Worker, str], against: tuple[Worker, str], *, values: int, seconds: float
) -> float:
    """Return what one subject's shape costs of another's: the median of ratios taken in turns.

    Args:
        work: a worker and its shape.
        against: the same.
        values: to take of each.
        seconds: the least that one value takes.
    """
    loops = [
        worker.ask(calibrate=shape, seconds=seconds)["loops"] for worker, shape in (work, against)
    ]
    ratios = []
    for _ in range(values):
        ours, theirs = (
            worker.ask(shape=shape, loops=count)["seconds"]
            for (worker, shape), count in zip((work, against), loops, strict=True)
        )
        ratios.append(ours / theirs)
    return float(statistics.median(ratios))
