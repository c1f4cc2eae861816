"""What a program could pickle and copy before it was tracked, it can so at any time after."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import textwrap

import cloudpickle
import pytest
from opentelemetry import trace as trace_api

import otel_studio
from otel_studio import cache, service, track
from otel_studio.caches.handle import CacheHandle
from otel_studio.operations.binding import Binding
from otel_studio.operations.runs import OperationRun, Tracker

SERVICE = "carried"
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def carried(what):
    """Return what every way of carrying an object makes of it."""
    for dumps in (pickle.dumps, cloudpickle.dumps):
        for protocol in PROTOCOLS:
            yield pickle.loads(dumps(what, protocol))
    yield copy.copy(what)
    yield copy.deepcopy(what)


def in_main(make, **names):
    """Return a function as it is where its module is the main program: shipped by value."""
    names.update({"track": track, "SERVICE": SERVICE, "__name__": "nowhere_to_be_imported"})
    exec(textwrap.dedent(make), names)
    return names["made"]


SHAPES = {
    "plain": """
        @track("work", service=SERVICE, capture_args=("value",), expected=(KeyError,))
        def made(value, by=2):
            return value * by
        """,
    "method": """
        class Worker:
            @track("work", service=SERVICE)
            def work(self, value):
                return value * 2
        made = Worker().work
        """,
    "classmethod": """
        class Worker:
            @track("work", service=SERVICE)
            @classmethod
            def work(cls, value):
                return value * 2
        made = Worker.work
        """,
    "nested": """
        def outer(by):
            @track("work", service=SERVICE)
            def inner(value):
                return value * by
            return inner
        made = outer(2)
        """,
    "coroutine": """
        import asyncio
        @track("work", service=SERVICE)
        async def work(value):
            return value * 2
        def made(value):
            return asyncio.run(work(value))
        """,
    "generator": """
        @track("work", service=SERVICE)
        def work(value):
            yield value * 2
        def made(value):
            return next(iter(list(work(value))))
        """,
    "async generator": """
        import asyncio
        @track("work", service=SERVICE)
        async def work(value):
            yield value * 2
        def made(value):
            async def main():
                return [item async for item in work(value)][0]
            return asyncio.run(main())
        """,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tracked_function_is_shipped_by_value(s, shape):
    """Before and after its first run, and what arrives is tracked as it was."""
    function = in_main(SHAPES[shape])
    early = cloudpickle.dumps(function)
    assert function(2) == 4
    for protocol in PROTOCOLS:
        assert pickle.loads(cloudpickle.dumps(function, protocol))(2) == 4
    assert pickle.loads(early)(2) == 4
    s.assert_operation(SERVICE, "work", count=2 + len(PROTOCOLS), errors=0, active=0)


def test_nothing_of_ours_is_shipped_with_it(s):
    """Neither a Studio nor a lock: what is sent of a tracked function stays small."""
    function = in_main(SHAPES["plain"])
    plain = len(cloudpickle.dumps(function.__wrapped__))
    function(2)
    assert len(cloudpickle.dumps(function)) < plain + 4_000


CHILD = """
import json, pickle, sys
with open(sys.argv[1], "rb") as file:
    carried = pickle.load(file)
import otel_studio
from otel_studio import api
studio = otel_studio.configure(service_name="child", gpu=False)
answers = [carried["function"](4), carried["worker"].run()]
carried["worker"].prices["b"] = 1
carried["worker"].prices["b"]
carried["worker"].handle.hit("a")
carried["tracker"].complete()
counts = {
    name: metrics.count
    for name, metrics in api.get_service_metrics("carried").operation_metrics.items()
}
hits = {each.cache: each.hits for each in api.get_cache_performance_metrics()}
print(json.dumps([answers, counts, hits, carried["tracker"].trace_id]))
"""

PARENT = """
import sys
import cloudpickle
import otel_studio
from otel_studio import cache, service, track

otel_studio.configure(service_name="parent", gpu=False)

@track("double", service="carried")
def double(value):
    return value * 2

class Worker:
    def __init__(self):
        self.service = service("carried")
        self.handle = cache("handled", service="carried")
        self.prices = cache("prices", service="carried").wrap({"a": 1})

    def run(self):
        with self.service.operation("run"):
            return self.prices["a"]

worker = Worker()
double(1), worker.run(), worker.handle.hit("a")
tracker = worker.service.start_operation("long")
with open(sys.argv[1], "wb") as file:
    cloudpickle.dump({"function": double, "worker": worker, "tracker": tracker}, file)
