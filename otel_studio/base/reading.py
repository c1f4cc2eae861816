"""What every reading of a room is: plain frozen values that add and subtract, by epochs.

A reading is taken once for a collection, a tick or a query. Two of them add (two workers, two
spans of time); now less then is the window between them. Counts, sums and buckets of readings
form a group: `(a + b) - a == b`, in any order and grouping. What was counted since a beginning of
its own (a process, a service that was reset) stands in a part of its own, under its *epoch*: a
difference leaves parts of other epochs as they are, so what began anew counts from zero, and what
is gone leaves nothing negative.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeVar

K = TypeVar("K")
N = TypeVar("N", int, float)


class Reading(Protocol):
    """A value of one room at one moment, or over a window."""

    def __add__(self, other: Self, /) -> Self:
        """Return both together: of two processes, or of two windows of time."""
        ...

    def __sub__(self, earlier: Self, /) -> Self:
        """Return what came between an earlier reading and this one."""
        ...


R = TypeVar("R", bound=Reading)

_process: tuple[int, str] = (0, "")
_numbers = itertools.count(1)


def new_epoch() -> str:
    """Return the name of a beginning: no other, in this process or in any, has it.

    Example:
        >>> new_epoch() != new_epoch()
        True
    """
    return f"{process_epoch()}-{next(_numbers)}"


def process_epoch() -> str:
    """Return the name of this process's beginning; a forked child has another one."""
    global _process
    if _process[0] != os.getpid():
        _process = (os.getpid(), secrets.token_hex(8))
    return _process[1]


def add_parts(one: Mapping[K, R], other: Mapping[K, R]) -> dict[K, R]:
    """Return the parts of two readings together; those of one epoch (or name) are added.

    Args:
        one: by epoch, or by any other key.
        other: likewise.
    """
    parts = dict(one)
    for epoch, part in other.items():
        parts[epoch] = parts[epoch] + part if epoch in parts else part
    return parts


def subtract_parts(now: Mapping[K, R], then: Mapping[K, R]) -> dict[K, R]:
    """Return what the parts of now have that those of then had not.

    Args:
        now: by epoch; a part that is not in `then` began since, and counts from zero.
        then: likewise; a part that is not in `now` is gone, and counts no more.
    """
    parts = {}
    for epoch, part in now.items():
        before = then.get(epoch)
        parts[epoch] = part if before is None else part - before
    return parts


def add_counts(one: Mapping[K, N], other: Mapping[K, N]) -> dict[K, N]:
    """Return the sums by key; a zero leaves no key, so that equal counts are equal mappings."""
    counts: dict[K, Any] = dict(one)
    for key, count in other.items():
        counts[key] = counts.get(key, 0) + count
    return {key: count for key, count in counts.items() if count}


def subtract_counts(now: Mapping[K, N], then: Mapping[K, N]) -> dict[K, N]:
    """Return the differences by key; a zero leaves no key."""
    counts: dict[K, Any] = dict(now)
    for key, count in then.items():
        counts[key] = counts.get(key, 0) - count
    return {key: count for key, count in counts.items() if count}
