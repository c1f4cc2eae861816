"""Forks at any moment, from any thread, with other threads inside every lock of the package."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import proving
from parts import ROOT
from program import run_program

FORKS = proving.scaled(300, 15)

#: A configured program, all that it may do, and a child that does all of that.
WORLD = """
import faulthandler, itertools, json, logging, os, signal, sys, threading, time, warnings

warnings.simplefilter("ignore")
from opentelemetry import metrics, trace

import otel_studio
from otel_studio import api

forks, limit = int(os.environ["FORKS"]), float(os.environ["LIMIT"])
faulthandler.enable()  # a child that hangs is aborted, and says where
faulthandler.dump_traceback_later(limit, exit=True)
sys.setswitchinterval(2e-4)


class Kept(logging.Handler):
    def emit(self, record):
        record.getMessage()


logging.basicConfig(handlers=[Kept()], level=logging.INFO)
SETUP
studio = otel_studio.configure(
    service_name="storm", logging=True, gpu=True, process=True, registry_backlog=100,
    fold_interval=0.01, shutdown_timeout=1, metrics_exporter=("prometheus",), prometheus_port=0,
    max_operations_per_service=20, max_caches=30, cache_poll_interval=1,
)
log = logging.getLogger("app")
numbers = itertools.count()
QUERIES = [
    name for name in api.__all__
    if name.startswith("get_") and name not in ("get_service_metrics", "get_latency_buckets")
]


@otel_studio.track("tracked", service="shop")
def tracked(number):
    if number % 5 == 0:
        raise ValueError(number)


def operations(number):
    with otel_studio.service(f"service {number % 4}").operation(f"operation {number % 30}") as op:
        op.set_attribute("number", number)
    try:
        tracked(number)
    except ValueError:
        pass
    otel_studio.service("shop").start_operation("tracker").complete()
    otel_studio.service("shop").record_operation("recorded", 0.001)


def caches(number):
    for other in range(10):  # past the limit, too
        cache = otel_studio.cache(f"cache {(number + other) % 40}", service="shop")
    cache.miss(number, duration=0.001)
    cache.set(number, size=10)
    cache.hit(number)
    cache.evict(number, reason="size")
    api.set_cache_alert_thresholds({"min_hit_rate": 0.1})
    api.get_cache_alerts()


def queries(number):
    for name in QUERIES:
        getattr(api, name)()


def scrapes(number):
    api.export_metrics_prometheus()
    studio.force_flush()


def logs(number):
    with otel_studio.service("shop").operation(f"logging {number % 5}"):
        log.info("working on %s", number)
        log.warning("slow")


def spans(number):
    tracer = trace.get_tracer(f"library {number % 20}")
    with tracer.start_as_current_span("span", attributes={"number": number}) as span:
        span.add_event("seen")
    meter = metrics.get_meter(f"library {number % 20}")
    meter.create_counter(f"counter.{number % 3}").add(1)


WORK = (operations, caches, queries, scrapes, logs, spans)
def child():
    try:
        for _ in range(2):
            with otel_studio.service("child").operation("child"):
                log.info("in a child")
        for work in WORK:
            work(1)
        text = api.export_metrics_prometheus()
        found = api.get_service_metrics("child").operation_metrics["child"].count
        counts = [
            line for line in text.splitlines() if 'studio_operation="child"' in line
            and line.startswith("otel_studio_operation_duration_seconds_count")
        ]
        if found != 2 or len(counts) != 1 or float(counts[0].split()[-1]) != 2:
            os.write(2, f"a child counts {found}, and says {counts}\\n".encode())
            os._exit(3)
    except BaseException:
        import traceback
        os.write(2, traceback.format_exc().encode())
        os._exit(4)
    os._exit(0)


def end_of(pid, seconds=10):
    "The status of a child, which has so many seconds."
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.001)
    os.kill(pid, signal.SIGABRT)
    return os.waitpid(pid, 0)[1]
"""

STORM = """
progress = dict.fromkeys((work.__name__ for work in WORK), 0)
stop = threading.Event()


def busy(work):
    while not stop.is_set():
        work(next(numbers))
        progress[work.__name__] += 1


ends = []


def fork(times):
    for _ in range(times):
        if sum(map(bool, ends)) >= 3:
            return  # it is shown
        pid = os.fork()
        if pid == 0:
            child()
        ends.append(end_of(pid))