print(tracker.trace_id)
tracker.complete()
"""


def test_another_process_records_what_it_is_sent(tmp_path):
    """A fresh process, which has neither the program's code nor its Studio."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "sent")],
            capture_output=True, text=True, timeout=60, check=False, env=os.environ.copy(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    trace_id = run(PARENT)
    answers, counts, hits, seen = json.loads(run(CHILD))
    assert answers == [8, 1]
    assert counts == {"double": 1, "run": 1}
    assert hits == {"handled": 1, "prices": 2}
    assert seen == trace_id


def test_a_service_is_the_one_of_its_name(s):
    """However it is carried, it is one object in a process."""
    worker = {"service": service(SERVICE)}
    for _ in range(2):
        assert all(each["service"] is worker["service"] for each in carried(worker))
        with worker["service"].operation("work"):
            pass


def test_a_cache_records_wherever_it_is_carried(s):
    """A handle and what it stands for are those of the name; statistics are not sent along."""
    handle = cache("carried", service=SERVICE)
    handle.hit("a")
    statistics = handle._bind()
    for known in (handle, statistics):
        for each in carried({"cache": known}):
            if each["cache"] is not known:
                assert isinstance(each["cache"], CacheHandle)
                assert (each["cache"].name, each["cache"].service) == ("carried", SERVICE)
            each["cache"].hit("a")
    ways = 2 * (2 * len(PROTOCOLS) + 2)
    assert handle.performance().hits == 1 + ways


def test_a_wrapped_mapping_is_copied_as_a_mapping_is(s):
    """Its copies hold entries of their own, and record in the same cache."""
    prices = cache("prices", service=SERVICE).wrap({"a": [1]}, sizer=None)
    assert prices["a"] == [1]
    copies = list(carried(prices))
    for each in copies:
        assert dict(each) == {"a": [1]}
        each["b"] = [2]
        assert each["b"] == [2]
    assert dict(prices) == {"a": [1]}
    assert copies[-2]["a"] is prices["a"]  # copied shallowly
    assert copies[-1]["a"] is not prices["a"]
    hits = cache("prices", service=SERVICE).performance().hits
    assert hits == 1 + 2 * len(copies) + 5  # `dict()` reads each entry


def test_a_wrapped_mapping_may_hold_what_holds_it(s):
    """As any container may."""
    held = {"mapping": cache("circle", service=SERVICE).wrap({})}
    held["mapping"]["self"] = held
    copied = pickle.loads(pickle.dumps(held))
    assert copied["mapping"]["self"] is copied
    deep = copy.deepcopy(held)
    assert deep["mapping"]["self"] is deep


def test_a_binding_is_carried_as_what_it_is_made_of(s):
    """Its port stays here."""
    binding = Binding(SERVICE, "bound", {"a": 1}, slow_threshold=0.5, labels=("a",))
    binding.bind()
    for each in carried(binding):
        assert (each.service, each.name, each.attributes) == (SERVICE, "bound", {"a": 1})
        assert (each.slow_threshold, each.labels) == (0.5, ("a",))


def test_a_tracker_is_one_run(s):
    """A copy is the run itself; what is pickled tells of it, and neither ends nor drops it."""
    tracker = service(SERVICE).start_operation("long")
    assert copy.deepcopy({"tracker": tracker})["tracker"] is tracker
    for dumps in (pickle.dumps, cloudpickle.dumps):
        for protocol in PROTOCOLS:
            seen = pickle.loads(dumps(tracker, protocol))
            again = pickle.loads(dumps(seen, protocol))
            for each in (seen, again):
                assert isinstance(each, Tracker)
                assert each.trace_id == tracker.trace_id
                each.set_attribute("a", 1)
                each.fail("elsewhere")
                each.complete()
            del seen, again, each
    s.assert_operation(SERVICE, "long", count=0, active=1)
    copy.copy(tracker).complete()
    s.assert_operation(SERVICE, "long", count=1, active=0, errors=0, outcome="ok")
    assert pickle.loads(pickle.dumps(tracker)).trace_id == tracker.trace_id


def test_a_block_is_one_run(s):
    """Not entered it makes another; entered, it is told of."""
    block = service(SERVICE).operation("block", expected=(KeyError,))
    for each in carried(block):
        with pytest.raises(KeyError), each:
            raise KeyError
    with block as entered:
        assert copy.deepcopy(entered) is entered
        seen = pickle.loads(pickle.dumps(entered))
        assert isinstance(seen, OperationRun)
        assert seen.trace_id == entered.trace_id
        seen.set_attribute("a", 1)
        current = otel_studio.current_operation()
        assert pickle.loads(pickle.dumps(current)).trace_id == entered.trace_id
    s.assert_operation(SERVICE, "block", count=2 * len(PROTOCOLS) + 3, errors=0, active=0)


def test_a_memory_probe_is_carried_closed(s):
    """What is sampled is memory of the process that it is in."""
    probe = service(SERVICE).track_memory(lambda: 1)
    assert pickle.loads(pickle.dumps(probe)).service == SERVICE
    copy.deepcopy(probe).close()
    probe.close()


def test_a_tracer_is_the_one_of_its_name(s):
    """A function that names the program's tracer can be shipped, and finds one there."""
    tracer = trace_api.get_tracer("shop", "1.0")
    for protocol in PROTOCOLS:
        if type(tracer).__module__.startswith("otel_studio"):
            with pickle.loads(pickle.dumps(tracer, protocol)).start_as_current_span("sell"):
                pass
