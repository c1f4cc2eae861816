"""Counts what bounds on the size of our own stores have cost, by store, since the process began."""

from __future__ import annotations

import itertools
import os
from collections import deque
from typing import Final

#: What was dropped, cut or left out, by store. A store is named by us: there are few.
limited: Final[dict[str, int]] = {}

#: A number is taken in one step, so that no thread loses another's.
_numbers: Final[dict[str, itertools.count[int]]] = {}


def count_limited(store: str, amount: int = 1) -> None:
    """Count what found no room; takes no lock and runs no code of the program's.

    Args:
        store: its name, such as `services`.
        amount: how much; at least 1.
    """
    numbers = _numbers.setdefault(store, itertools.count(1))
    taken = deque(itertools.islice(numbers, amount), maxlen=1)
    limited[store] = max(limited.get(store, 0), *taken)


def forget_limited() -> None:
    """Begin at zero: in a forked child, and before a test."""
    limited.clear()
    _numbers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_limited)
