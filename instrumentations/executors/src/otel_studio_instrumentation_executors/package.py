"""What this package instruments, as the extra `instruments` says it too."""

from __future__ import annotations

#: Empty: `concurrent.futures`, `asyncio` and `queue` are part of Python.
_instruments: tuple[str, ...] = ()

_supports_metrics = True
