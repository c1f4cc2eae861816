"""Error groups of another provider's spans: by the place that their tracebacks tell."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

import otel_studio
from otel_studio import api

from both_providers import PROVIDERS, attached, studio_on


def raise_group(kind: type[Exception]) -> None:
    """Raise a group whose members come from elsewhere."""
    members = []
    for run in (raise_one, raise_other):
        try:
            run(kind)
        except Exception as error:
            members.append(error)
    raise ExceptionGroup("several", members)


def raise_one(kind: type[Exception]) -> None:
    """Raise."""
    raise kind("one")


def raise_other(kind: type[Exception]) -> None:
    """Raise because of another exception."""
    try:
        raise_one(kind)
    except Exception as error:
        raise kind("other") from error


def after_a_group(kind: type[Exception]) -> None:
    """Raise because of a group."""
    try:
        raise_group(kind)
    except ExceptionGroup as error:
        raise RuntimeError("after") from error


def group_because_of(kind: type[Exception]) -> None:
    """Raise a group because of another exception."""
    try:
        raise_one(kind)
    except Exception as error:
        raise ExceptionGroup(
            "because", [KeyError("x"), ExceptionGroup("b", [OSError()])]
        ) from error


def in_a_library(kind: type[Exception]) -> None:
    """Fail in Python's own library."""
    json.loads("{")


def in_a_template(kind: type[Exception]) -> None:
    """Fail in source that is no module's."""
    compile("total =" + " = 1", "invoice.tmpl", "exec")


def in_a_task_group(kind: type[Exception]) -> None:
    """Fail in a task."""

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    async def fail() -> None:
        raise kind

    asyncio.run(main())


RUNS = {
    raise_one: "raise_one",
    raise_other: "raise_other",
    raise_group: "raise_group",
    after_a_group: "after_a_group",
    group_because_of: "group_because_of",
    in_a_library: "in_a_library",
    in_a_template: "in_a_template",
    in_a_task_group: "main",
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("way", ["operation", "span"])
def test_each_error_has_the_place_that_raised_it(provider, way):
    """Groups, causes, libraries and templates: the innermost function of the program's own."""
    places = {}
    with studio_on(provider) as s:
        for run in RUNS:
            made: Any = (
                otel_studio.service("shop").operation(run.__name__)
                if way == "operation"
                else trace.get_tracer("shop").start_as_current_span(run.__name__)
            )
            with suppress(Exception), made:
                run(ValueError)
            assert s.operation("shop", run.__name__).errors == 1
        for group in api.get_error_statistics().by_service["shop"].groups:
            [operation] = group.operations
            path, _, function = group.place.partition(" in ")
            assert path.endswith("registry/test_places_in_text.py")
            assert not path.startswith("/")
            places[operation] = function.rpartition(".")[2]
    assert places == {run.__name__: place for run, place in RUNS.items()}


TEXTS = {
    "a part of a traceback": (
        '    something\n  File "/srv/shop/pay.py", line 3, in pay\n    raise',
        "/srv/shop/pay.py in pay",
    ),
    "frames set in": (
        '> File "/srv/shop/pay.py", line 3, in pay\n> File "/srv/shop/db.py", line 9, in <module>',
        "/srv/shop/db.py in <module>",
    ),
    "only a library's": (
        f'Traceback (most recent call last):\n  File "{json.__file__}", line 3, in loads\nKeyError',
        "json/__init__.py in loads",
    ),
    "another language": ("Error: no\n    at pay (/srv/shop/pay.js:3:7)", "unknown"),
    "no frames": ("ValueError: no", "unknown"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_not_tracebacks_of_ours(name):
    """What an instrumentation has written itself is read as far as it can be."""
    text, place = TEXTS[name]
    with attached():
        span = trace.get_tracer("shop").start_span("pay")
        span.add_event("exception", {"exception.type": "Odd", "exception.stacktrace": text})
        span.set_status(StatusCode.ERROR)
        span.end()
        [group] = api.get_error_statistics().by_service["shop"].groups
    assert group.place == place
