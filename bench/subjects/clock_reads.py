"""A bare wrapper with two clock reads: the least that any timing costs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Any

from bench.subject import Subject
from bench.subjects import plain


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its duration taken and forgotten."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        began = perf_counter_ns()
        try:
            return function(*args, **kwargs)
        finally:
            perf_counter_ns() - began

    return wrapper


async def coroutine() -> None:
    """Await the plain one."""
    began = perf_counter_ns()
    try:
        await plain.coroutine()
    finally:
        perf_counter_ns() - began


def generator() -> Iterator[int]:
    """Yield from the plain one."""
    began = perf_counter_ns()
    try:
        yield from plain.generator()
    finally:
        perf_counter_ns() - began


def make() -> Subject:
    """Return the subject."""
    call = timed(plain.call)
    inner = timed(call)
    return Subject(
        {
            "call": call,
            "async": coroutine,
            "generator": generator,
            "nested": timed(inner),
            "error": timed(plain.fail),
        },
        runs={"nested": 3},
    )
