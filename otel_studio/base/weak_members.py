"""A set of weak references that is walked while others, and finalizers, change it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class WeakMembers(Generic[T]):
    """Members that go when nobody else holds them.

    A `weakref.WeakSet` raises where it is added to while it is walked: by another thread, by a
    finalizer, or by itself where it adds its own members. This one is walked as it was.

    Example:
        >>> class Part: ...
        >>> part, members = Part(), WeakMembers()
        >>> members.add(part)
        >>> [member is part for member in members]
        [True]
        >>> del part
        >>> list(members)
        []
    """

    def __init__(self) -> None:
        self._references: set[weakref.ref[T]] = set()

    def add(self, member: T) -> None:
        """Have it among them, once."""
        self._references.add(weakref.ref(member, self._references.discard))

    def update(self, members: Iterable[T]) -> None:
        """Have all of these among them."""
        for member in members:
            self.add(member)

    def __iter__(self) -> Iterator[T]:
        """Yield those that live, of the members at the moment of the call."""
        found = (reference() for reference in self._references.copy())  # copied in one step
        return (member for member in found if member is not None)
