"""Named modules are tracked when they are imported, and nothing else changes for them."""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_studio.base import guard
from otel_studio.operations import autotrack, seat

ROOT = Path(__file__).parents[2]

JOBS = """
import functools
from os.path import join
from shop.errors import Refused

def run(a, b=2):
    "Runs."
    return a + b

async def fetch():
    return 1

def _hidden():
    return run(1)

def count():
    yield from range(3)

class Worker:
    def work(self):
        return self._rest()
    def _rest(self):
        return "done"
    @classmethod
    def make(cls):
        return cls()

class Idle:
    def rest(self):
        return None

total = functools.partial(run, 1)
HANDLERS = {"run": run}
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A package `shop` on the path, of which nothing is imported yet."""
    files = {
        "shop/__init__.py": "def open_shop(): ...",
        "shop/errors.py": "class Refused(Exception):\n    def why(self): ...",
        "shop/jobs.py": JOBS,
        "shop/services/__init__.py": "",
        "shop/services/basket.py": "def price(): ...\ndef _cents(): ...",
        "shop/services/deep/__init__.py": "def dive(): ...",
        "shop/services/data.txt": "some text",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    guard.forget_said()
    yield tmp_path / "shop"
    autotrack.uninstall()
    guard.forget_said()
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.fixture
def operations():
    """The operations so far, as "service:operation"."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    taken = seat.Seat(provider)
    seat.isolate(taken)
    yield lambda: [
        f"{span.instrumentation_scope.name}:{span.name}" for span in exporter.get_finished_spans()
    ]
    seat.end_isolation(taken)


def test_public_functions_and_classes_are_tracked_at_import(shop, operations):
    """Functions, coroutines, generators and the public methods of classes, and nothing hidden."""
    autotrack.install(["shop.jobs"])
    jobs = importlib.import_module("shop.jobs")
    assert jobs.run(1) == 3
    assert list(jobs.count()) == [0, 1, 2]
    assert jobs.Worker.make().work() == "done"
    jobs._hidden()
    assert operations() == [
        "shop.jobs:run",
        "shop.jobs:count",
        "shop.jobs:Worker.make",
        "shop.jobs:Worker.work",
        "shop.jobs:run",
    ]


def test_what_a_module_only_imported_is_left_alone(shop, operations):
    """`join` belongs to another module, and `Refused` to one that no pattern names."""
    autotrack.install(["shop.jobs"])
    jobs = importlib.import_module("shop.jobs")
    assert jobs.join is os.path.join
    jobs.Refused().why()
    assert jobs.total is not None
    assert operations() == []


def test_exceptions_are_left_alone(shop, operations):
    """The methods of an exception run while something fails already."""
    autotrack.install(["shop.errors"])
    importlib.import_module("shop.errors").Refused().why()
    assert operations() == []


def test_a_pattern_with_a_star_means_the_modules_below(shop, operations):
    """Of any depth, and not the package itself."""
    autotrack.install(["shop.services.*"])
    importlib.import_module("shop.services.basket").price()
    importlib.import_module("shop.services.deep").dive()
    importlib.import_module("shop").open_shop()
    importlib.import_module("shop.jobs").run(1)
    assert operations() == ["shop.services.basket:price", "shop.services.deep:dive"]


def test_a_name_after_the_colon_is_the_only_one_tracked(shop, operations):
    """A class or a function of the module, or several by a star."""
    autotrack.install(["shop.jobs:Worker", "shop.jobs:f*"])
    jobs = importlib.import_module("shop.jobs")
    jobs.Worker().work()
    jobs.Idle().rest()
    jobs.run(1)
    assert operations() == ["shop.jobs:Worker.work"]
    assert inspect.unwrap(jobs.fetch) is not jobs.fetch


@pytest.mark.parametrize("name", ["Wroker", "_hidden", "join"])
def test_a_name_that_is_not_there_is_said_once(shop, caplog, name):
    """A slip of the pen in a variable would otherwise never show."""
    autotrack.install([f"shop.jobs:{name}"])
    jobs = importlib.import_module("shop.jobs")
    importlib.reload(jobs)
    assert caplog.messages == [
        f"shop.jobs has no public function or class {name} of its own to track."
    ]


def test_modules_that_are_imported_already_are_tracked_at_once(shop, operations):
    """The order of configuring and importing does not matter."""
    jobs = importlib.import_module("shop.jobs")
    autotrack.install(["shop.jobs"])
    jobs.run(1)
    assert operations() == ["shop.jobs:run"]


def test_installing_twice_and_reloading_track_once(shop, operations):
    """However often a module is met, a call is one operation."""
    autotrack.install(["shop.jobs"])
    jobs = importlib.import_module("shop.jobs")
    autotrack.install(["shop.jobs", "shop.*"])
    jobs.run(1)
    importlib.reload(jobs).run(1)
    jobs.Worker().work()
    assert operations() == ["shop.jobs:run", "shop.jobs:run", "shop.jobs:Worker.work"]


def test_what_the_code_tracks_itself_is_not_tracked_again(shop, operations):
    """A decorator's own names go before those that the hook would give."""
    (shop / "own.py").write_text(
        textwrap.dedent(
            """
            import otel_studio as studio

            @studio.track("pay", service="till")
            def pay(): ...

            class Till:
                @studio.track(service="till")
                def open(self): ...
            """
        )
    )
    autotrack.install(["shop.*"])
    own = importlib.import_module("shop.own")
    own.pay()
    own.Till().open()
    assert operations() == ["till:pay", "till:Till.open"]


def test_after_uninstall_new_imports_are_left_alone(shop, operations):
    """And `sys.meta_path` is what it was."""
    before = list(sys.meta_path)
    autotrack.install(["shop.*"])
    assert sys.meta_path != before
    autotrack.uninstall()
    assert sys.meta_path == before
    importlib.import_module("shop.jobs").run(1)
    assert operations() == []


def test_the_module_sees_its_own_loader_and_keeps_its_face(shop):
    """Resources, sources, signatures and pickling by name work as without tracking."""
    autotrack.install(["shop.*"])
    jobs = importlib.import_module("shop.jobs")
    assert type(jobs.__loader__).__module__.startswith("_frozen_importlib")
    assert jobs.__spec__.loader is jobs.__loader__
    assert str(inspect.signature(jobs.run)) == "(a, b=2)"
    assert jobs.run.__doc__ == "Runs."
    assert inspect.iscoroutinefunction(jobs.fetch)
    assert "def run(a, b=2)" in inspect.getsource(jobs)
    assert pickle.loads(pickle.dumps(jobs.run)) is jobs.run
    data = importlib.resources.files("shop.services") / "data.txt"
    assert data.read_text() == "some text"


def test_a_spec_that_is_only_looked_up_works_like_any_other(shop):
    """Tools ask for a module's spec, source and code without importing it."""
    autotrack.install(["shop.*"])
    spec = importlib.util.find_spec("shop.jobs")
    assert "def run" in spec.loader.get_source("shop.jobs")
    assert spec.loader.get_code("shop.jobs") is not None


def test_a_lazy_module_is_tracked_when_it_loads(shop, operations):
    """The standard library's lazy loader puts the module's code off to the first use."""
    importlib.import_module("shop")
    autotrack.install(["shop.*"])
    spec = importlib.util.find_spec("shop.jobs")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    jobs = importlib.util.module_from_spec(spec)
    sys.modules["shop.jobs"] = jobs
    spec.loader.exec_module(jobs)
    jobs.run(1)
    assert operations() == ["shop.jobs:run"]


def test_another_hook_of_the_same_kind_gets_along(shop, operations):
    """A hook that asks all finders again, as wrapt's post-import hooks do, ends in no loop."""
    from wrapt.importer import register_post_import_hook

    seen = []
    register_post_import_hook(lambda module: seen.append(module.__name__), "shop.jobs")
    autotrack.install(["shop.*"])
    importlib.import_module("shop.jobs").run(1)
    assert seen == ["shop.jobs"]
    assert operations() == ["shop.jobs:run"]


def test_a_module_that_fails_fails_as_before(shop, operations):
    """Its exception is its own, and a second try is a fresh one."""
    (shop / "broken.py").write_text("def early(): ...\nraise RuntimeError('mine')\n")
    autotrack.install(["shop.*"])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="mine"):
            importlib.import_module("shop.broken")
    assert "shop.broken" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("shop.absent")