threads = [threading.Thread(target=busy, args=(work,), daemon=True) for work in WORK]
threads.append(threading.Thread(target=fork, args=(forks // 2,), daemon=True))
for thread in threads:
    thread.start()
fork(forks - forks // 2)
threads.pop().join()


def goes_on(seconds=20):
    "Whether every thread of the parent works on."
    before, until = dict(progress), time.monotonic() + seconds
    while time.monotonic() < until:
        if all(progress[name] > before[name] for name in before):
            return True
        time.sleep(0.01)
    return False


went_on = goes_on()
stuck = [t.name for t in threads if not t.is_alive()]
stop.set()
for thread in threads:
    thread.join(10)
seen = []
for number in (1, 2):
    with otel_studio.service("after").operation("after"):
        pass
    seen += [
        float(line.split()[-1]) for line in api.export_metrics_prometheus().splitlines()
        if line.startswith("otel_studio_operation_duration_seconds_count")
        and 'studio_operation="after"' in line
    ]
print(json.dumps({
    "forks": len(ends), "failed": sorted(end for end in ends if end), "went_on": went_on,
    "stuck": stuck, "collected": seen, "active": api.get_active_operations_count().total,
    "progress": progress,
}), flush=True)
os._exit(0)
"""

#: The bindings of NVIDIA's driver on a scripted library, where they are installed.
FAKE_DRIVER = """
import pathlib
import pynvml
from fake_nvml import FakeDriver, build_library, two_cards

driver = FakeDriver(build_library(pathlib.Path("nvml")))
driver.show(two_cards())
pynvml.nvmlLib = driver.library
pynvml._nvmlGetFunctionPointer_cache = {}
"""


EVERY_LOCK = """
import _thread
from lock_walk import locks_alive

locks = {}
for work in WORK:
    work(0)
for where, lock in locks_alive("otel_studio"):
    if isinstance(lock, (_thread.LockType, _thread.RLock)) and "Signal object" not in where:
        locks.setdefault(where, lock)  # one of each kind
hung = {}


def hold(lock):
    with lock:
        held.set()
        let_go.wait()


for where, lock in locks.items():
    held, let_go = threading.Event(), threading.Event()
    holder = threading.Thread(target=hold, args=(lock,), daemon=True)
    holder.start()
    if not held.wait(2):
        continue  # a thread of the package waits with it in its hand
    pid = os.fork()
    if pid == 0:
        child()
    let_go.set()
    holder.join()
    status = end_of(pid, 3)
    if status:
        hung[where] = status
for work in WORK:
    work(1)
print(json.dumps({"locks": sorted(locks), "hung": hung}), flush=True)
os._exit(0)
"""

pytestmark = [
    pytest.mark.prove,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.timeout(proving.limit(100)),
]


def run_world(folder: Path, setup: str, program: str) -> tuple[dict[str, Any], str]:
    """Return what a program in that world found, and what it and its children logged."""
    (folder / "nvml").mkdir()
    seconds = proving.limit(80)
    paths = [str(ROOT), str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")]
    ended = run_program(
        folder,
        WORLD.replace("SETUP\n", setup) + program,
        timeout=seconds + 10,
        FORKS=str(FORKS),
        LIMIT=str(seconds),
        PYTHONPATH=os.pathsep.join(paths),
    )
    assert ended.code == 0, f"status {ended.code}:\n{ended.logged[-6000:]}"
    return json.loads(ended.printed), ended.logged[-6000:]


def test_a_child_that_was_forked_while_any_one_lock_was_held(tmp_path: Path) -> None:
    """It does everything that the parent can: no lock of a lost thread stops it."""
    found, logged = run_world(tmp_path, FAKE_DRIVER, EVERY_LOCK)
    assert found["locks"]
    assert not found["hung"], f"{found['hung']}\n{logged}"


def test_no_child_of_a_storm_hangs_and_the_parent_goes_on(tmp_path: Path) -> None:
    """Children of two threads count exactly their own, log, scrape and use caches."""
    found, logged = run_world(tmp_path, "", STORM)
    shown = f"{found}\n{logged}"
    assert not found["failed"], shown
    assert found["forks"] == FORKS
    assert found["went_on"], shown
    assert not found["stuck"], shown
    assert found["collected"] == [1, 2], found
    assert found["active"] == 0, found
