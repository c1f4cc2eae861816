"""Queries from wherever a program may stand: handlers of signals and logs, finalizers, filters.

Each program runs in a process of its own and says where it hangs.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import proving
from parts import ROOT
from program import run_program

#: A program that uses everything: `ACTIONS` by name, of which the queries are `QUERIES`.
WORLD = """
import faulthandler, gc, itertools, json, logging, os, signal, sys, threading, time, weakref

faulthandler.dump_traceback_later(float(os.environ["LIMIT"]), exit=True)
from opentelemetry import metrics, trace

import otel_studio
from otel_studio import api
from otel_studio.base import guard

logging.basicConfig(handlers=[logging.NullHandler()], level=logging.INFO)
studio = otel_studio.configure(
    service_name="x", logging=True, registry_backlog=20, fold_interval=60,
    max_operations_per_service=10, max_caches=8, export_interval=60,
)
log = logging.getLogger("app")
numbers = itertools.count()
unraisable = []
sys.unraisablehook = lambda it: unraisable.append(repr(it.exc_value))


def operation():
    number = next(numbers)
    with otel_studio.service("shop").operation(f"operation {number % 12}") as op:
        op.set_attribute("number", number)
        op.fail("broken") if number % 7 == 0 else None


def span():
    with trace.get_tracer(f"library {next(numbers) % 5}").start_as_current_span("span") as s:
        s.add_event("seen")


def dropped():
    otel_studio.service("shop").start_operation("dropped")


def cache():
    cache = otel_studio.cache(f"cache {next(numbers) % 10}", service="shop")
    cache.miss(1, duration=0.001)
    cache.set(1, size=10)
    cache.hit(1)
    cache.evict(1, reason="size")


def record():
    with otel_studio.service("shop").operation("logging"):
        log.info("working")
        log.warning("slow")


def new_service():
    otel_studio.service(f"new {next(numbers) % 50}").record_operation("x", 0.001)


def meter():
    metrics.get_meter(f"library {next(numbers) % 5}").create_counter("counter").add(1)


def reset():
    otel_studio.service("reset").record_operation("x", 0.001)
    api.reset_service_metrics("reset")


def flush():
    studio.force_flush()


QUERIES = {
    name: getattr(api, name) for name in api.__all__
    if name.startswith("get_") and name not in ("get_service_metrics", "get_latency_buckets")
}
QUERIES["service"] = lambda: api.get_service_metrics("shop")
QUERIES["buckets"] = lambda: api.get_latency_buckets("shop", "operation 1")
QUERIES["prometheus"] = api.export_metrics_prometheus
QUERIES["csv"] = lambda: api.export_metrics("csv")
QUERIES["json"] = lambda: api.export_metrics("json")
OTHERS = {
    f.__name__: f for f in
    (operation, span, dropped, cache, record, new_service, meter, reset, flush)
}
ACTIONS = {**OTHERS, **QUERIES}
#: A flush waits for other threads, with a limit: it is interrupted, and interrupts nothing.
AT_ONCE = {name: action for name, action in ACTIONS.items() if name != "flush"}
for _ in range(40):
    for other in OTHERS.values():
        other()
for query in QUERIES.values():
    query()


def finish(**found):
    print(json.dumps({
        **found, "unraisable": unraisable[:5], "internal_errors": dict(guard.internal_errors),
        "active": api.get_active_operations_count().total,
    }), flush=True)
    os._exit(0)
"""


def run(folder: Path, program: str, **variables: str) -> dict[str, Any]:
    """Return what a program in that world found."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    seconds = proving.limit(75)
    ended = run_program(
        folder,
        WORLD + program,
        timeout=seconds + 10,
        LIMIT=str(seconds),
        PYTHONPATH=os.pathsep.join(paths),
        **variables,
    )
    assert ended.code == 0, f"status {ended.code}; where it hung:\n{ended.logged[-5000:]}"
    found: dict[str, Any] = json.loads(ended.printed)
    assert not found.pop("unraisable")
    assert not found.pop("internal_errors")
    return found


