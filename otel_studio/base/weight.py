"""How many bytes a value holds, told quickly: by type and length, to a bounded depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from sys import getsizeof
from typing import Final

#: Whose own size is all of it.
FLAT: Final = frozenset((str, bytes, bool, int, float, type(None)))
_SEVERAL: Final = (tuple, list, set, frozenset, deque)
#: Containers inside of each other that are followed.
_MAX_DEPTH: Final = 8


def weight_of_value(value: object, depth: int = _MAX_DEPTH) -> int:
    """Return the bytes that a value holds; of an object of the program's, its own size alone.

    Args:
        value: text, number, bytes, or a container of them.
        depth: containers inside of each other that are followed.

    Example:
        >>> weight_of_value("x" * 1_000) - weight_of_value("")
        1000
    """
    size = getsizeof(value, 0)
    if type(value) in FLAT or depth <= 0:
        return size
    if isinstance(value, _SEVERAL):
        return size + sum(weight_of_value(item, depth - 1) for item in value)
    if isinstance(value, Mapping):
        return size + sum(
            getsizeof(key, 0) + weight_of_value(item, depth - 1) for key, item in value.items()
        )
    return size
