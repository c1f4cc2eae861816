"""Compares a figure with a threshold, and checks what is given as one; remembers nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Severity = Literal["warning", "critical"]


@dataclasses.dataclass(frozen=True, slots=True)
class Threshold:
    """What a figure may be at most or at least, and how it is said that it is past that.

    Attributes:
        name: by which it is set, such as `max_memory_mb`.
        alert_type: what is raised past it, such as `high_memory`.
        words: says so; may name `value`, `limit` and what else `message` is given.
        is_minimum: whether a figure below it is past it, instead of one above.
        highest: the highest limit that makes sense.
        expected: what can be given as a limit, after "give".
        critical_factor: how many times past its limit a figure is critical.
        critical_above: a figure above this, and past its limit, is critical.

    Example:
        >>> most = Threshold("max_mb", "high_memory", "{value} MB are more than {limit}")
        >>> most.severity(7, limit=5), most.severity(5, limit=5), most.severity(None, limit=5)
        ('warning', None, None)
        >>> most.message(7, 5)
        '7 MB are more than 5'
    """

    name: str
    alert_type: str
    words: str
    is_minimum: bool = False
    highest: float = math.inf
    expected: str = "a number above 0"
    critical_factor: float = math.inf
    critical_above: float = math.inf

    def severity(self, value: float | None, limit: float | None) -> Severity | None:
        """Return how bad a figure is; `None` where it is not past its limit.

        Args:
            value: the figure; one that is not known is never past anything.
            limit: the limit; `None` where none is set.
        """
        if value is None or limit is None:
            return None
        if self.is_minimum:
            past, far_past = value < limit, value * self.critical_factor <= limit
        else:
            past, far_past = value > limit, value >= limit * self.critical_factor
        if not past:
            return None
        return "critical" if far_past or value > self.critical_above else "warning"

    def message(self, value: float, limit: float, **named: str) -> str:
        """Return what is said of a figure that is past its limit.

        Args:
            value: the figure.
            limit: the limit.
            **named: what else the words name.
        """
        return self.words.format(value=value, limit=limit, **named)

    def accepts(self, limit: object) -> bool:
        """Tell whether something can be a limit: a number in range, or `None` for no limit.

        Args:
            limit: what is given.
        """
        if limit is None:
            return True
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            return False
        return 0 < limit <= self.highest and not math.isinf(limit)


def check_limits(
    kind: str, thresholds: Iterable[Threshold], given: Mapping[str, Any], example: str
) -> None:
    """Raise where limits cannot be used.

    Args:
        kind: what the thresholds are of, such as `memory`.
        thresholds: those that there are.
        given: limits by the names of thresholds; `None` sets none.
        example: how limits are given, such as `{'min_hit_rate': 0.8}`.

    Raises:
        TypeError: if the limits are no mapping.
        ValueError: for a name that is no threshold, or a value that cannot be a limit.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{kind} thresholds are given as a dict such as {example}, not as "
            f"{type(given).__name__}"
        )
    known = {threshold.name: threshold for threshold in thresholds}
    for name, limit in given.items():
        if name not in known:
            raise ValueError(f"{name!r} is no {kind} threshold: use one of {', '.join(known)}")
        if not known[name].accepts(limit):
            raise ValueError(
                f"{name}={limit!r} cannot be used: give {known[name].expected}, or None for no "
                f"threshold"
            )
