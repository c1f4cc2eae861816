"""The name under which is counted what a bound leaves no room for."""

from __future__ import annotations

from typing import Final

#: Services, operations, caches, label values and groups past their bounds share it.
OTHER: Final = "__other__"
