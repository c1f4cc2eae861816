"""Sizes an object in memory: arrays by their buffers, containers to a bounded depth."""

from __future__ import annotations

import dataclasses
import mmap
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

Sizer = Callable[[Any], "int | None"]

_CONTAINERS = (list, tuple, set, frozenset, deque)
#: Types without anything below them that their own size leaves out.
_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None), range)
#: What an object refers to without owning it.
_ELSEWHERE = (types.ModuleType, type, types.FunctionType, types.MethodType, types.BuiltinMethodType)


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How large an object is, in bytes, and how that was found out."""

    bytes: int
    #: False when part of it was not visited: then the size is a projection from what was.
    complete: bool


class ObjectSizer:
    """Sizes objects without importing the libraries they come from.

    What is shared between parts of one object counts once. A container of more elements
    than may be visited is projected from the first ones.

    Args:
        max_depth: containers inside containers that are followed.
        max_elements: elements visited in one sizing, all containers together.
        max_seconds: the longest that one sizing takes; what is left is projected.

    Example:
        >>> ObjectSizer().size(bytes(1_000)).bytes
        1033
    """

    def __init__(
        self, max_depth: int = 4, max_elements: int = 10_000, max_seconds: float = 0.05
    ) -> None:
        self._max_depth = max_depth
        self._max_elements = max_elements
        self._max_seconds = max_seconds
        self._sizers: dict[type, Sizer] = {}

    def register(self, kind: type, sizer: Sizer) -> None:
        """Size objects of one type, and of its subclasses, with a function of your own.

        Args:
            kind: the type.
            sizer: takes the object and returns its bytes in main memory, or `None` when it
                cannot tell.

        Raises:
            TypeError: if `kind` is not a type or `sizer` cannot be called.
        """
        if not isinstance(kind, type):
            raise TypeError(f"a sizer is registered for a type, not for {kind!r}: give the class")
        if not callable(sizer):
            raise TypeError(f"the sizer of {kind.__name__} cannot be called: give a function")
        self._sizers[kind] = sizer

    def size(self, item: Any) -> Size:
        """Return how much memory an object takes.

        Args:
            item: anything; it is only looked at.
        """
        return _Sizing(self._sizers, self._max_elements, self._max_seconds).run(
            item, self._max_depth
        )


class _Sizing:
    """One walk over one object."""

    def __init__(self, sizers: dict[type, Sizer], max_elements: int, max_seconds: float) -> None:
        self._sizers = sizers
        self._left = max_elements
        self._deadline = time.perf_counter() + max_seconds
        self._seen: set[object] = set()
        self._complete = True

    def run(self, item: Any, depth: int) -> Size:
        return Size(self._of(item, depth), self._complete)

    def _of(self, item: Any, depth: int) -> int:
        if id(item) in self._seen:
            return 0
        self._seen.add(id(item))
        for kind in type(item).__mro__:
            if (sizer := self._sizers.get(kind)) is not None:
                found = sizer(item)
                return found if isinstance(found, int) and found >= 0 else 0
        if isinstance(item, _ELSEWHERE):
            return 0
        own = sys.getsizeof(item, 0)
        if isinstance(item, _PLAIN):
            return own
        array = self._array(item, own)
        if array is not None:
            return array
        if isinstance(item, dict):
            return own + self._elements(len(item), item.items(), depth, pairs=True)
        if isinstance(item, _CONTAINERS):
            return own + self._elements(len(item), item, depth, pairs=False)
        fields = getattr(item, "__dict__", None)
        if isinstance(fields, dict):
            own += self._of(fields, depth)
        slots = [
            getattr(item, name)
            for kind in type(item).__mro__
            for name in _slot_names(kind)
            if hasattr(item, name)
        ]
        return own + self._elements(len(slots), slots, depth, pairs=False)

    def _array(self, item: Any, own: int) -> int | None:
        """Return the bytes of an array or tensor in main memory, or `None` for another object."""
        device = getattr(getattr(item, "device", None), "type", None)
        storage = getattr(item, "untyped_storage", None)
        if isinstance(device, str) and callable(storage):  # torch
            if device != "cpu":
                return own
            buffer: Any = storage()
            return own + (0 if self._counted(buffer.data_ptr()) else int(buffer.nbytes()))
        if hasattr(item, "__cuda_array_interface__"):
            return own
        size = getattr(item, "nbytes", None)
        if not isinstance(size, int):
            return None
        if isinstance(item, memoryview):
            return own + self._of(item.obj, 1)
        # A view keeps the whole of its base alive, and only that.
        base = item
        while getattr(base, "base", None) is not None and hasattr(base.base, "nbytes"):
            base = base.base
        if isinstance(getattr(base, "base", None), mmap.mmap):
            return own  # a file, of which only the pages in use are in memory
        if base is item and own >= size:
            own -= size  # numpy's own size includes the buffer that an array owns
        return own + (0 if self._counted(id(base)) else int(base.nbytes))

    def _counted(self, key: object) -> bool:
        marked = ("buffer", key)
        if marked in self._seen:
            return True
        self._seen.add(marked)
        return False

    def _elements(self, count: int, elements: Iterable[Any], depth: int, *, pairs: bool) -> int:
        if count == 0:
            return 0
        if depth <= 0:
            self._complete = False
            return 0
        visited = _first(elements, min(count, max(self._left, 0)))
        total = done = 0
        for element in visited:
            if self._left <= 0 or time.perf_counter() > self._deadline:
                break
            self._left -= 1
            done += 1
            if pairs:
                total += self._of(element[0], depth - 1) + self._of(element[1], depth - 1)
            else:
                total += self._of(element, depth - 1)
        if done == count:
            return total
        self._complete = False
        return total * count // done if done else 0


def _first(elements: Iterable[Any], count: int) -> list[Any]:
    # Another thread may change the container meanwhile; a copy in one step is over quickly.
    for _ in range(3):
        try:
            return list(islice(elements, count))
        except RuntimeError:
            continue
    return []


def _slot_names(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))
