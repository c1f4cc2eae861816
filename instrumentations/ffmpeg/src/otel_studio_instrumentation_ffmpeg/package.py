"""What this package instruments, as the extra `instruments` says it too."""

from __future__ import annotations

#: Empty: `subprocess` and `asyncio` are part of Python, and PyAV is followed where it is installed.
_instruments: tuple[str, ...] = ()

_supports_metrics = True
