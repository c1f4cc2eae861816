"""What this package instruments, as the extra `instruments` says it too."""

from __future__ import annotations

_instruments: tuple[str, ...] = ("cachetools >= 5.0, < 9",)

_supports_metrics = True
