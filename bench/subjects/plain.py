"""Nothing at all: what the calls themselves cost."""

from __future__ import annotations

from collections.abc import Iterator

from bench.subject import Subject


def call() -> None:
    """Do nothing, as the body of every subject does."""


async def coroutine() -> None:
    """Do nothing."""


def generator() -> Iterator[int]:
    """Yield three items."""
    yield 1
    yield 2
    yield 3


def fail() -> None:
    """Raise what the worker catches."""
    raise ValueError("bench")


def nested() -> None:
    """Call three deep."""
    _middle()


def _middle() -> None:
    call()


def make() -> Subject:
    """Return the subject."""
    return Subject(
        {
            "call": call,
            "async": coroutine,
            "generator": generator,
            "block": call,
            "nested": nested,
            "error": fail,
            "attributes": call,
            "export": call,
        },
        runs={"nested": 3},
    )
