"""The fork protocol: who is told of forks, and in which order."""

from __future__ import annotations

import os
import weakref
from typing import Protocol, runtime_checkable

import otel_studio.base.locks  # noqa: F401  (its hooks are to stand before those made here)
from otel_studio.base import guard


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


#: Copied in one step before it is walked: other threads may watch and forget meanwhile.
_live: set[weakref.ref[Forkable]] = set()
_registered = False


def watch(part: Forkable) -> None:
    """Tell a part of forks from now on, while somebody holds it.

    Args:
        part: hashable, and weakly referable.
    """
    global _registered
    _live.add(weakref.ref(part, _live.discard))
    if not _registered and hasattr(os, "register_at_fork"):
        _registered = True
        os.register_at_fork(
            before=lambda: _each("before_fork"),
            after_in_parent=lambda: _each("after_fork_in_parent"),
            after_in_child=lambda: _each("after_fork_in_child"),
        )


def forget(part: Forkable) -> None:
    """Tell a part of no further fork."""
    _live.discard(weakref.ref(part))


def _each(method: str) -> None:
    for reference in list(_live):
        part = reference()
        if part is None:
            continue
        try:
            getattr(part, method)()
        except Exception as error:  # handlers of the program have no business in a fork hook
            guard.note_internal_error(f"{method} of {type(part).__name__}", error)
