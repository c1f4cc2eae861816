"""Sums and differences of figures that may have no source."""

from __future__ import annotations

from collections.abc import Iterable


def added(one: int | None, other: int | None) -> int | None:
    """Return a sum, in which what has no source adds nothing."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def subtracted(now: int | None, then: int | None) -> int | None:
    """Return a difference; without a source now there is none."""
    return now if now is None or then is None else now - then


def larger(one: int | None, other: int | None) -> int | None:
    """Return the larger of two, or the one there is."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def total(values: Iterable[int | None]) -> int | None:
    """Return a sum, `None` where nothing has a source."""
    found: int | None = None
    for value in values:
        found = added(found, value)
    return found
