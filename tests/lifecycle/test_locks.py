"""Every lock of the package is made in one place, which the fork protocol knows."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_studio
from lock_walk import locks_alive, made_in, sources_of
from otel_studio import api
from otel_studio.base import guard, locks, otel_private

PACKAGE = Path(otel_studio.__file__).parent
#: The one place.
HOME = "base/locks.py"
#: Where a module may make a lock that is not its own, and why.
EXCEPTIONS = {
    ("base/otel_sdk_private.py", "threading.Lock"): "the SDK's own attributes, set free in a child",
}
if sys.version_info < (3, 12):  # where it has a lock
    EXCEPTIONS["operations/descriptors.py", "functools.cached_property"] = (
        "a type to be told by, never made"
    )
#: A lock that exporters of ours inherit from the SDK's; a child has exporters of its own.
INHERITED = ("otel_studio.exporters.", "Exporter object: _shutdown_in_progress")


@pytest.fixture(params=["http/protobuf", "grpc"])
def everything_on(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[otel_studio.Studio]:
    """A configured Studio with every room in it, each of them used."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
    before = otel_private.global_tracer_provider(), otel_private.global_meter_provider()
    otel_private.replace_global_tracer_provider(None)
    otel_private.replace_global_meter_provider(None)
    monkeypatch.chdir(tmp_path)
    guard.forget_said()
    studio = otel_studio.configure(
        service_name="x",
        traces_exporter=("otlp",),
        metrics_exporter=("prometheus", "otlp"),
        logs_exporter=("otlp",),
        prometheus_port=0,
        logging=True,
        gpu=True,
        process=True,
        sample_allocations=1,
        export_interval=60,
        metric_export_interval=60,
        shutdown_timeout=0.5,
    )
    cache = otel_studio.cache("previews", service="shop")
    cache.hit("a", duration=0.001)
    cache.set("a", size=1)
    with otel_studio.service("shop").operation("pay"):
        logging.getLogger("shop").warning("working")
    tracker = otel_studio.service("shop").start_operation("wait")
    for name in api.__all__:
        if name.startswith("get_") and name not in ("get_service_metrics", "get_latency_buckets"):
            getattr(api, name)()
    api.export_metrics_prometheus()
    yield studio
    tracker.complete()
    otel_studio.shutdown()
    guard.forget_said()
    otel_private.replace_global_tracer_provider(before[0])
    otel_private.replace_global_meter_provider(before[1])


def import_all() -> None:
    for module in pkgutil.walk_packages([str(PACKAGE)], "otel_studio."):
        importlib.import_module(module.name)


def unknown_locks() -> dict[str, object]:
    """Every lock that a fork would not set free, by the place where it is."""
    return {
        where: lock
        for where, lock in locks_alive("otel_studio")
        if not locks.is_known(lock)
        and not where.startswith("otel_studio.base.locks.Signal object")
        and not (where.startswith(INHERITED[0]) and where.endswith(INHERITED[1]))
    }


def test_no_module_makes_a_lock_of_its_own() -> None:
    """Locks, events and queues come from one module, or stand in the list with a reason."""
    found = {
        (path, what): f"{path}:{line}: {what}"
        for path, source in sources_of(PACKAGE)
        if path != HOME
        for line, what in made_in(source)
    }
    others = [place for key, place in found.items() if key not in EXCEPTIONS]
    assert not others, f"make these by otel_studio.base.locks: {others}"
    assert set(EXCEPTIONS) <= set(found), "an exception that nothing needs any more"


@pytest.mark.parametrize(
    "source",
    [
        "import threading\nlock = threading.Lock()",
        "import threading as t\nlock = t.RLock()",
        "from threading import Condition as C",
        "from threading import *",
        "import _thread\nlock = _thread.allocate_lock()",
        "import queue\ndef make():\n    return queue.SimpleQueue()",
        "import threading\nclass A:\n    make = threading.Event",
        "def late():\n    import threading\n    return threading.Semaphore(2)",
        "import concurrent.futures\npool = concurrent.futures.ThreadPoolExecutor()",
    ],
)
def test_a_module_that_makes_one_is_found(source: str) -> None:
    """However it is imported, and wherever it stands."""
    assert made_in(source)


@pytest.mark.parametrize(
    "source",
    [
        "import threading\nt = threading.Thread(target=print)\nlocal = threading.local()",
        "from otel_studio.base.locks import new_lock\nlock = new_lock()",
        '"""\n>>> import threading\n>>> threading.Lock()\n"""',
    ],
)
def test_a_module_that_makes_none_is_left_alone(source: str) -> None:
    """Threads, locks of the one place and examples in docstrings are none."""
    assert not made_in(source)


def test_every_lock_alive_is_known_to_the_fork_protocol(
    everything_on: otel_studio.Studio,
) -> None:
    """In every module, class and instance of the package, with everything switched on."""
    import_all()
    found = unknown_locks()
    assert not found, "\n".join(sorted(found))


def test_the_locks_that_are_known_are_found(everything_on: otel_studio.Studio) -> None:
    """The walk sees locks at all, so that finding no unknown one says something."""
    known = [where for where, lock in locks_alive("otel_studio") if locks.is_known(lock)]
    assert known


class Holder:
    """Stands in for a class of the package."""

    __slots__ = ("__dict__", "lock", "more")

    __module__ = "otel_studio.stand_in"


@pytest.mark.parametrize(
    "lock", [threading.Lock(), threading.RLock(), threading.Event(), threading.Condition()]
)
def test_an_unknown_lock_is_found(lock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a module, a class, a slot, an instance's dictionary, and in containers of these."""
    before = len(unknown_locks())
    holder = Holder()
    places = {
        "module": lambda: monkeypatch.setattr(api, "_left_out", lock, raising=False),
        "class": lambda: monkeypatch.setattr(Holder, "shared", lock, raising=False),
        "slot": lambda: setattr(holder, "lock", lock),
        "attribute": lambda: setattr(holder, "other", lock),
        "dict": lambda: setattr(holder, "more", {"a": lock}),
        "list": lambda: setattr(holder, "more", [lock]),
    }
    if not isinstance(lock, type(threading.Lock())):  # one kind everywhere, the others in one place
        places = {"attribute": places["attribute"]}
    for place, put in places.items():
        monkeypatch.undo()
        holder = Holder()
        put()
        assert len(unknown_locks()) == before + 1, place


def test_a_lock_that_was_made_in_the_one_place_is_known_and_one_beside_it_is_not() -> None:
    """The same kind of lock, made past the place that keeps count of them, is unknown."""
    holder, beside = Holder(), Holder()
    holder.lock = locks.new_lock()
    beside.lock = locks.StudioLock()
    found = unknown_locks().values()
    assert not any(lock is holder.lock for lock in found)
    assert any(lock is beside.lock for lock in found)
