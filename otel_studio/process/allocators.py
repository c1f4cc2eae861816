"""What the C library's and Python's allocators hold, and how much of it is in use."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import sys
from typing import Any

_ARENAS = re.compile(r"(\d+) arenas \* (\d+) bytes/arena")
_IN_USE = re.compile(r"bytes in allocated blocks\s*=\s*([\d,]+)")
_REPORT_BYTES = 65_536


@dataclasses.dataclass(frozen=True, slots=True)
class AllocatorReading:
    """One allocator: bytes it holds from the system and bytes of these in use."""

    allocator: str
    held: int
    used: int
    #: Where the figures come from.
    source: str

    def with_another(self, other: AllocatorReading) -> AllocatorReading:
        """Return this allocator together with that of another process."""
        return dataclasses.replace(self, held=self.held + other.held, used=self.used + other.used)


def read_allocators() -> tuple[AllocatorReading, ...]:
    """Return a reading of each allocator that tells; takes some 0.1 ms, more in a large heap.

    `malloc` is the C library's; `pymalloc` is Python's own for objects up to 512 bytes, which
    takes its arenas from the system directly, so the two do not overlap.

    Source: mallinfo(3), of the GNU C library from 2.33; CPython's own allocator statistics
    (what `sys._debugmallocstats` prints), written into memory instead of to standard error.
    """
    return tuple(reading for reading in (_read_malloc(), _read_pymalloc()) if reading is not None)


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _read_malloc() -> AllocatorReading | None:
    try:
        function = ctypes.CDLL(None).mallinfo2
        function.restype = _Mallinfo2
        info: Any = function()
    except (AttributeError, OSError, TypeError):  # another C library
        return None
    # `arena` is what the heaps hold, `hblkhd` what large blocks got mapped on their own
    return AllocatorReading(
        "malloc", info.arena + info.hblkhd, info.uordblks + info.hblkhd, "mallinfo2"
    )


def _read_pymalloc() -> AllocatorReading | None:
    if sys.implementation.name != "cpython":
        return None
    text = _pymalloc_report()
    arenas, in_use = _ARENAS.search(text), _IN_USE.search(text)
    if arenas is None or in_use is None:  # PYTHONMALLOC=malloc, or the free-threaded build
        return None
    held = int(arenas[1]) * int(arenas[2])
    return AllocatorReading(
        "pymalloc", held, int(in_use[1].replace(",", "")), "CPython allocator statistics"
    )


def _pymalloc_report() -> str:
    try:
        library = ctypes.CDLL(None)
        library.fmemopen.restype = ctypes.c_void_p
        library.fmemopen.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
        library.fclose.argtypes = [ctypes.c_void_p]
        # `pythonapi` keeps the GIL, without which the arenas must not be walked
        report = ctypes.pythonapi._PyObject_DebugMallocStats
    except (AttributeError, OSError, TypeError):
        return ""
    report.argtypes = [ctypes.c_void_p]
    report.restype = ctypes.c_int
    buffer = ctypes.create_string_buffer(_REPORT_BYTES)
    stream = library.fmemopen(buffer, _REPORT_BYTES - 1, b"w")
    if not stream:
        return ""
    try:
        report(stream)
    finally:
        library.fclose(stream)
    return buffer.value.decode("ascii", "replace")
