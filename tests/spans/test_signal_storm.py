"""A storm of signals whose handler raises, at any instruction of a run, a fold or a query.

Each storm runs in a process of its own, on a timer of the real clock. The handler raises only
while the code under test runs, so that what measures is never interrupted.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

import proving
from program import run_program

INTERRUPTS = proving.scaled(10_000)
#: Of the interrupts: how many may leave the context wrong.
WRONG = 0.001

STORM = """
import gc, json, logging, os, random, signal, sys

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import otel_studio
from otel_studio import api
from otel_studio.base import guard

logging.disable(logging.CRITICAL)  # its own locks survive no interrupt
arrived, in_finalizers, others = set(), set(), []


def lost_in_a_finalizer(unraisable):
    error = unraisable.exc_value  # Python itself lets nothing out of a finalizer
    while error is not None and not isinstance(error, Raised):
        error = error.__context__
    if error is None:
        others.append(repr(unraisable.exc_value))
    else:
        in_finalizers.add(error.args[0])


sys.unraisablehook = lost_in_a_finalizer
wanted, what, seed = int(os.environ["INTERRUPTS"]), os.environ["WHAT"], int(os.environ["SEED"])
dice = random.Random(seed)
otel_studio.configure(service_name="storm", registry_backlog=40, fold_interval=60)
tracer = trace.get_tracer("storm")
service = otel_studio.service("storm")


class Raised(Exception if os.environ["KIND"] == "Exception" else BaseException):
    pass


armed = False
delivered = tried = completed = wrong = quiet = 0


def handler(*_):
    global armed, delivered
    if armed:
        armed = False
        delivered += 1
        raise Raised(delivered)


@otel_studio.track("call", service="storm")
def tracked():
    global completed
    completed += 1


@otel_studio.track("stream", service="storm")
def streamed():
    global completed
    yield 1
    yield 2
    completed += 1


def call():
    tracked()


def stream():
    for _ in streamed():
        pass


def span():
    global completed
    with tracer.start_as_current_span("span"):
        completed += 1


def block():
    global completed
    with service.operation("block"):
        completed += 1


def tracker():
    global completed
    begun = service.start_operation("tracker")
    completed += 1
    begun.complete()


body = globals()[what]


def attack():
    # A function of its own: the jump back of a loop is not always within the `try` around it.
    global tried
    while armed:
        tried += 1
        body()
        if not tried % 50:
            api.get_service_metrics("storm")


def storm(expected, wanted):
    "Interrupts the body so often; afterwards each time the expected span must be current."
    global armed, wrong, quiet
    base = context.get_current()
    until = delivered + wanted
    while delivered < until:
        for _ in range(3):
            with service.operation("quiet"):
                pass
            quiet += 1
        try:
            signal.setitimer(
                signal.ITIMER_REAL, dice.uniform(5e-6, 300e-6), dice.uniform(5e-5, 300e-6)
            )
            armed = True
            attack()
        except Raised as error:
            arrived.add(error.args[0])
        signal.setitimer(signal.ITIMER_REAL, 0)
        armed = False
        if trace.get_current_span() is not expected or context.get_current() != base:
            wrong += 1
            context.attach(base)


signal.signal(signal.SIGALRM, handler)
storm(trace.INVALID_SPAN, wanted // 2)
around = NonRecordingSpan(SpanContext(7, 7, False, TraceFlags(1)))
token = context.attach(trace.set_span_in_context(around))
storm(around, wanted - wanted // 2)
context.detach(token)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
gc.collect()
metrics = api.get_service_metrics("storm").operation_metrics
found = metrics[what]
print(json.dumps({
    "delivered": delivered, "wrong": wrong, "swallowed": delivered - len(arrived | in_finalizers),
    "in_finalizers": len(in_finalizers - arrived), "other_errors": others[:3],
    "active": api.get_active_operations_count().total,
    "tried": tried, "completed": completed, "ended": found.count, "abandoned": found.abandoned,
    "quiet": quiet, "quiet_counted": metrics["quiet"].count,
    "internal_errors": dict(guard.internal_errors),
}))
otel_studio.shutdown()
"""


def storm(folder: Path, what: str, kind: str) -> dict[str, Any]:
    """Return what a storm on one kind of run did."""
    ended = run_program(
        folder,
        STORM,
        timeout=proving.limit(30),
        INTERRUPTS=str(INTERRUPTS),
        WHAT=what,
        KIND=kind,
        SEED="1",
    )
    assert ended.code == 0, f"status {ended.code}:\n{ended.logged[-4000:]}"
    found: dict[str, Any] = json.loads(ended.printed)
    return found


@pytest.mark.prove
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
@pytest.mark.timeout(proving.limit(40))
@pytest.mark.parametrize("kind", ["Exception", "BaseException"])
@pytest.mark.parametrize("what", ["call", "stream", "block", "tracker", "span"])
def test_a_run_that_is_interrupted_anywhere_leaves_everything_as_it_was(
    tmp_path: Path, what: str, kind: str
) -> None:
    """The context is put back, nothing stays active, and no other run is lost with it."""
    found = storm(tmp_path, what, kind)
    assert found["delivered"] >= INTERRUPTS
    ended = found["ended"] + found["abandoned"]
    kept = {
        "what was raised arrives": found["swallowed"] == 0,
        "what is half made is dropped in silence": not found["other_errors"],
        "the context is put back": found["wrong"] <= WRONG * INTERRUPTS,
        "nothing stays active": found["active"] == 0,
        "runs that were not interrupted are counted": found["quiet_counted"] == found["quiet"],
        "what completed has ended": found["completed"] <= ended,
        "nothing is counted twice": ended <= found["tried"],
    }
    broken = [what for what, holds in kept.items() if not holds]
    assert not broken, f"{broken}: {json.dumps(found)}"
