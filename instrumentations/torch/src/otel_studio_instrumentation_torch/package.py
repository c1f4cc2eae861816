"""What this package instruments, as the extra `instruments` says it too."""

from __future__ import annotations

_instruments = ("torch >= 2.0",)

_supports_metrics = True
