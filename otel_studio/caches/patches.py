"""Functions of cache libraries replaced for a while, and put back as they were."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]

_INHERITED: Any = object()


class Patches:
    """The replacements that one instrumentation made.

    A function that someone else wrapped once more after us cannot be put back without undoing
    that too: it stays, and `active` tells the replacement to do nothing of its own any more.

    Example:
        >>> import textwrap
        >>> patches = Patches()
        >>> patches.replace(textwrap, "dedent", lambda dedent: lambda text: dedent(text).upper())
        >>> textwrap.dedent("  a")
        'A'
        >>> patches.restore()
        >>> textwrap.dedent("  a")
        'a'
    """

    def __init__(self) -> None:
        self.active = True
        self._made: list[tuple[Any, str, Any, Function]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Function], Function]) -> None:
        """Replace a function of a module or a method of a class; one that is not there is left.

        Args:
            owner: the module or class.
            name: the function's name there.
            make: returns the replacement, given the original.
        """
        original = getattr(owner, name, None)
        if original is None:
            return
        before = vars(owner).get(name, _INHERITED)
        replacement = functools.wraps(original)(make(original))
        setattr(owner, name, replacement)
        self._made.append((owner, name, before, replacement))

    def restore(self) -> None:
        """Put every function back that is still ours, the last replaced first."""
        self.active = False
        while self._made:
            owner, name, before, replacement = self._made.pop()
            if vars(owner).get(name) is not replacement:
                continue
            if before is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
