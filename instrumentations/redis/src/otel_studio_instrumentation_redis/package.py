"""What this package instruments, as the extra `instruments` says it too."""

from __future__ import annotations

_instruments: tuple[str, ...] = ("redis >= 4.6, < 9",)

_supports_metrics = True
