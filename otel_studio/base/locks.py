"""Every lock of the package: made here, re-entrant, and free again in a forked child.

A finalizer or a signal handler may run between any two instructions and use an operation, a cache
or a query of its own, on the very thread that holds a lock of ours: each is re-entrant. A thread
that holds one does not exist in a forked child: the fork protocol sets all of them free there.
"""

from __future__ import annotations

import _thread
import os
import threading
import weakref
from typing import Final

#: Seconds that a fork waits for a lock that guards what the child must not find half done.
FORK_PATIENCE: Final = 1.0


class StudioLock(_thread.RLock):  # type: ignore[misc]  # final in typeshed, not in CPython
    """A re-entrant lock that the fork protocol knows; made by `new_lock`."""

    __slots__ = ()

    def is_held_here(self) -> bool:
        """Tell whether the calling thread holds it: what calls has interrupted its holder."""
        return bool(self._is_owned())  # type: ignore[attr-defined]  # as Condition asks it


_live: set[weakref.ref[StudioLock]] = set()
#: Locks that a fork waits for, so that no call into foreign code is cut in two by it.
_held_for_forks: set[weakref.ref[StudioLock]] = set()
#: What each forking thread holds meanwhile: two threads may fork at once.
_holding: dict[int, list[StudioLock]] = {}
#: In a child: what its parent's forking thread held.
_held_at_fork: list[StudioLock] = []


def new_lock(*, hold_for_fork: bool = False) -> StudioLock:
    """Return a lock of our own kind.

    Args:
        hold_for_fork: whether a fork first waits until nobody holds it, at most a second. For
            what calls into a library with locks of its own that a child would inherit.

    Example:
        >>> lock = new_lock()
        >>> with lock, lock:
        ...     is_known(lock)
        True
    """
    lock = StudioLock()
    _live.add(weakref.ref(lock, _live.discard))
    if hold_for_fork:
        _held_for_forks.add(weakref.ref(lock, _held_for_forks.discard))
    return lock


def is_known(lock: object) -> bool:
    """Tell whether a lock was made here, so that a fork sets it free in the child."""
    return isinstance(lock, StudioLock) and weakref.ref(lock) in _live


def is_any_held_here() -> bool:
    """Tell whether the calling thread is inside any lock of ours, as a signal handler may be."""
    held = (reference() for reference in list(_live))
    return any(lock is not None and lock.is_held_here() for lock in held)


def hold_for_fork() -> None:
    """Wait for the locks that are to be free at a fork, and hold them; called before it."""
    held: list[StudioLock] = []
    for reference in list(_held_for_forks):
        lock = reference()
        if lock is not None and lock.acquire(timeout=FORK_PATIENCE):
            held.append(lock)
    _holding[threading.get_ident()] = held


def release_in_parent() -> None:
    """Let go of what this thread held for its fork."""
    for lock in _holding.pop(threading.get_ident(), ()):
        lock.release()


def was_held_at_fork(lock: StudioLock) -> bool:
    """Tell in a child whether the thread that forked had waited for a lock and got it.

    Where it had not, another thread of the parent was inside what the lock guards.
    """
    return any(held is lock for held in _held_at_fork)


def renew_in_child() -> None:
    """Set every lock free in a forked child, whoever held it in the parent."""
    global _held_at_fork
    _held_at_fork = _holding.pop(threading.get_ident(), [])
    _holding.clear()
    for reference in list(_live):
        lock = reference()
        if lock is not None:
            lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the library's own locks do


# Here and not where parts are told of forks, so that no lock depends on anybody's watching one.
# Hooks before a fork run in reverse order, those after it in this: a part that `forking` tells has
# done its own before locks are held, and finds them free again.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=hold_for_fork, after_in_parent=release_in_parent, after_in_child=renew_in_child
    )


class Signal:
    """Wakes one waiting thread; `set` takes no lock, so it may be called from anywhere.

    `threading.Event` has a lock that is not re-entrant: a finalizer that sets an event while its
    own thread is inside the same `set` waits for itself.
    """

    __slots__ = ("_bell",)

    def __init__(self) -> None:
        self.renew()

    def set(self) -> None:
        """Let the next or the present `wait` return at once."""
        try:
            self._bell.release()
        except RuntimeError:  # it is set already
            pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, and clear it.

        Args:
            timeout: seconds; `None` for ever.

        Returns:
            whether it was set.
        """
        return self._bell.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))

    def renew(self) -> None:
        """Begin cleared; in a forked child, where the parent's waiting thread is gone."""
        self._bell = threading.Lock()
        self._bell.acquire()