AT_EVERY_LINE = """
from opentelemetry.sdk import metrics as metrics_sdk

package = os.path.dirname(otel_studio.__file__) + os.sep
whole = os.environ["WHOLE"] == "1"
turn = itertools.cycle(AT_ONCE.items()).__next__
inside, visited, errors, victim = False, set(), [], ""
interruptions = 0


def at_line(frame, event, _):
    "As a signal's handler would at this line: it does the same again, and something else."
    global inside, interruptions
    if event == "line" and not inside:
        caller = frame.f_back
        place = frame.f_code, frame.f_lineno, (caller.f_code, victim) if whole else None
        if place not in visited:
            visited.add(place)
            inside = True
            for name, action in ((victim, AT_ONCE.get(victim, operation)), turn()):
                try:
                    action()
                except Exception as error:
                    where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                    errors.append(f"{name} at {where} in {victim}: {error!r}")
            interruptions += 1
            inside = False
    return at_line


def at_call(frame, event, _):
    if not inside and frame.f_code.co_filename.startswith(package):
        return at_line
    return None


for victim, action in ACTIONS.items():
    sys.settrace(at_call)
    try:
        action()
    except metrics_sdk.MetricsTimeoutError:
        pass  # the SDK gives a collection ten seconds
    except Exception as error:
        sys.settrace(None)
        errors.append(f"{victim} itself: {error!r}")
    sys.settrace(None)
gc.collect()
finish(interruptions=interruptions, errors=errors[:10])
"""


@pytest.mark.prove
@pytest.mark.timeout(proving.limit(120))
def test_at_every_line_of_the_package(tmp_path: Path) -> None:
    """Whatever is interrupted, at any line, can be done again there, and so can all else."""
    found = run(tmp_path, AT_EVERY_LINE, WHOLE=str(int(proving.WHOLE)))
    assert not found["errors"], "\n".join(found["errors"])
    assert found["interruptions"] > 500
    assert found["active"] == 0


FROM_A_SIGNAL = """
turn = itertools.cycle(QUERIES.items()).__next__
handled, deep, errors = 0, False, []


def handler(*_):
    global handled, deep
    if deep:
        return
    deep = True
    name, query = turn()
    try:
        query()
    except Exception as error:
        errors.append(f"{name}: {error!r}")
    handled += 1
    deep = False


signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0013)
for action in itertools.cycle(ACTIONS.values()):
    action()
    if handled >= int(os.environ["TIMES"]):
        break
signal.setitimer(signal.ITIMER_REAL, 0)
gc.collect()
finish(handled=handled, errors=errors[:10])
"""


@pytest.mark.prove
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
@pytest.mark.timeout(proving.limit(120))
def test_from_a_signal_handler(tmp_path: Path) -> None:
    """A "dump your state" handler answers, whatever it interrupts."""
    found = run(tmp_path, FROM_A_SIGNAL, TIMES=str(proving.scaled(3_000)))
    assert not found["errors"], "\n".join(found["errors"])
    assert found["active"] == 0


FROM_A_FINALIZER = """
# An instrument of the SDK waits for itself where a finalizer uses it within its lock, whoever's
# the finalizer is: what is read of it may interrupt it, what is counted on it may not.
del AT_ONCE["meter"]
turn = itertools.cycle(AT_ONCE.items()).__next__
ran, deep, errors = 0, False, []


def collected(*_):
    global ran, deep
    if deep:
        return
    deep = True
    name, action = turn()
    try:
        action()
    except Exception as error:
        errors.append(f"{name}: {error!r}")
    ran += 1
    deep = False


class Finalized:
    def __init__(self):
        self.cycle = self

    def __del__(self):
        collected()


class Referred:
    def __init__(self):
        self.cycle = self


references = []


def leave_garbage():
    if os.environ["KIND"] == "__del__":
        Finalized()
    else:
        references.append(weakref.ref(Referred(), collected))


gc.set_threshold(60, 5, 5)  # somewhere inside of what is done next
for number in range(int(os.environ["TIMES"])):
    for action in ACTIONS.values():
        leave_garbage()
        action()
gc.set_threshold(700, 10, 10)
gc.collect()
finish(ran=ran, errors=errors[:10])
"""


@pytest.mark.prove
@pytest.mark.timeout(proving.limit(120))
@pytest.mark.parametrize("kind", ["__del__", "weakref"])
def test_from_what_the_garbage_collector_runs(tmp_path: Path, kind: str) -> None:
    """A finalizer or a weak reference's callback runs at any allocation, in any lock of ours."""
    times = proving.scaled(100)
    found = run(tmp_path, FROM_A_FINALIZER, KIND=kind, TIMES=str(times))
    assert not found["errors"], "\n".join(found["errors"])
    assert found["ran"] > times
    assert found["active"] == 0


