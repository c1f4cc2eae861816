"""How a run ends: the outcomes, their names, and the attributes that tell them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: A run whose outcome was not set explicitly follows the status of its span.
UNSET: Final = 0
OK: Final = 1
ERROR: Final = 2
CANCELLED: Final = 3
ABANDONED: Final = 4

NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {OK: "ok", ERROR: "error", CANCELLED: "cancelled", ABANDONED: "abandoned"}
)

#: The attribute that says `cancelled` or `abandoned` on a span; absent for ok and error.
OUTCOME_ATTRIBUTE: Final = "studio.outcome"
#: The attribute of a span whose duration was measured by the caller.
RECORDED_ATTRIBUTE: Final = "studio.recorded"

_BY_ATTRIBUTE: Final[Mapping[str, int]] = {"cancelled": CANCELLED, "abandoned": ABANDONED}


def outcome_named(value: object) -> int:
    """Return the outcome that `OUTCOME_ATTRIBUTE` says; `UNSET` for anything else.

    Args:
        value: of the attribute, `None` where there is none.
    """
    return _BY_ATTRIBUTE.get(value, UNSET) if isinstance(value, str) else UNSET
