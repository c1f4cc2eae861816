"""Tracks what a task or a command runs, and leaves the task itself as it is: it is sent by type.

Known by the names of their types alone: no library is imported for it.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

from otel_studio.base.guard import guarded

#: Where objects of a type keep the function that they run, whoever runs them.
_FUNCTION_OF: Final = {
    ("celery.app.task", "Task"): "run",
    ("click.core", "Command"): "callback",
    ("dramatiq.actor", "Actor"): "fn",
    ("taskiq.decor", "AsyncTaskiqDecoratedTask"): "original_func",
}
_CELERY_PROXY: Final = ("celery.local", "Proxy")
_PLACE: Final = "tracking a Celery task"

_Decorate = Callable[[Any], Any]


def track_inside(target: Any, decorate: _Decorate) -> bool:
    """Decorate the function inside a task, as soon as there is one.

    Args:
        target: anything. It is not looked into where that would bring about what it stands for: a
            Celery application reads its configuration with its first task.
        decorate: decorates the function.

    Returns:
        whether the target is a task, and goes on as it is.
    """
    kinds = _names_of(target)
    if _CELERY_PROXY in kinds:
        _track_later(target, decorate)
        return True
    inside = next((_FUNCTION_OF[kind] for kind in kinds if kind in _FUNCTION_OF), None)
    if inside is None or not callable(getattr(target, inside, None)):
        return False
    setattr(target, inside, decorate(getattr(target, inside)))
    return True


def _names_of(target: Any) -> list[tuple[str, str]]:
    return [(kind.__module__, kind.__name__) for kind in type(target).__mro__]


def _track_later(proxy: Any, decorate: _Decorate) -> None:
    """Track the task that one of Celery's proxies stands for, once it is made."""
    kind = type(proxy)
    track = guarded(_PLACE, None)(functools.partial(_track_task, decorate=decorate))
    if hasattr(kind, "__then__"):  # `@app.task`: one task, when its application is complete
        kind.__then__(proxy, lambda: track(kind._get_current_object(proxy)))
    elif not _track_in_every_application(proxy, track):
        track(kind._get_current_object(proxy))


def _track_task(task: Any, decorate: _Decorate) -> None:
    task.run = decorate(task.run)


@guarded(_PLACE, default=False)
def _track_in_every_application(proxy: Any, track: Callable[[Any], None]) -> bool:
    """Track a task of `@shared_task`: each application has one of its own, and may come later.

    Returns:
        whether that could be told; by what `celery.shared_task` knows its task.
    """
    found = inspect.getclosurevars(object.__getattribute__(proxy, "_Proxy__local")).nonlocals
    name, function = found["name"], found["fun"]
    state = sys.modules["celery._state"]

    def track_in(app: Any) -> None:
        task = app._tasks.get(name or app.gen_task_name(function.__name__, function.__module__))
        if task is not None:
            track(task)

    def track_when_complete(app: Any) -> None:
        app.on_after_finalize.connect(lambda **_: track_in(app), weak=False)

    for app in state._get_active_apps():
        if app.finalized:
            track_in(app)
    state.connect_on_app_finalize(track_when_complete)
    return True
