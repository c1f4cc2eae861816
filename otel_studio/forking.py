"""Tells every live Studio of forks: to hold still before one, to start anew in the child."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol

from otel_studio import guard, ports, services
from otel_studio.base import locks


class Forkable(Protocol):
    """What is told of forks."""

    def before_fork(self) -> None:
        """Let what holds locks end."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start from nothing."""


#: Called first in a child: a thread of the parent may have held these locks.
lock_renewals: list[Callable[[], None]] = [ports.renew_lock, services.renew_lock]

_live: weakref.WeakSet[Forkable] = weakref.WeakSet()
_registered = False


def watch(studio: Forkable) -> None:
    """Tell a Studio of forks from now on, while somebody holds it."""
    global _registered
    _live.add(studio)
    if not _registered and hasattr(os, "register_at_fork"):
        _registered = True
        os.register_at_fork(
            before=_before, after_in_parent=_after_in_parent, after_in_child=_begin_child
        )


def forget(studio: Forkable) -> None:
    """Tell a Studio of no further fork."""
    _live.discard(studio)


def _before() -> None:
    _each("before_fork")
    locks.hold_for_fork()


def _after_in_parent() -> None:
    locks.release_in_parent()
    _each("after_fork_in_parent")


def _begin_child() -> None:
    locks.renew_in_child()
    for renew in lock_renewals:
        renew()
    _each("after_fork_in_child")


def _each(method: str) -> None:
    for studio in list(_live):
        try:
            getattr(studio, method)()
        except Exception as error:
            guard.report_internal_error(f"{method} of OTel Studio", error)