FROM_LOGGING = """
deep, asked, errors = threading.local(), 0, []


def ask(record):
    "Asks everything, also about the warnings of this package itself."
    global asked
    if getattr(deep, "inside", False):
        return True
    deep.inside = True
    for name, query in QUERIES.items():
        try:
            query()
        except Exception as error:
            errors.append(f"{name}: {error!r}")
    otel_studio.service(f"of the log {next(numbers) % 20}").record_operation("asked", 0.001)
    asked += 1
    deep.inside = False
    return True


class Handler(logging.Handler):
    def emit(self, record):  # logging holds the handler's lock meanwhile
        ask(record)


kind = os.environ["KIND"]
handler = Handler() if kind == "handler" else logging.NullHandler()
logging.getLogger().addHandler(handler)
if kind == "filter":
    log.addFilter(ask)
    logging.getLogger("otel_studio").addFilter(ask)
if kind == "filter of a handler":
    class Quiet(logging.Handler):
        def emit(self, record):
            pass

    handler = Quiet()
    handler.addFilter(ask)
    logging.getLogger().addHandler(handler)


def work(actions):
    for number in range(int(os.environ["TIMES"])):
        guard.forget_said()  # so that limits, drops and failures are warned of again
        for action in actions:
            action()


threads = [
    threading.Thread(target=work, args=(actions,), daemon=True)
    for actions in (
        [record], [operation, dropped, cache], list(QUERIES.values()), [new_service, flush]
    )
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.collect()
guard.forget_said()
finish(asked=asked, errors=errors[:10])
"""


@pytest.mark.prove
@pytest.mark.timeout(proving.limit(120))
@pytest.mark.parametrize("kind", ["handler", "filter", "filter of a handler"])
def test_from_the_programs_own_logging(tmp_path: Path, kind: str) -> None:
    """A handler or filter that asks us, beside threads whose folds have something to warn of."""
    found = run(tmp_path, FROM_LOGGING, KIND=kind, TIMES=str(proving.scaled(100)))
    assert not found["errors"], "\n".join(found["errors"])
    assert found["asked"]
    assert found["active"] == 0


HANDLER_AND_FOLD = """
inside, go_on = threading.Event(), threading.Event()


class Audit(logging.Handler):
    def emit(self, record):
        if record.name == "audited":
            inside.set()
            go_on.wait(2)
            ask()


def ask():
    wanted = os.environ["ASKS"]
    if wanted == "service":
        otel_studio.service("a new one")
    elif wanted == "operation":
        operation()
    else:
        QUERIES[wanted]()


logging.getLogger().addHandler(Audit())
guard.forget_said()
folding = os.environ["WARNS"]
if folding == "limit":
    for name in range(20):
        with otel_studio.service("limited").operation(f"{name}"):
            pass
elif folding == "dropped":
    dropped()
elif folding == "failure":
    class Consumer:
        def on_start(self, *_): ...
        def on_end(self, span): raise ValueError("broken")
        def shutdown(self): ...
        def force_flush(self, *_): return True
    trace.get_tracer_provider().add_span_processor(Consumer())
    operation()
writer = threading.Thread(target=lambda: logging.getLogger("audited").info("x"), daemon=True)
reader = threading.Thread(target=api.get_all_metrics, daemon=True)
writer.start()
inside.wait(5)
reader.start()  # folds, and has something to say
reader.join(0.3)
go_on.set()  # the handler asks, with its own lock held
writer.join(5)
reader.join(5)
hung = [t.is_alive() for t in (writer, reader)]
if any(hung):
    faulthandler.dump_traceback()
    os._exit(9)
guard.forget_said()
finish()
"""


@pytest.mark.patient
@pytest.mark.parametrize(
    ("asks", "warns"),
    [
        ("get_active_operations_count", "limit"),
        ("get_log_counts", "limit"),
        ("prometheus", "limit"),
        ("service", "limit"),
        ("operation", "limit"),
        ("get_active_operations_count", "dropped"),
        ("get_active_operations_count", "failure"),
    ],
)
def test_a_handler_that_asks_and_a_fold_that_warns(tmp_path: Path, asks: str, warns: str) -> None:
    """Neither waits for the other: nothing is logged with a lock of ours held."""
    run(tmp_path, HANDLER_AND_FOLD, WARNS=warns, ASKS=asks)
