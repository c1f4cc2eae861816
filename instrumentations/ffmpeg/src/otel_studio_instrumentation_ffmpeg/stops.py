"""Sees the signals that this program sends: a child that it stops has not failed."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

from .safety import report_failure

#: The functions that send one, with what their first argument names.
_SENDERS: tuple[tuple[Any, str, str], ...] = tuple(
    (module, name, target)
    for module, name, target in (
        (os, "kill", "pid"),
        (os, "killpg", "group"),
        (signal, "pidfd_send_signal", "pidfd"),
    )
    if hasattr(module, name)
)


class SignalFollower:
    """Patches what sends signals to processes: `Popen`'s and asyncio's methods end there too.

    Args:
        sending: called with what the first argument names, that argument and the signal, before it
            is sent; returns what takes that back, for a signal that could not be sent.
    """

    def __init__(self, sending: Callable[[str, int, int], Callable[[], None]]) -> None:
        self._sending = sending
        self._patched: list[tuple[Any, str, Any, Any]] = []

    def patch(self) -> None:
        """Begin to see signals."""
        for module, name, target in _SENDERS:
            original = getattr(module, name)
            ours = self._around(original, target)
            # As what it stands for is found by: so it can be pickled, and unpickled without us.
            ours.__module__ = module.__name__
            setattr(module, name, ours)
            self._patched.append((module, name, ours, original))

    def unpatch(self) -> None:
        """Restore the functions, where nobody has put others in their place since."""
        while self._patched:
            module, name, ours, original = self._patched.pop()
            if getattr(module, name) is ours:
                setattr(module, name, original)

    def _around(self, original: Callable[..., None], target: str) -> Any:
        @functools.wraps(original)
        def send(*args: Any, **kwargs: Any) -> None:
            take_back = self._note(target, args)
            try:
                return original(*args, **kwargs)
            except BaseException:
                take_back()
                raise

        return send

    def _note(self, target: str, args: tuple[Any, ...]) -> Callable[[], None]:
        try:
            if len(args) > 1 and args[1]:
                return self._sending(target, int(args[0]), int(args[1]))
        except Exception as error:
            report_failure("seeing a signal to an ffmpeg process", error)
        return _nothing


def _nothing() -> None:
    """Take nothing back."""
