"""The shapes of a subject that has a decorator, a context manager, or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.subject import Subject
from bench.subjects import plain

Decorate = Callable[[str], Callable[[Callable[..., Any]], Callable[..., Any]]]


def decorated(
    decorate: Decorate,
    *,
    coroutines: bool = True,
    generators: Decorate | None = None,
    block: Callable[[], Any] | None = None,
    attributes: Callable[[], Any] | None = None,
    export: Callable[[], Any] | None = None,
    settle: Callable[[], object] = lambda: None,
) -> Subject:
    """Return a subject made of one library's ways to observe a call.

    Args:
        decorate: an operation's name to a decorator.
        coroutines: whether the decorator awaits what a coroutine function returns.
        generators: the same as `decorate`, for generator functions, where it times their life.
        block: one operation by context manager.
        attributes: one operation with the three attributes.
        export: one operation with the two attributes.
        settle: does what was put off.
    """
    call = decorate("call")(plain.call)

    def nested() -> None:
        middle()

    def inner() -> None:
        call()

    middle = decorate("middle")(inner)
    calls: dict[str, Callable[[], Any]] = {
        "call": call,
        "nested": decorate("outer")(nested),
        "error": decorate("call")(plain.fail),
    }
    if coroutines:
        calls["async"] = decorate("call")(plain.coroutine)
    if generators is not None:
        calls["generator"] = generators("call")(plain.generator)
    given = {"block": block, "attributes": attributes, "export": export}
    calls |= {shape: made for shape, made in given.items() if made is not None}
    return Subject(calls, settle, runs={"nested": 3})
