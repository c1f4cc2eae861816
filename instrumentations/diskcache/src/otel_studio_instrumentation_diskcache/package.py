"""What this package instruments, as the extra `instruments` says it too."""

from __future__ import annotations

_instruments: tuple[str, ...] = ("diskcache >= 5.0, < 6",)

_supports_metrics = True
