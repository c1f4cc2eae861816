"""Makes frozen values at the cost of plain ones, where a fold makes thousands of them."""

from __future__ import annotations

from typing import Any


def draft_of(frozen: type[Any]) -> Any:
    """Return a class whose objects have the fields of a frozen dataclass, and can be filled.

    A frozen dataclass sets each of its fields through a call. A draft takes them as any object
    does; then `draft.__class__ = Frozen` makes it the frozen value that it is a draft of.

    Args:
        frozen: a dataclass with slots, and no base with fields of its own.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass(frozen=True, slots=True)
        ... class Point:
        ...     x: int
        >>> draft = draft_of(Point)()
        >>> draft.x = 1
        >>> draft.__class__ = Point
        >>> draft
        Point(x=1)
    """
    return type(f"{frozen.__name__}Draft", (), {"__slots__": frozen.__slots__})
