"""Times one subject on request, in a process and an environment of its own.

Reads one JSON object a line from standard input and answers with one on standard output:
`{"shape": NAME, "loops": N}` with `{"seconds": S}`, and so on; see `answer`. The parent asks
the workers of all subjects in turn, so that a slow spell of the machine meets every one.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.subject import Subject

#: CPU time of every thread of the process: on a quiet machine what the clock on the wall shows
#: for calls in a loop, and on a busy one still that. Work handed to another thread counts.
_clock = time.process_time

_THREADS = 16
_BURST_SECONDS = 0.05
#: Operations sent before the load: threads, connections and first imports are there by then.
_WARM_UP = 600


def time_calls(call: Callable[[], Any], loops: int, settle: Callable[[], object]) -> float:
    """Return the CPU seconds of `loops` calls and of what they put off."""
    counter = range(loops)
    began = _clock()
    for _ in counter:
        call()
    settle()
    return _clock() - began


def time_errors(call: Callable[[], Any], loops: int, settle: Callable[[], object]) -> float:
    """The same for a call that raises `ValueError`."""
    counter = range(loops)
    began = _clock()
    for _ in counter:
        try:
            call()
        except ValueError:
            pass
    settle()
    return _clock() - began


def time_generators(call: Callable[[], Any], loops: int, settle: Callable[[], object]) -> float:
    """The same for a generator function, each generator run to its end."""
    counter = range(loops)
    began = _clock()
    for _ in counter:
        for _item in call():
            pass
    settle()
    return _clock() - began


def time_coroutines(call: Callable[[], Any], loops: int, settle: Callable[[], object]) -> float:
    """The same for a coroutine function, on one event loop."""

    async def run() -> float:
        counter = range(loops)
        began = _clock()
        for _ in counter:
            await call()
        settle()
        return _clock() - began

    return asyncio.run(run())


def time_threads(call: Callable[[], Any], loops: int, settle: Callable[[], object]) -> float:
    """The same for `loops` calls shared out among 16 threads."""
    share = max(loops // _THREADS, 1)
    barrier = threading.Barrier(_THREADS + 1)

    def run() -> None:
        counter = range(share)
        barrier.wait()
        for _ in counter:
            call()

    threads = [threading.Thread(target=run) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = _clock()
    for thread in threads:
        thread.join()
    settle()
    return (_clock() - began) * loops / (share * _THREADS)


_TIMERS = {
    "async": time_coroutines,
    "error": time_errors,
    "generator": time_generators,
    "threads": time_threads,
}
#: Shapes that time the call of another one.
_CALL_OF = {"threads": "call"}


def time_shape(subject: Subject, shape: str, loops: int) -> float:
    """Return the CPU seconds that one operation takes, over `loops` calls."""
    timer = _TIMERS.get(shape, time_calls)
    call = subject.calls[_CALL_OF.get(shape, shape)]
    return timer(call, loops, subject.settle) / loops / subject.runs.get(shape, 1)


def calibrate(subject: Subject, shape: str, seconds: float) -> int:
    """Return the number of calls that takes at least `seconds`."""
    loops = _THREADS if shape == "threads" else 1
    time_shape(subject, shape, loops)  # what only the first call costs
    while True:
        taken = time_shape(subject, shape, loops) * loops * subject.runs.get(shape, 1)
        if taken >= seconds:
            return loops
        loops *= int(max(2, min(10, 1.2 * seconds / max(taken, 1e-9))))


def export(subject: Subject, operations: int, rate: int) -> dict[str, float]:
    """Return the CPU seconds of a steady load: every thread of the process, and the flush.

    At a rate that the slowest can keep, because a full queue drops spans and what is dropped
    costs nothing.
    """
    call = subject.calls["export"]
    for _ in range(_WARM_UP):
        call()
    subject.settle()
    burst = range(max(int(rate * _BURST_SECONDS), 1))
    bursts = operations // len(burst)
    wall, cpu = time.perf_counter(), time.process_time()
    due = wall
    for _ in range(bursts):
        for _ in burst:
            call()
        due += _BURST_SECONDS
        time.sleep(max(due - time.perf_counter(), 0))
    subject.settle()
    return {
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "operations": bursts * len(burst),
        "sent": bursts * len(burst) + _WARM_UP,
    }


def pace(subject: Subject, calls: int, rate: int) -> float:
    """Return the CPU seconds of a call and the sleep before it, at `rate` calls in a second.

    Asleep the process loses the processor's caches, which in a loop of calls it keeps. The same
    of a plain call is what the sleep costs.
    """
    call = subject.calls["call"]
    due, began = time.perf_counter(), _clock()
    for _ in range(calls):
        time.sleep(max(due - time.perf_counter(), 0))
        call()
        due += 1 / rate
    subject.settle()
    return (_clock() - began) / calls


def memory(subject: Subject, names: int) -> dict[str, int]:
    """Return the bytes that Python holds for `names` operation names more than before."""
    import tracemalloc

    assert subject.fill is not None
    subject.fill(1)  # the first use imports modules, which no name of an operation holds
    subject.settle()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    subject.fill(names)
    subject.settle()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {"bytes": after - before}


def answer(subject: Subject, request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one request of the parent."""
    if "calibrate" in request:
        return {"loops": calibrate(subject, request["calibrate"], request["seconds"])}
    if "shape" in request:
        return {"seconds": time_shape(subject, request["shape"], request["loops"])}
    if "export" in request:
        return export(subject, request["export"], request["rate"])
    if "paced" in request:
        return {"seconds": pace(subject, request["paced"], request["rate"])}
    if "figure" in request:
        return {"value": subject.figures[request["figure"]]()}
    if "memory" in request:
        return memory(subject, request["memory"])
    raise ValueError(f"no such request: {request}")


def main() -> None:
    """Make the subject named on the command line, say its shapes, and answer until the end."""
    name, *endpoint = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what a peer prints is no answer
    subject = importlib.import_module(f"bench.subjects.{name}").make(*endpoint)
    shapes = list(subject.calls) + [s for s, call in _CALL_OF.items() if call in subject.calls]
    shapes += subject.figures
    print(
        json.dumps({"shapes": shapes, "fill": subject.fill is not None}), file=answers, flush=True
    )
    for line in sys.stdin:
        print(json.dumps(answer(subject, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
