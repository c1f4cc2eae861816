"""How many bytes a value holds, told quickly: by type and length, to a bounded depth.

It runs no code of the program's, where `sizing` asks what an object says of itself: a fold may ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import islice
from sys import getsizeof
from typing import Final

#: Whose own size is all of it.
FLAT: Final = frozenset((str, bytes, bool, int, float, type(None)))
_SEVERAL: Final = (tuple, list, set, frozenset, deque)
#: Containers inside of each other that are followed.
_MAX_DEPTH: Final = 8
#: Of a container with more items the first ones are weighed, and stand for the others.
_MAX_ITEMS: Final = 256


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
        items = sum(weight_of_value(item, depth - 1) for item in islice(value, _MAX_ITEMS))
    elif isinstance(value, Mapping):
        items = sum(
            getsizeof(key, 0) + weight_of_value(item, depth - 1)
            for key, item in islice(value.items(), _MAX_ITEMS)
        )
    else:
        return size
    return size + items * max(len(value), _MAX_ITEMS) // _MAX_ITEMS
