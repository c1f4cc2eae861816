"""The fork protocol: who is told of forks, and in which order."""

from __future__ import annotations

import os
import weakref
from typing import Protocol, runtime_checkable

from otel_studio import guard
from otel_studio.base import locks


@runtime_checkable
class Forkable(Protocol):
    """What is told of forks: to hold still before one, to start from nothing in the child."""

    def before_fork(self) -> None:
        """Let what must not be cut in two end; wait at most about a second."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start from nothing; start no thread: the first need of it does."""


@runtime_checkable
class Room(Forkable, Protocol):
    """A part of a Studio that starts, stops and survives forks."""

    def start(self) -> None:
        """Begin; a second call does nothing."""

    def stop(self, timeout: float) -> None:
        """End within so many seconds; a second call does nothing."""


_live: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch(part: Forkable) -> None:
    """Tell a part of forks from now on, while somebody holds it.

    Args:
        part: hashable, and weakly referable.
    """
    _live.add(part)


def forget(part: Forkable) -> None:
    """Tell a part of no further fork."""
    _live.discard(part)


def _before() -> None:
    _each("before_fork")
    locks.hold_for_fork()


def _after_in_parent() -> None:
    locks.release_in_parent()
    _each("after_fork_in_parent")


def _after_in_child() -> None:
    locks.renew_in_child()  # first: everything else may take one
    _each("after_fork_in_child")


def _each(method: str) -> None:
    for part in list(_live):
        try:
            getattr(part, method)()
        except Exception as error:
            guard.report_internal_error(f"{method} of {type(part).__name__}", error)


# Here, and once: the locks of this package are to be free in every child, with or without a Studio.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
