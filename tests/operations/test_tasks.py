"""`@track` above a task or a command: it stays one, and what it runs is tracked."""

from __future__ import annotations

import subprocess
import sys
import weakref

import celery
import click
import pytest
from celery import Celery, shared_task
from celery.app.task import Task
from click.testing import CliRunner

from otel_studio import track
from otel_studio.base import guard

SERVICE = "tasks"
tracked = track("work", service=SERVICE)


@pytest.fixture(autouse=True)
def finalizers(monkeypatch):
    """What a test shares among applications is not shared with those of other tests."""
    known = set(celery._state._on_app_finalizers)
    monkeypatch.setattr(celery._state, "_apps", weakref.WeakSet())
    yield
    celery._state._on_app_finalizers.intersection_update(known)


@pytest.fixture
def app():
    """An application whose tasks run at once."""
    made = Celery("tasks_of_tests", broker="memory://", backend="cache+memory://")
    made.conf.task_always_eager = True
    yield made
    made.close()


def test_a_task_stays_a_task(s, app):
    """It is sent, called, chained and found by name as before; each run of it is one."""

    @tracked
    @app.task(name="tasks.double")
    def double(value: int, by: int = 2) -> int:
        """Double."""
        return value * by

    assert isinstance(double, Task)
    assert double.name == "tasks.double"
    assert app.tasks["tasks.double"].run is double.run
    assert double(2) == 4
    assert double.delay(2).get(timeout=10) == 4
    assert double.apply_async((2,), {"by": 3}).get(timeout=10) == 6
    assert double.s(2).delay().get(timeout=10) == 4
    assert double.apply((2,)).get() == 4
    assert double.__doc__ == "Double."
    s.assert_operation(SERVICE, "work", count=5, errors=0, active=0)


def test_a_shared_task_stays_one(s, app):
    """In the application that is there, and in one that comes later."""

    @tracked
    @shared_task(name="tasks.shared")
    def shared(value: int) -> int:
        return value

    assert type(shared).__module__ == "celery.local"
    assert shared.name == "tasks.shared"
    assert shared.delay(3).get(timeout=10) == 3
    assert shared(3) == 3
    s.assert_operation(SERVICE, "work", count=2)


def test_a_shared_task_of_several_applications(s):
    """Complete ones, open ones, and those that are made after it: each task is tracked once."""
    complete = Celery("complete", set_as_current=False)
    complete.finalize()
    opened = Celery("opened", set_as_current=False)

    @tracked
    @shared_task
    def shared(value: int) -> int:
        return value

    later = Celery("later", set_as_current=False)
    try:
        for runs, application in enumerate((complete, opened, later), 1):
            (task,) = [t for name, t in application.tasks.items() if name.endswith("shared")]
            assert task(runs) == runs
            s.assert_operation(SERVICE, "work", count=runs)
    finally:
        for each in (complete, opened, later):
            each.close()


WORKER = """
from celery import Celery, shared_task
from celery.contrib.testing.worker import start_worker
import otel_studio
from otel_studio import api, track

otel_studio.configure(service_name="worker", gpu=False)
app = Celery("tasks", broker="memory://", backend="cache+memory://")

@track("work", service="tasks")
@app.task
def double(value):
    return value * 2

@track("shared", service="tasks")
@shared_task(bind=True)
def shared(self, value):
    return value

with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
    answers = [double.delay(2).get(timeout=10), shared.delay(3).get(timeout=10)]
metrics = api.get_service_metrics("tasks").operation_metrics
print(answers, {name: each.count for name, each in sorted(metrics.items())})
"""


@pytest.mark.patient
def test_a_worker_runs_what_is_tracked():
    """It finds tasks by name, behind a broker in memory; alone, as it sets up logging anew."""
    assert run_alone(WORKER) == "[4, 3] {'shared': 1, 'work': 1}"