def test_a_failure_of_ours_never_breaks_the_import(shop, monkeypatch, caplog):
    """One name that cannot be tracked is reported; the others are tracked."""
    from otel_studio.operations import instrument_services as room

    original = room.instrument

    def refuse(target, **keywords):
        if target.__name__ == "Idle":
            raise RuntimeError("cannot")
        return original(target, **keywords)

    monkeypatch.setattr(room, "instrument", refuse)
    autotrack.install(["shop.*"])
    jobs = importlib.import_module("shop.jobs")
    assert inspect.unwrap(jobs.run) is not jobs.run
    assert guard.internal_errors == {"tracking a module at import (shop.jobs:Idle)": 1}
    assert "RuntimeError: cannot" in caplog.text


def test_odd_things_in_sys_modules_do_no_harm(shop, monkeypatch):
    """Some programs put objects there whose attributes raise."""

    class Odd:
        def __getattr__(self, name):
            raise RuntimeError(name)

    monkeypatch.setitem(sys.modules, "odd", Odd())
    monkeypatch.setitem(sys.modules, "none", None)
    autotrack.install(["shop.*", "odd"])


def test_a_module_with_odd_values_is_tracked_around_them(shop, operations):
    """A value whose attributes raise is not the module's end."""
    (shop / "odd.py").write_text(
        textwrap.dedent(
            """
            class Odd(type):
                def __getattribute__(cls, name):
                    raise RuntimeError(name)
            class Strange(metaclass=Odd): ...
            def fine(): ...
            """
        )
    )
    autotrack.install(["shop.odd"])
    importlib.import_module("shop.odd").fine()
    assert operations() == ["shop.odd:fine"]


def test_the_standard_library_and_ourselves_are_left_alone(shop):
    """A pattern such as "*" means the program's modules, and those of its other packages."""
    program = """
        import inspect, json, otel_studio
        from otel_studio.operations import autotrack, services
        autotrack.install(["*"])
        import shop.jobs
        tracked = lambda function: inspect.unwrap(function) is not function
        print(tracked(json.dumps), tracked(services.service), tracked(shop.jobs.run))
    """
    assert printed_by(program, shop.parent) == "False False True"


def test_many_threads_import_at_once(shop, operations):
    """The module's lock makes it one import and one tracking."""
    autotrack.install(["shop.*"])
    barrier = threading.Barrier(8)

    def load():
        barrier.wait()
        importlib.import_module("shop.jobs").run(1)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert operations() == ["shop.jobs:run"] * 8


def test_installing_nothing_touches_nothing():
    """Without a pattern there is no hook at all."""
    before = list(sys.meta_path)
    autotrack.install([])
    assert sys.meta_path == before


def test_a_program_without_patterns_does_not_load_the_hook():
    """The hook costs nothing where nobody asks for it."""
    program = "import sys, otel_studio; print('otel_studio.operations.autotrack' in sys.modules)"
    assert printed_by(program, None) == "False"


def printed_by(program, folder):
    """Return what a program prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder or ""), str(ROOT)])},
    )
    return done.stdout.strip()