def run_alone(code: str) -> str:
    """Return what a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_tasks_that_know_themselves_and_try_again(s, app):
    """`bind=True`, `autoretry_for` and a task of a class."""

    @tracked
    @app.task(bind=True, max_retries=2)
    def bound(self, value: int) -> int:
        assert self.name.endswith("bound")
        return value

    attempts = []

    @track("again", service=SERVICE)
    @app.task(autoretry_for=(OSError,), default_retry_delay=0, retry_backoff=False)
    def again() -> int:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError
        return len(attempts)

    class Written(Task):
        name = "tasks.written"

        def run(self, value: int) -> int:
            return value + 1

    written = track("written", service=SERVICE)(app.register_task(Written()))
    assert bound.delay(1).get(timeout=10) == 1
    assert again.delay().get(timeout=10) == 3
    assert isinstance(written, Written)
    assert written.delay(1).get(timeout=10) == 2
    s.assert_operation(SERVICE, "work", count=1, errors=0)
    s.assert_operation(SERVICE, "again", count=3)
    s.assert_operation(SERVICE, "written", count=1, errors=0)


def test_a_task_is_not_made_before_its_time(s):
    """An application that is configured after its tasks are written is configured for them."""
    app = Celery("late", broker="memory://", set_as_current=False)

    @tracked
    @app.task
    def late() -> None: ...

    assert not app.configured
    assert not app.finalized
    app.config_from_object({"task_ignore_result": True, "task_always_eager": True})
    assert late.ignore_result
    late.delay()
    s.assert_operation(SERVICE, "work", count=1)
    app.close()


def test_a_failure_of_ours_leaves_the_task(s, monkeypatch):
    """Where it cannot be tracked it runs as it is, and the failure is counted."""
    app = Celery("failing", broker="memory://", set_as_current=False)
    app.conf.task_always_eager = True

    @track("work", service=SERVICE, capture_args="unknown")
    @app.task
    def work(value: int) -> int:
        return value

    assert work.delay(1).get() == 1
    assert guard.internal_errors == {"tracking a Celery task": 1}
    guard.forget_said()
    app.close()


def test_below_the_decorator_is_as_good(s, app):
    """The order that always worked."""

    @app.task
    @tracked
    def below(value: int) -> int:
        return value

    assert below.delay(1).get(timeout=10) == 1
    s.assert_operation(SERVICE, "work", count=1)


def test_a_command_stays_a_command(s):
    """Click's commands and groups, with their parameters."""

    @track("group", service=SERVICE)
    @click.group()
    def cli() -> None: ...

    @tracked
    @cli.command()
    @click.option("--count", default=1)
    def serve(count: int) -> None:
        """Serve."""
        click.echo(f"served {count}")

    assert isinstance(serve, click.Command)
    assert cli.commands["serve"] is serve
    ran = CliRunner().invoke(cli, ["serve", "--count", "3"])
    assert (ran.exit_code, ran.output) == (0, "served 3\n")
    assert "Serve." in CliRunner().invoke(cli, ["serve", "--help"]).output
    s.assert_operation(SERVICE, "work", count=1)
    s.assert_operation(SERVICE, "group", count=2)


class Actor:
    """As Dramatiq's is."""

    def __init__(self, fn) -> None:
        self.fn = fn

    def __call__(self, *args):
        return self.fn(*args)

    def send(self, *args) -> tuple:
        return args


class DecoratedTask:
    """As taskiq's is."""

    def __init__(self, original_func) -> None:
        self.original_func = original_func

    def __call__(self, *args):
        return self.original_func(*args)


@pytest.mark.parametrize(
    ("kind", "module", "name", "attribute"),
    [
        (Actor, "dramatiq.actor", "Actor", "fn"),
        (DecoratedTask, "taskiq.decor", "AsyncTaskiqDecoratedTask", "original_func"),
    ],
)
def test_tasks_of_other_libraries(s, kind, module, name, attribute):
    """Known by the name of their type: they stay what they are."""
    theirs = type(name, (kind,), {"__module__": module})
    task = theirs(lambda value: value)
    assert tracked(task) is task
    assert task(3) == 3
    assert getattr(task, attribute)(3) == 3
    s.assert_operation(SERVICE, "work", count=2)


def test_nothing_is_imported_for_it():
    """A program without these libraries does not load them."""
    code = (
        "import sys\nfrom otel_studio import track\n"
        "@track\ndef work(): ...\nwork()\n"
        "print([n for n in ('celery', 'click', 'flask', 'starlette') if n in sys.modules])"
    )
    assert run_alone(code) == "[]"
